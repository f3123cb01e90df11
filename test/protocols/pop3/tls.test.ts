import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { until, within } from '../../support/until.ts'
import { Pop3Server } from './harness.ts'

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

/** What a socket receives, until a condition on all of it holds. */
class Listener {
  #text = ''
  readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#text += chunk.toString('latin1')
    })
    socket.on('error', () => {})
  }

  /** Takes everything up to and with `end`. */
  async upTo(end: string): Promise<string> {
    const taken = await until(`${end.trim()} from the server`, () => {
      const at = this.#text.indexOf(end)
      return at === -1 ? undefined : this.#text.slice(0, at + end.length)
    })
    this.#text = this.#text.slice(taken.length)
    return taken
  }

  async ask(command: string): Promise<string> {
    this.socket.write(`${command}\r\n`)
    return (await this.upTo('\r\n')).trimEnd()
  }

  detach(): Socket {
    this.socket.removeAllListeners('data')
    return this.socket
  }
}

async function secured(socket: Socket, options: tls.ConnectionOptions = {}): Promise<Listener> {
  const client = tls.connect({ socket, rejectUnauthorized: false, ...options })
  const listener = new Listener(client)
  await within('the handshake', new Promise((resolve) => client.once('secureConnect', resolve)))
  return listener
}

describe.skipIf(!hasOpenssl)(
  `TLS of POP3${hasOpenssl ? '' : ' (skipped: no openssl to make a certificate)'}`,
  () => {
    let dir = ''
    let server: Pop3Server
    const files = () => [`tls.cert=${join(dir, 'cert.pem')}`, `tls.key=${join(dir, 'key.pem')}`]
    const implicit = () => ['listener=[{service="pop3",address="127.0.0.1:1110",tls="implicit"}]', ...files()]

    beforeAll(() => {
      dir = mkdtempSync(join(tmpdir(), 'pop3-tls-'))
      const made = ['-keyout', join(dir, 'key.pem'), '-out', join(dir, 'cert.pem')]
      const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=mx.test']
      execFileSync('openssl', [...args, ...made], { stdio: 'ignore' })
    })
    afterAll(() => rmSync(dir, { recursive: true, force: true }))
    afterEach(() => server.stop())

    /** Loopback has many addresses: one that is not the server's own counts as a stranger's. */
    async function stranger(): Promise<Listener> {
      const listener = new Listener(
        connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.9' }),
      )
      await listener.upTo('\r\n')
      return listener
    }

    test('STLS makes passwords acceptable, and mail comes through it', async () => {
      server = await Pop3Server.start({ set: files() })
      server.mb1()
      const clear = await stranger()
      clear.socket.write('CAPA\r\n')
      const before = await clear.upTo('\r\n.\r\n')
      expect(before).toContain('\r\nSTLS\r\n')
      expect(before).not.toMatch(/USER|SASL/)
      expect(await clear.ask('USER alice')).toMatch(/^-ERR \[AUTH\]/)
      expect(await clear.ask('STLS')).toMatch(/^\+OK/)
      const client = await secured(clear.detach())
      client.socket.write('CAPA\r\n')
      const after = await client.upTo('\r\n.\r\n')
      expect(after).not.toContain('STLS')
      expect(after).toContain('\r\nUSER\r\nSASL PLAIN LOGIN\r\n')
      expect(await client.ask('STLS')).toMatch(/^-ERR/)
      expect(await client.ask('USER alice')).toBe('+OK')
      expect(await client.ask('PASS secret')).toMatch(/^\+OK/)
      expect(await client.ask('STAT')).toBe('+OK 3 99')
      client.socket.write('RETR 1\r\nQUIT\r\n')
      expect(await client.upTo('hello\r\n.\r\n')).toContain('Subject: one\r\n')
      await client.upTo('+OK goodbye\r\n')
      await until('the end', () => server.events('pop3.logout').length === 1)
      expect(server.events('pop3.login')).toEqual([
        expect.objectContaining({ user: 'alice', tls: expect.stringMatching(/^TLSv1\.[23]$/) }),
      ])
    })

    test.each(['USER mallory\r\nPASS x\r\n', 'U'])(
      'C29 what was sent in clear behind STLS ends the connection: %j',
      async (rest) => {
        server = await Pop3Server.start({ set: files() })
        const clear = await stranger()
        const ended = new Promise((resolve) => clear.socket.once('end', resolve))
        clear.socket.write(`STLS\r\n${rest}`)
        expect(await clear.upTo('\r\n')).toMatch(/^\+OK/)
        await within('the end', ended)
        const [line] = await until('the log line', () => {
          const lines = server.events('pop3.disconnect')
          return lines.length > 0 && lines
        })
        expect(line).toMatchObject({ reason: 'Something in clear behind STLS', code: 'no_auth_attempts' })
        expect(server.events('pop3.login-failed')).toEqual([])
        clear.socket.destroy()
      },
    )

    test('a name given before STLS does not count behind it', async () => {
      server = await Pop3Server.start({ set: ['auth.allow_cleartext=true', ...files()] })
      const clear = await stranger()
      expect(await clear.ask('USER alice')).toBe('+OK')
      await clear.ask('STLS')
      const client = await secured(clear.detach())
      expect(await client.ask('PASS secret')).toBe('-ERR send USER first')
      client.socket.destroy()
    })

    test('implicit TLS greets inside, and a mail larger than all buffers arrives whole', async () => {
      server = await Pop3Server.start({ set: implicit() })
      const line = `${'x'.repeat(70)}\n`
      server.put('cur/1700000001.M1P1.h:2,', `Subject: big\n\n${line.repeat(40_000)}`)
      const socket = connect({ port: server.port, host: '127.0.0.1', localAddress: '127.0.0.9' })
      const client = await secured(socket)
      expect(await client.upTo('\r\n')).toMatch(/^\+OK/)
      await client.ask('USER alice')
      await client.ask('PASS secret')
      client.socket.write('RETR 1\r\nQUIT\r\n')
      const answer = await client.upTo('\r\n.\r\n')
      expect(answer.length).toBeGreaterThan(72 * 40_000)
      expect(await client.upTo('\r\n')).toMatch(/^\+OK goodbye/)
    })

    test('a client that does not shake hands ends its own session only', async () => {
      server = await Pop3Server.start({ set: implicit() })
      const plain = new Listener(connect({ port: server.port, host: '127.0.0.1' }))
      let seen = ''
      plain.socket.on('data', (chunk: Buffer) => {
        seen += chunk.toString('latin1')
      })
      plain.socket.write('QUIT\r\n')
      await within('the close', new Promise((resolve) => plain.socket.once('close', resolve)))
      expect(seen).not.toContain('+OK')
      const client = await secured(connect({ port: server.port, host: '127.0.0.1' }))
      expect(await client.upTo('\r\n')).toMatch(/^\+OK/)
      client.socket.destroy()
    })

    test('versions of TLS before 1.2 are refused', async () => {
      server = await Pop3Server.start({ set: implicit() })
      const socket = connect({ port: server.port, host: '127.0.0.1' })
      const old: tls.ConnectionOptions = {
        minVersion: 'TLSv1',
        maxVersion: 'TLSv1.1',
        ciphers: 'ALL@SECLEVEL=0',
      }
      const client = tls.connect({ socket, rejectUnauthorized: false, ...old })
      const failed = await within('the refusal', new Promise((resolve) => client.once('error', resolve)))
      expect(failed).toBeInstanceOf(Error)
    })

    test('a shutdown says goodbye through TLS', async () => {
      server = await Pop3Server.start({ set: implicit() })
      server.mb1()
      const client = await secured(connect({ port: server.port, host: '127.0.0.1' }))
      await client.upTo('\r\n')
      await client.ask('USER alice')
      await client.ask('PASS secret')
      const stopping = server.shutdown()
      expect(await client.upTo('\r\n')).toBe('-ERR [SYS/TEMP] Server shutting down.\r\n')
      await stopping
    })

    test('a certificate that cannot be used is logged, and STLS not offered', async () => {
      const cert = join(dir, 'broken.pem')
      writeFileSync(cert, 'no certificate')
      server = await Pop3Server.start({ set: [`tls.cert=${cert}`] })
      const clear = await stranger()
      clear.socket.write('CAPA\r\n')
      expect(await clear.upTo('\r\n.\r\n')).not.toContain('STLS')
      expect(await clear.ask('STLS')).toMatch(/^-ERR/)
      expect(server.events('tls.unusable')).toHaveLength(1)
      clear.socket.destroy()
    })
  },
)
