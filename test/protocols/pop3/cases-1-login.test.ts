/** Cases of section 1, connection, login and limits, that the older files do not show; see `cases-left-out.md`. */
import { afterEach, expect, test } from 'vitest'
import { until } from '../../support/until.ts'
import { Pop3Server } from './harness.ts'

let server: Pop3Server
afterEach(() => server.stop())

const behindProxy = (trusted: string) => [
  'listener=[{service="pop3",address="127.0.0.1:1110",proxy_protocol=true}]',
  `proxy_protocol.trusted=${trusted}`,
]
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
