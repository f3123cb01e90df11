/** Cases of section 1, connection, login and limits, that the older files do not show. */
import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { until } from '../../support/until.ts'
import { Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server.stop())

const behindProxy = (trusted: string) => [
  'listener=[{service="pop3",address="127.0.0.1:1110",proxy_protocol=true}]',
  `proxy_protocol.trusted=${trusted}`,
]
/** A header of version 2 for a client with TLS and a certificate of this name. */
function certified(name: string, verified: boolean): Buffer {
  const tlv = (type: number, value: Buffer) => Buffer.concat([Buffer.from([type, 0, value.length]), value])
  const tls = Buffer.concat([Buffer.from([3, 0, 0, 0, verified ? 0 : 1]), tlv(0x22, Buffer.from(name))])
  const addresses = Buffer.from([192, 0, 2, 1, 198, 51, 100, 2, 3, 232, 0, 110])
  const body = Buffer.concat([addresses, tlv(0x20, tls)])
  const start = Buffer.from('\r\n\r\n\0\r\nQUIT\n\x21\x11\0', 'latin1')
  return Buffer.concat([start, Buffer.from([body.length]), body])
}

const header = 'PROXY TCP4 9.9.9.9 8.8.8.8 1000 110\r\n'

test.each([
  ['alone', [header]],
  ['with what follows it', [`${header}QUIT\r\n`]],
  ['in pieces', [...header]],
])('P045 a trusted load balancer says who the client is: %s', async (_, pieces) => {
  server = await Pop3Server.start({ set: behindProxy('127.0.0.0/8') })
  const client = await server.connect()
  for (const piece of pieces) {
    client.send(piece)
    await client.flushed()
  }
  expect(await client.line()).toMatch(/^\+OK /)
  if (!pieces[0]!.includes('QUIT')) client.send('QUIT\r\n')
  expect(await client.line()).toMatch(/^\+OK/)
  await client.rest()
  await until('the log line', () => server.events('pop3.disconnect')[0])
  expect(server.events('pop3.disconnect')[0]).toMatchObject({ remote: '9.9.9.9' })
})

test('P045 a client behind it sends no password in clear, whoever it is', async () => {
  server = await Pop3Server.start({ set: behindProxy('127.0.0.1') })
  const client = await server.connect()
  client.send(`${header}USER alice\r\n`)
  await client.line()
  expect(await client.line()).toMatch(/^-ERR \[AUTH\] /)
})

test('P045 unless the load balancer ended its TLS, or is said to be safe', async () => {
  server = await Pop3Server.start({ set: [...behindProxy('127.0.0.1'), 'proxy_protocol.assume_secure=true'] })
  const client = await server.connect()
  client.send(`${header}USER alice\r\n`)
  await client.line()
  expect(await client.line()).toBe('+OK')
})

test('L23 C34 a client certificate that the load balancer has verified logs in with EXTERNAL', async () => {
  server = await Pop3Server.start({
    set: [...behindProxy('127.0.0.1'), 'auth.mechanisms=PLAIN EXTERNAL', 'auth.failure_delay=0'],
  })
  const login = async (verified: boolean): Promise<string[]> => {
    const client = await server.connect()
    client.socket.write(certified('alice', verified))
    await client.line()
    const { lines } = await client.list('AUTH')
    return [...lines, await client.ask('AUTH EXTERNAL =')]
  }
  expect(await login(true)).toEqual(['PLAIN', 'EXTERNAL', expect.stringMatching(/^\+OK /)])
  expect(await login(false)).toEqual(['PLAIN', expect.stringMatching(/^-ERR \[AUTH\] /)])
})

test('P045 the load balancer itself is served as any client', async () => {
  server = await Pop3Server.start({ set: behindProxy('127.0.0.1') })
  const client = await server.connect()
  client.send('PROXY UNKNOWN\r\nQUIT\r\n')
  await client.rest()
  expect(server.events('pop3.disconnect')[0]).toMatchObject({ remote: '127.0.0.1' })
})

test('P046 a stranger that sends a header is disconnected without a word', async () => {
  server = await Pop3Server.start({ set: behindProxy('192.0.2.0/24') })
  const client = await server.connect()
  client.send(header)
  expect(await client.rest()).toBe('')
  expect(server.events('proxy.refused')).toHaveLength(1)
})

test('P047 no header in time', async () => {
  server = await Pop3Server.start({ set: [...behindProxy('127.0.0.1'), 'proxy_protocol.timeout=100ms'] })
  const client = await server.connect()
  client.send('PROXY TCP4 9.9.9.9')
  expect(await client.rest()).toBe('')
})

test('P048 a header that is wrong', async () => {
  server = await Pop3Server.start({ set: behindProxy('127.0.0.1') })
  const client = await server.connect()
  client.send('PROXY TCP4 300.1.1.1 8.8.8.8 1 2\r\n')
  expect(await client.rest()).toBe('')
})

