/** TLS of our servers with clients that break it: whatever they do, the process lives and serves the next one. */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import { beforeAll, describe, expect, test } from 'vitest'
import { Authority } from '../support/certificates.ts'
import { prepareService, tempDir } from '../support/fixtures.ts'
import { freePorts } from '../support/ports.ts'
import { until } from '../support/until.ts'

/** What a client begins with. */
async function clientHello(): Promise<Buffer> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[net.Socket]>
  const client = tls.connect({ port: (server.address() as net.AddressInfo).port, host: '127.0.0.1' })
  client.on('error', () => {})
  const [socket] = await accepted
  const [hello] = (await once(socket, 'data')) as [Buffer]
  socket.destroy()
  server.close()
  return hello
}

interface Way {
  readonly name: 'smtp' | 'pop3'
  readonly implicit: boolean
}

const ways: readonly Way[] = [
  { name: 'smtp', implicit: false },
  { name: 'smtp', implicit: true },
  { name: 'pop3', implicit: false },
  { name: 'pop3', implicit: true },
]

/** Ready for the handshake. */
async function connect(port: number, { name, implicit }: Way): Promise<net.Socket> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  if (implicit) return socket
  let said = ''
  const listener = (chunk: Buffer) => {
    said += chunk.toString('latin1')
  }
  socket.on('data', listener)
  socket.write(name === 'smtp' ? 'EHLO c.test\r\nSTARTTLS\r\n' : 'STLS\r\n')
  await until('leave to begin', () => (name === 'smtp' ? /^220 2/m : /(?:\+OK[^\n]*\n){2}/).test(said))
  socket.off('data', listener)
  return socket
}

describe('servers', () => {
  let hello: Buffer
  beforeAll(async () => {
    hello = await clientHello()
  })

  test('a handshake that is broken in any way ends its own connection only', {
    timeout: 120_000,
  }, async () => {
    const dir = tempDir()
    const authority = await Authority.make()
    const { cert, key } = await authority.issue({ names: ['mail.peers.test'] })
    writeFileSync(join(dir, 'cert.pem'), cert + key)
    const ports = await freePorts(ways.length)
    const listeners = ways.map(
      ({ name, implicit }, index) =>
        `{service="${name}",address="127.0.0.1:${ports[index]}",tls="${implicit ? 'implicit' : 'starttls'}"}`,
    )
    const service = await prepareService({
      args: ['--set', `listener=[${listeners.join()}]`, '--set', `tls.cert=${join(dir, 'cert.pem')}`],
      tables: '[smtpd]\nclient_connection_count_limit = 0\n',
    })
    await service.run()
    const flipped = (at: number) => hello.map((octet, index) => (index === at ? octet ^ 0xff : octet))
    const steps = [0, 1, 2, 3, 4, 5, 9, 11, 43, 44, 60, 100, hello.length - 1]
    const beginnings: readonly (readonly [string, Uint8Array])[] = [
      ['nothing', Buffer.alloc(0)],
      ['commands in clear', Buffer.from('MAIL FROM:<evil@x.test>\r\nRCPT TO:<x@y.test>\r\nUSER x\r\n')],
      ['a web browser', Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
      ['zeros', Buffer.alloc(3_000)],
      ['an alert', Buffer.from('\x15\x03\x03\x00\x02\x02\x28', 'latin1')],
      ['a record that is too long', Buffer.from('\x16\x03\x01\xff\xff', 'latin1')],
      ['a hello and nonsense', Buffer.concat([hello, Buffer.from('nonsense')])],
      ['a hello and another one', Buffer.concat([hello, hello])],
      ...steps.map((at) => [`cut at ${at}`, hello.subarray(0, at)] as const),
      ...steps.map((at) => [`changed at ${at}`, flipped(at)] as const),
    ]
    for (const [index, way] of ways.entries()) {
      const port = ports[index]!
      await Promise.all(
        beginnings.flatMap(([, octets]) =>
          (['end', 'resetAndDestroy'] as const).map(async (farewell) => {
            const socket = await connect(port, way)
            socket.resume()
            const closed = once(socket, 'close')
            if (octets.length > 0) socket.write(octets)
            // What the server has read by now is left to chance.
            await new Promise((resolve) => setImmediate(resolve))
            socket[farewell]()
            await closed
          }),
        ),
      )
      expect(service.isRunning, JSON.stringify(way)).toBe(true)
      const secured = tls.connect({ socket: await connect(port, way), rejectUnauthorized: false })
      await once(secured, 'secureConnect')
      secured.write(way.name === 'smtp' ? 'EHLO c.test\r\nQUIT\r\n' : 'CAPA\r\nQUIT\r\n')
      let said = ''
      for await (const chunk of secured) said += String(chunk)
      expect(said, JSON.stringify(way)).toMatch(way.name === 'smtp' ? /^221 2/m : /\+OK[^\n]*\n$/)
    }
    const bad = service.log().filter(({ level }) => level === 'error' || level === 'fatal')
    expect(bad).toEqual([])
    expect(service.events('actor.terminated')).toEqual([])
  })
})
