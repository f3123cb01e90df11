import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until, within } from '../../../support/until.ts'
import { bytesOf, codes, converse, TestServer } from './harness.ts'

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

describe.skipIf(!hasOpenssl)(`TLS${hasOpenssl ? '' : ' (skipped: no openssl to make a certificate)'}`, () => {
  let dir = ''
  const files = () => ({ cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') })

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'ma-tls-'))
    const { cert, key } = files()
    execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=mx.test',
        '-keyout',
        key,
        '-out',
        cert,
      ],
      { stdio: 'ignore' },
    )
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  /** Waits for a text in what a socket receives, and returns all of it. */
  function expecting(socket: Socket, text: string): Promise<string> {
    let received = ''
    const listener = (chunk: Buffer) => {
      received += chunk.toString('latin1')
    }
    socket.on('data', listener)
    return until(`${text} in the reply`, () => received.includes(text) && received).finally(() =>
      socket.off('data', listener),
    )
  }

  async function secure(socket: Socket): Promise<tls.TLSSocket> {
    const secured = tls.connect({ socket, rejectUnauthorized: false })
    await within('the handshake', new Promise((resolve) => secured.once('secureConnect', resolve)))
    return secured
  }

  test('STARTTLS begins a new session, and mail through it says ESMTPS', async () => {
    const smtpd = { tls_received_header: true }
    const server = await TestServer.start({ listenerTls: 'starttls', tls: files(), smtpd })
    const socket = server.connect()
    await expecting(socket, '220 ')
    socket.write('EHLO c\r\n')
    expect(await expecting(socket, '250 CHUNKING\r\n')).toContain('250-STARTTLS\r\n')
    socket.write('STARTTLS\r\n')
    expect(await expecting(socket, '\r\n')).toBe('220 2.0.0 Begin TLS\r\n')
    const transcript = await converse(await secure(socket), [
      Buffer.from(
        'AUTH PLAIN\r\nSTARTTLS\r\nEHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<x@d.test>\r\nDATA\r\nX: y\r\n\r\n.\r\nQUIT\r\n',
      ),
    ])
    // The greeting before counts no more: AUTH wants another EHLO.
    expect(codes(transcript)).toEqual([503, 554, 250, 250, 250, 354, 250, 221])
    expect(transcript).not.toContain('250-STARTTLS')
    expect(server.queue.mails[0]!.client.protocol).toBe('ESMTPS')
    expect(bytesOf(server.queue.mails[0]!)).toMatch(
      /^Received: [^\r]*\r\n\t\(using TLSv1\.3 with cipher TLS_\w+\)\r\n\t\(No client certificate requested\)\r\n\tby mx\.test \(mailactors\) with ESMTPS id /,
    )
  })

  test('REQUIRETLS is offered and taken within TLS only, and goes with the mail', async () => {
    const server = await TestServer.start({ listenerTls: 'starttls', tls: files() })
    const socket = server.connect()
    await expecting(socket, '220 ')
    socket.write('EHLO c\r\nMAIL FROM:<a@x.test> REQUIRETLS\r\nSTARTTLS\r\n')
    const clear = await expecting(socket, '220 2.0.0')
    expect(clear).not.toContain('REQUIRETLS')
    expect(clear).toContain('\r\n555 5.5.4')
    const transcript = await converse(await secure(socket), [
      Buffer.from(
        'EHLO c\r\nMAIL FROM:<a@x.test> REQUIRETLS=1\r\nMAIL FROM:<a@x.test> REQUIRETLS\r\nRCPT TO:<x@d.test>\r\nDATA\r\nX: y\r\n\r\n.\r\nQUIT\r\n',
      ),
    ])
    expect(transcript).toContain('250-REQUIRETLS\r\n')
    expect(codes(transcript)).toEqual([250, 555, 250, 250, 354, 250, 221])
    expect(server.queue.mails[0]!.envelope.requiretls).toBe(true)
  })

  test('what was sent in clear behind STARTTLS is forgotten', async () => {
    const server = await TestServer.start({ listenerTls: 'starttls', tls: files() })
    const socket = server.connect()
    await expecting(socket, '220 ')
    socket.write('EHLO c\r\nSTARTTLS\r\nMAIL FROM:<evil@x.test>\r\n')
    const clear = await expecting(socket, '220 2.0.0')
    expect(clear).not.toContain('250 2.1.0')
    const transcript = await converse(await secure(socket), [
      Buffer.from('EHLO c\r\nRCPT TO:<x@d.test>\r\nQUIT\r\n'),
    ])
    expect(codes(transcript)).toEqual([250, 503, 221])
  })

  test('no TLS in the middle of a mail: what was agreed in clear would go on within', async () => {
    const server = await TestServer.start({ listenerTls: 'starttls', tls: files() })
    expect(
      codes(await server.exchange('EHLO c\r\nMAIL FROM:<evil@x.test>\r\nSTARTTLS\r\nRSET\r\nQUIT\r\n')),
    ).toEqual([220, 250, 250, 503, 250, 221])
  })

  test('octets in clear between the reply to STARTTLS and the handshake end the session', async () => {
    const server = await TestServer.start({ listenerTls: 'starttls', tls: files() })
    const socket = server.connect()
    socket.on('error', () => {})
    await expecting(socket, '220 ')
    socket.write('EHLO c\r\nSTARTTLS\r\n')
    await expecting(socket, '220 2.0.0')
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write('MAIL FROM:<evil@x.test>\r\nRCPT TO:<x@d.test>\r\n')
    await within('the close', closed)
    await server.sessionsEnded()
    expect(server.events('smtpd.disconnect')).toMatchObject([{ reason: 'TLS handshake failed', mails: 0 }])
  })

  test('implicit TLS greets inside, and passwords are taken from anywhere', async () => {
    const server = await TestServer.start({ listenerTls: 'implicit', tls: files(), service: 'submission' })
    const login = Buffer.from('\0ann\0secret').toString('base64')
    const transcript = await converse(await secure(server.connect()), [
      Buffer.from(`EHLO c\r\nAUTH PLAIN ${login}\r\nQUIT\r\n`),
    ])
    expect(codes(transcript)).toEqual([220, 250, 235, 221])
  })

  test('a client that does not shake hands ends its own session only', async () => {
    const server = await TestServer.start({ listenerTls: 'implicit', tls: files() })
    const socket = server.connect()
    socket.on('error', () => {})
    socket.write('EHLO c\r\n')
    await within('the close', new Promise((resolve) => socket.once('close', resolve)))
    await server.sessionsEnded()
    expect(server.events('smtpd.disconnect')).toEqual([
      expect.objectContaining({ reason: 'TLS handshake failed' }),
    ])
    const transcript = await converse(await secure(server.connect()), [Buffer.from('QUIT\r\n')])
    expect(codes(transcript)).toEqual([220, 221])
  })

  test('nobody shakes hands twice on one connection', async () => {
    const server = await TestServer.start({ listenerTls: 'implicit', tls: files() })
    const socket = server.connect()
    const secured = tls.connect({ socket, rejectUnauthorized: false, maxVersion: 'TLSv1.2' })
    await expecting(secured, '220 ')
    secured.on('error', () => {})
    const before = socket.bytesRead
    secured.renegotiate({}, () => {})
    await until('an answer', () => socket.bytesRead > before)
    // An alert, and no certificate.
    expect(socket.bytesRead - before).toBeLessThan(100)
    secured.destroy()
    await server.sessionsEnded()
  })

  test('a certificate that cannot be used is logged, and STARTTLS not offered', async () => {
    const cert = join(dir, 'broken.pem')
    writeFileSync(cert, 'no certificate')
    const server = await TestServer.start({ listenerTls: 'starttls', tls: { cert, key: '' } })
    expect(await server.exchange('EHLO c\r\nSTARTTLS\r\nQUIT\r\n')).not.toContain('STARTTLS')
    expect(server.events('tls.unusable')).toHaveLength(1)
  })
})