test('P016 spaces behind a name are part of it', async () => {
  server = await Pop3Server.start()
  const client = await server.connect()
  await client.line()
  expect(await client.ask('USER alice ')).toBe('+OK')
  expect(await client.ask('PASS secret')).toMatch(/^-ERR \[AUTH\] /)
})

test('P036 a user that is added can log in', async () => {
  server = await Pop3Server.start()
  appendFileSync(join(server.root, 'users'), 'newton:{PLAIN}apple\n')
  const client = await server.login('newton', 'apple')
  expect(await client.ask('STAT')).toBe('+OK 0 0')
})

test('P037 passwords of the common schemes', async () => {
  // Made by OpenSSL and by htpasswd.
  const users = [
    'carol:{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1',
    'erin:{BLF-CRYPT}$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC',
  ]
  server = await Pop3Server.start({ users })
  const carol = await server.connect()
  carol.send('USER carol\r\nPASS Hello world!\r\n')
  expect((await carol.lines(3))[2]).toMatch(/^\+OK/)
  const erin = await server.connect()
  erin.send('USER erin\r\nPASS myPassword\r\n')
  expect((await erin.lines(3))[2]).toMatch(/^\+OK/)
})

test('P038 a user who may not log in gets the answer of a wrong password', async () => {
  server = await Pop3Server.start({ users: ['off:{PLAIN}secret::::::nologin'] })
  const answers = []
  for (const password of ['secret', 'wrong']) {
    const client = await server.connect()
    client.send(`USER off\r\nPASS ${password}\r\n`)
    answers.push((await client.lines(3))[2])
  }
  expect(answers[0]).toMatch(/^-ERR \[AUTH\] /)
  expect(answers[1]).toBe(answers[0])
})

test('P043 a trusted proxy says for whom it comes, and is taken at its word or not at all', async () => {
  server = await Pop3Server.start({ set: ['login.trusted_networks=127.0.0.0/8'] })
  const client = await server.connect()
  expect(await client.line()).toMatch(/^\+OK \[XCLIENT\] /)
  for (const wrong of [
    'PORT=0',
    'PORT=70000',
    'ADDR=IPV6:::1',
    'ADDR=',
    'TTL=x',
    'FORWARD=!!',
    'DESTADDR=x',
  ]) {
    expect(await client.ask(`XCLIENT ADDR=9.9.9.9 ${wrong}`)).toMatch(/^-ERR/)
  }
  for (const unknown of ['FOO', 'FOO=bar', 'TTL=0', 'ADDR', '']) {
    expect(await client.ask(`XCLIENT ${unknown}`)).toBe('+OK')
  }
  expect(await client.ask('xclient addr=1.2.3.4 PORT=99 SESSION=abc FOO=bar TTL=3')).toBe('+OK')
  client.send('USER alice\r\nPASS secret\r\nQUIT\r\n')
  await client.rest()
  const seen = { remote: '1.2.3.4', session: 'abc' }
  expect(server.events('pop3.login')).toMatchObject([seen])
  expect(server.events('pop3.logout')).toMatchObject([seen])
})

test('P043 sessions that a proxy calls by one name are several all the same', async () => {
  const set = ['login.trusted_networks=127.0.0.0/8', 'limits.max_userip_connections=2']
  server = await Pop3Server.start({ set })
  const logIn = async () => {
    const client = await server.connect()
    await client.line()
    client.send('XCLIENT ADDR=1.2.3.4 SESSION=abc\r\nUSER alice\r\nPASS secret\r\n')
    return { client, answer: (await client.lines(3))[2] }
  }
  const first = await logIn()
  expect(first.answer).toMatch(/^\+OK/)
  expect((await logIn()).answer).toMatch(/^\+OK/)
  expect((await logIn()).answer).toMatch(/^-ERR \[IN-USE\]/)
  first.client.send('QUIT\r\n')
  await first.client.rest()
  await until('room for one more', async () => /^\+OK/.test((await logIn()).answer ?? ''))
  expect((await logIn()).answer).toMatch(/^-ERR \[IN-USE\]/)
})

test('P043 XOIP is the same with an address alone', async () => {
  server = await Pop3Server.start({ set: ['login.trusted_networks=127.0.0.0/8'] })
  const client = await server.connect()
  client.send('XOIP 2001:db8::7\r\nQUIT\r\n')
  await client.rest()
  expect(server.events('pop3.disconnect')).toMatchObject([{ remote: '2001:db8::7' }])
})

test('P050 mailboxes that are gone between password and opening are an answer, and count for nothing', async () => {
  server = await Pop3Server.start({ set: ['limits.max_userip_connections=1'], withoutMailboxes: true })
  for (let times = 0; times < 3; times++) {
    const client = await server.connect()
    client.send('USER alice\r\nPASS secret\r\n')
    // R72: when it went wrong, and nothing of what it was.
    expect((await client.rest()).split('\r\n')[2]).toMatch(
      /^-ERR \[SYS\/TEMP\] [a-z, ]+ \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\]$/,
    )
  }
})
