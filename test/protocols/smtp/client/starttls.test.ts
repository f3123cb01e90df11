/** STARTTLS of the delivery client; ids are those of the acceptance cases. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { deliver, type LogLine, outcome, type Setup } from './harness.ts'

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

interface Behaviour {
  readonly offers?: boolean
  /** Reply to STARTTLS; what follows it in the same write was put in by an attacker. */
  readonly starttls?: string
  /** Instead of a handshake. */
  readonly nonsense?: boolean
  readonly afterTls?: readonly string[]
}

/** A small server with STARTTLS: commands are recorded with `tls:` in front once it is on. */
class TlsServer {
  readonly commands: string[] = []
  connections = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #context: SecureContext
  readonly #behaviour: Behaviour

  constructor(context: SecureContext, behaviour: Behaviour) {
    this.#context = context
    this.#behaviour = behaviour
    this.#server = createServer((socket) => this.#serve(socket))
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    return this
  }

  get nexthop(): string {
    return `[127.0.0.1]:${(this.#server.address() as { port: number }).port}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(socket: Socket): void {
    this.connections++
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.write('220 mx.test ESMTP\r\n')
    this.#talk(socket, false)
  }

  #talk(socket: Socket, secure: boolean): void {
    const { offers = true, starttls = '220 go', nonsense, afterTls = [] } = this.#behaviour
    let buffer = ''
    let content = false
    const onData = (chunk: Buffer) => {
      buffer += chunk.toString('latin1')
      for (;;) {
        const end = buffer.indexOf(content ? '\r\n.\r\n' : '\r\n')
        if (end < 0) return
        const line = buffer.slice(0, end)
        buffer = buffer.slice(end + (content ? 5 : 2))
        if (content) {
          content = false
          socket.write('250 2.0.0 ok\r\n')
          continue
        }
        this.commands.push(`${secure ? 'tls:' : ''}${line.split(/[ :]/)[0]}`)
        if (line.startsWith('EHLO')) {
          const keywords = secure ? afterTls : offers ? ['STARTTLS', 'AUTH PLAIN'] : []
          const lines = ['mx.test', ...keywords]
          socket.write(lines.map((text, i) => `250${i === lines.length - 1 ? ' ' : '-'}${text}\r\n`).join(''))
        } else if (line === 'STARTTLS') {
          socket.write(`${starttls}\r\n`)
          if (!starttls.startsWith('220')) continue
          socket.off('data', onData)
          if (nonsense === true) {
            socket.write('this is no TLS at all, sorry for that\r\n')
            return
          }
          const upgraded = new TLSSocket(socket, { isServer: true, secureContext: this.#context })
          upgraded.on('error', () => {})
          this.#talk(upgraded, true)
          return
        } else if (line === 'DATA') {
          content = true
          socket.write('354 go\r\n')
        } else if (line === 'QUIT') socket.end('221 bye\r\n')
        else socket.write('250 2.0.0 ok\r\n')
      }
    }
    socket.on('data', onData)
  }
}

describe.skipIf(!hasOpenssl)(
  `STARTTLS${hasOpenssl ? '' : ' (skipped: no openssl to make a certificate)'}`,
  () => {
    let context: SecureContext
    let dir = ''

    beforeAll(() => {
      dir = mkdtempSync(join(tmpdir(), 'mailactors-tls-'))
      const [key, cert] = [join(dir, 'key'), join(dir, 'cert')]
      const args = `req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mx.test -keyout ${key} -out ${cert}`
      execFileSync('openssl', args.split(' '), { stdio: 'ignore' })
      context = createSecureContext({ key: readFileSync(key), cert: readFileSync(cert) })
    })
    afterAll(() => rmSync(dir, { recursive: true, force: true }))

    const run = async (
      level: 'may' | 'encrypt' | 'secure',
      behaviour: Behaviour,
      setup: Setup = {},
    ): Promise<{
      outcome: string
      hop: boolean
      tls: string | undefined
      commands: string
      connections: number
    }> => {
      await using server = await new TlsServer(context, behaviour).listen()
      const report = await deliver({
        ...setup,
        settings: { tls_security_level: level, ...setup.settings },
        request: { nexthop: server.nexthop, ...setup.request },
      })
      return {
        outcome: outcome(report)[0]!,
        hop: report.hopStatus !== undefined,
        tls: report.tls,
        commands: server.commands.filter((command) => !command.endsWith('QUIT')).join(' '),
        connections: server.connections,
      }
    }
    const secured = 'EHLO STARTTLS tls:EHLO tls:MAIL tls:RCPT tls:DATA'
    const old = { request: { arrivedAt: Date.now() - 400_000 } }

    test('J01 may: used when it is offered', async () => {
      const seen = await run('may', {})
      expect(seen).toMatchObject({ outcome: 'sent', commands: secured, tls: 'may' })
    })

    test('may: plaintext when it is not offered', async () => {
      const seen = await run('may', { offers: false })
      expect(seen).toMatchObject({ outcome: 'sent', commands: 'EHLO MAIL RCPT DATA', tls: undefined })
    })

    test('J03 may: refused, goes on in plaintext on the same connection', async () => {
      const seen = await run('may', { starttls: '454 4.7.0 not now' })
      expect(seen).toMatchObject({
        outcome: 'sent',
        commands: 'EHLO STARTTLS MAIL RCPT DATA',
        connections: 1,
      })
    })

    test('J04 encrypt: refused', async () => {
      const seen = await run('encrypt', { starttls: '454 4.7.0 not now' })
      expect(seen).toMatchObject({ outcome: 'deferred 4.7.0', commands: 'EHLO STARTTLS', hop: true })
    })

    test('J06 encrypt: not offered', async () => {
      const seen = await run('encrypt', { offers: false })
      expect(seen).toMatchObject({ outcome: 'deferred 4.7.4', commands: 'EHLO', hop: true })
    })

    test('encrypt: used, whatever the certificate', async () => {
      expect(await run('encrypt', {})).toMatchObject({ outcome: 'sent', commands: secured, tls: 'encrypt' })
    })

    test('J09 may: the handshake fails, a fresh mail waits and nobody is blamed', async () => {
      const seen = await run('may', { nonsense: true })
      expect(seen).toMatchObject({ outcome: 'deferred 4.7.5', commands: 'EHLO STARTTLS', hop: false })
    })

    test('J10 J13 may: the handshake fails, an old mail goes in plaintext to the same address', async () => {
      const log: LogLine[] = []
      const seen = await run('may', { nonsense: true }, { ...old, log, settings: { mx_address_limit: 1 } })
      expect(seen).toMatchObject({
        outcome: 'sent',
        commands: 'EHLO STARTTLS EHLO MAIL RCPT DATA',
        connections: 2,
      })
      expect(log.map(({ event }) => event)).toContain('delivery.skipped')
    })

    test('encrypt: the handshake fails, no mail ever goes in plaintext', async () => {
      const seen = await run('encrypt', { nonsense: true }, old)
      expect(seen).toMatchObject({
        outcome: 'deferred 4.7.5',
        commands: 'EHLO STARTTLS',
        hop: true,
        connections: 1,
      })
    })

    test('levels that demand a certificate deliver nothing while it cannot be checked', async () => {
      expect(await run('secure', {})).toMatchObject({ outcome: 'deferred 4.7.5', connections: 0 })
    })

    test('TLS-7 replies put in before the handshake do not count', async () => {
      const injected = '220 go\r\n250-evil\r\n250 PIPELINING\r\n250 2.0.0 yours\r\n250 2.0.0 too'
      const seen = await run('encrypt', { starttls: injected })
      // Either the client does not see TLS where it should begin, or it starts from nothing: never the injected replies.
      expect(['deferred 4.7.5', 'sent']).toContain(seen.outcome)
      if (seen.outcome === 'sent') expect(seen.commands).toBe(secured)
    })

    test('J08 features from before TLS are forgotten', async () => {
      const seen = await run('may', { afterTls: ['SIZE 10'] })
      expect(seen.outcome).toBe('bounced 5.3.4')
    })
  },
)
