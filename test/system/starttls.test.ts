/**
 * What "NO STARTTLS" and its predecessors have found in servers, against the running service: commands that travel with
 * the one that begins TLS, in one segment or several, are never carried out within; what was said in clear before, a
 * name, a sender, a login, does not count within; nothing within offers TLS again.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Authority } from '../support/certificates.ts'
import { freePorts } from '../support/ports.ts'
import { Service } from '../support/service.ts'
import { until } from '../support/until.ts'

const services = ['smtp', 'submission', 'lmtp', 'pop3'] as const
type Kind = (typeof services)[number]

const hello: Record<Kind, string> = {
  smtp: 'EHLO c.test\r\n',
  submission: 'EHLO c.test\r\n',
  lmtp: 'LHLO c.test\r\n',
  pop3: 'CAPA\r\n',
}
const begin = (kind: Kind): string => (kind === 'pop3' ? 'STLS\r\n' : 'STARTTLS\r\n')
/** Answered in clear, before: whether the server has read the command. */
const leave = (kind: Kind): RegExp => (kind === 'pop3' ? /\+OK[^\n]*TLS[^\n]*\n/i : /^220 2[^\n]*\n/m)
/** What an attacker would like to have done within. */
const injected: Record<Kind, string> = {
  smtp: 'NOOP injected\r\nMAIL FROM:<evil@x.test>\r\n',
  submission: 'NOOP injected\r\nMAIL FROM:<evil@x.test>\r\n',
  lmtp: 'NOOP injected\r\nMAIL FROM:<evil@x.test>\r\n',
  pop3: 'NOOP\r\nUSER evil\r\n',
}
const end = 'QUIT\r\n'

let service: Service
let ports: readonly number[]
let stop = async (): Promise<void> => {}

class Client {
  readonly socket: net.Socket
  said = ''
  #isOver = false

  constructor(kind: Kind) {
    this.socket = net.connect({ port: ports[services.indexOf(kind)]!, host: '127.0.0.1', noDelay: true })
    this.socket.on('error', () => {})
    this.socket.on('data', this.#listen)
    for (const event of ['end', 'close']) {
      this.socket.on(event, () => {
        this.#isOver = true
      })
    }
  }

  readonly #listen = (chunk: Buffer): void => {
    this.said += chunk.toString('latin1')
  }

  async write(text: string): Promise<void> {
    await new Promise<void>((resolve) => this.socket.write(text, () => setImmediate(resolve)))
  }

  /** All that is said within TLS to `commands`. */
  async within(commands: string): Promise<string> {
    this.socket.off('data', this.#listen)
    if (this.#isOver) throw new Error('no handshake')
    const secured = tls.connect({ socket: this.socket, rejectUnauthorized: false })
    await new Promise((resolve, reject) => {
      secured.once('secureConnect', resolve)
      secured.once('error', reject)
      this.socket.once('close', () => reject(new Error('no handshake')))
    })
    secured.write(commands)
    let said = ''
    for await (const chunk of secured) said += String(chunk)
    return said
  }
}

const codes = (text: string): string[] =>
  text.match(/^\d{3}(?= )|^(?:\+OK|-ERR)/gm)?.map((code) => code) ?? []

beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'mailactors-starttls-'))
  const { cert, key } = await (await Authority.make()).issue({ names: ['mail.peers.test'] })
  writeFileSync(join(dir, 'cert.pem'), cert + key)
  ports = await freePorts(services.length)
  const listeners = services.map(
    (kind, index) => `{service="${kind}",address="127.0.0.1:${ports[index]}",tls="starttls"}`,
  )
  service = await Service.prepare({
    args: ['--set', `listener=[${listeners.join()}]`, '--set', `tls.cert=${join(dir, 'cert.pem')}`],
    tables: '[smtpd]\nclient_connection_count_limit = 0\n',
  })
  await service.run()
  stop = async () => {
    await service.dispose()
    rmSync(dir, { recursive: true, force: true })
  }
}, 60_000)
afterAll(() => stop())

describe.each(services)('%s', (kind) => {
  const whole = begin(kind) + injected[kind]
  // Together, behind the end of the line, within it, octet by octet around it.
  const cuts = [
    [],
    [begin(kind).length],
    [begin(kind).length - 1],
    [begin(kind).length - 2],
    [begin(kind).length + 1],
    [3, begin(kind).length, begin(kind).length + 6],
  ]

  test.each(cuts.map((cut) => ({ cut })))(
    'commands behind the one that begins TLS, cut at $cut',
    async ({ cut }) => {
      const client = new Client(kind)
      if (kind !== 'pop3') await client.write(hello[kind])
      await until('the greeting', () => (kind === 'pop3' ? /^\+OK/ : /^250 /m).test(client.said))
      let from = 0
      for (const at of [...cut, whole.length]) {
        await client.write(whole.slice(from, at))
        from = at
      }
      await until('leave to begin', () => leave(kind).test(client.said) || client.socket.destroyed)
      const clear = client.said
      expect(codes(clear.slice(clear.search(leave(kind)))).length).toBeLessThanOrEqual(1)
      // Octets that come after the reply are no handshake: then the connection ends. Otherwise they are gone.
      const within = await client
        .within(hello[kind] + (kind === 'pop3' ? 'PASS x\r\n' : 'RCPT TO:<x@mail.peers.test>\r\n') + end)
        .catch(() => undefined)
      if (within === undefined) return
      expect(codes(within)).toEqual(kind === 'pop3' ? ['+OK', '-ERR', '+OK'] : ['250', '503', '221'])
      expect(within).not.toMatch(/^(?:250-STARTTLS|STLS)\r$/m)
    },
  )

  test('a line end of LF alone begins nothing that CRLF would not', async () => {
    const client = new Client(kind)
    await client.write(`${hello[kind]}${begin(kind).replace('\r', '')}${injected[kind]}`)
    await until('an answer', () => leave(kind).test(client.said) || codes(client.said).length > 2)
    if (!leave(kind).test(client.said)) return
    const within = await client.within(hello[kind] + end).catch(() => undefined)
    if (within !== undefined) expect(codes(within)).toHaveLength(2)
  })

  test('what was said in clear does not count within', async () => {
    const login = Buffer.from('\0ann\0secret').toString('base64')
    const client = new Client(kind)
    const before =
      kind === 'pop3'
        ? `CAPA\r\nUSER ann\r\n`
        : `${hello[kind]}AUTH PLAIN ${login}\r\nMAIL FROM:<a@x.test>\r\nRSET\r\n`
    await client.write(before)
    await until('answers', () => codes(client.said).length >= (kind === 'pop3' ? 3 : 5))
    await client.write(begin(kind))
    await until('leave to begin', () => leave(kind).test(client.said))
    const commands =
      kind === 'pop3'
        ? `PASS secret\r\nSTAT\r\n${begin(kind)}`
        : `RCPT TO:<x@far.test>\r\nAUTH PLAIN ${login}\r\n${begin(kind)}`
    const within = await client.within(commands + end)
    const [first, second, third] = codes(within)
    // Nobody is logged in, and no greeting and no sender is known.
    expect([first, second]).toEqual(
      kind === 'pop3' ? ['-ERR', '-ERR'] : [expect.stringMatching(/^5/), expect.stringMatching(/^5/)],
    )
    expect(third).toMatch(/^(?:5|-ERR)/)
  })
})

test('nothing of it got in', () => {
  expect(service.isRunning).toBe(true)
  expect(service.log().filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
  expect(JSON.stringify(service.log())).not.toContain('evil@x.test')
})
