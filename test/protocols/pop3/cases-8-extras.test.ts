/** Cases of section 8: extensions beyond what Dovecot offers; and P190 of section 4. */
import { afterEach, expect, test } from 'vitest'
import { m1, Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server.stop())

const capa = async (...set: string[]) => {
  server = await Pop3Server.start({ set })
  server.mb1()
  const client = await server.connect()
  await client.line()
  const before = (await client.list('CAPA')).lines
  client.send('USER alice\r\nPASS secret\r\n')
  await client.lines(2)
  return { client, before, after: (await client.list('CAPA')).lines }
}

test('P291 EXPIRE, LOGIN-DELAY and IMPLEMENTATION are told as configured', async () => {
  const { before, after } = await capa(
    'pop3.capa.expire=30',
    'pop3.capa.login_delay=90s',
    'pop3.capa.implementation=Ours-1',
  )
  expect(before).toEqual(expect.arrayContaining(['EXPIRE 30', 'LOGIN-DELAY 90']))
  expect(before.join()).not.toContain('IMPLEMENTATION')
  expect(after).toEqual(expect.arrayContaining(['EXPIRE 30', 'LOGIN-DELAY 90', 'IMPLEMENTATION Ours-1']))
})

test('P291 a login that comes too early is refused after the password was checked', async () => {
  server = await Pop3Server.start({ set: ['pop3.capa.login_delay=90s'], virtualTime: true })
  const login = async (password: string) => {
    const client = await server.connect()
    client.send(`USER alice\r\nPASS ${password}\r\n`)
    const [, , answer = ''] = await client.lines(3)
    client.destroy()
    return answer
  }
  expect(await login('secret')).toMatch(/^\+OK/)
  expect(await login('secret')).toMatch(/^-ERR \[LOGIN-DELAY\] /)
  expect(await login('wrong')).toMatch(/^-ERR \[AUTH\] /)
  await server.advance(90_000)
  expect(await login('secret')).toMatch(/^\+OK/)
})

const rawHeader = 'Subject: caf\xc3\xa9\n\nbody \xc3\xa9\n'

test('P292 P293 UTF8 shows header fields that others cannot take', async () => {
  server = await Pop3Server.start({ set: ['pop3.capa.utf8=true'] })
  server.put('cur/1700000001.M1P1.h:2,', rawHeader)
  server.put('cur/1700000002.M1P1.h:2,', m1)
  server.put('cur/1700000003.M1P1.h:2,', 'Subject: ascii\n\nbody \xc3\xa9\n')
  const aware = await server.connect()
  aware.send('UTF8\r\nUSER alice\r\nPASS secret\r\n')
  expect((await aware.lines(4)).every((line) => line.startsWith('+OK'))).toBe(true)
  expect((await aware.list('RETR 1')).lines[0]).toBe('Subject: caf\xc3\xa9')
  const plain = await server.login()
  expect(await plain.ask('RETR 1')).toMatch(/^-ERR \[UTF8\] /)
  expect(await plain.ask('TOP 1 0')).toMatch(/^-ERR \[UTF8\] /)
  expect((await plain.list('RETR 2')).status).toMatch(/^\+OK/)
  expect((await plain.list('RETR 3')).status).toMatch(/^\+OK/)
  // Valid before login alone, and only where it is offered.
  expect(await plain.ask('UTF8')).toMatch(/^-ERR/)
})

test.each([['pop3.capa.utf8=true', 'pop3.capa.utf8_after_login=true'], ['pop3.capa.utf8_after_login=true']])(
  'C76 UTF8 after the login, with %s',
  async (...set) => {
    server = await Pop3Server.start({ set })
    server.put('cur/1700000001.M1P1.h:2,', rawHeader)
    const client = await server.login()
    // Not offered: nothing is refused to anybody, and there is no such command.
    const isOffered = set.length === 2
    expect((await client.list('RETR 1')).status).toMatch(isOffered ? /^-ERR \[UTF8\] / : /^\+OK/)
    expect(await client.ask('UTF8')).toMatch(isOffered ? /^\+OK/ : /^-ERR/)
    expect((await client.list('RETR 1')).lines[0]).toBe('Subject: caf\xc3\xa9')
  },
)

test('P294 LANG', async () => {
  const { client, before } = await capa('pop3.capa.lang=true')
  expect(before).toContain('LANG')
  expect((await client.list('LANG')).lines).toEqual(['en English'])
  expect(await client.ask('LANG xx-none')).toMatch(/^-ERR/)
  expect(await client.ask('LANG *')).toMatch(/^\+OK en /)
})

test('P296 no text begins with a bracket unless it is a code, and nothing is offered that is off', async () => {
  const { client, before, after } = await capa()
  expect([...before, ...after].join()).not.toMatch(/EXPIRE|LOGIN-DELAY|IMPLEMENTATION|UTF8|LANG/)
  for (const command of ['UTF8', 'LANG', 'FOO', 'RETR 9', 'DELE x', '[AUTH]', 'LAST']) {
    expect(await client.ask(command)).toMatch(/^-ERR [^[]/)
  }
})

test('P190 one octet after the other without an end reaches the limit of a line', async () => {
  server = await Pop3Server.start()
  const client = await server.login()
  const written = client.rest()
  for (let octets = 0; octets < 2_100; octets += 100) {
    client.send('a'.repeat(100))
    await client.flushed()
  }
  expect(await written).toMatch(/^-ERR .*\r\n$/)
})
