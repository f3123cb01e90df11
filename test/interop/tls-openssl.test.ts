/** `openssl s_server` as the server: TLS from the first octet on, and renegotiation in the middle of a mail. */
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { deliver, type LogLine, outcome } from '../protocols/smtp/client/harness.ts'
import { Authority, type Certificate } from '../support/certificates.ts'
import { tempDir } from '../support/fixtures.ts'
import { freePorts } from '../support/ports.ts'
import { because } from '../support/privileges.ts'
import { until } from '../support/until.ts'

const noOpenssl = whyMissing(['openssl'])

interface SServer {
  readonly port: number
  /** All it printed. */
  said(): string
}

/** Speaks SMTP through its standard input and output. `answer`: what to write after a line of the client. */
async function startOpenssl(
  { cert, key }: Certificate,
  args: readonly string[],
  answer: (line: string) => string,
): Promise<SServer> {
  const dir = tempDir()
  writeFileSync(join(dir, 'cert.pem'), cert)
  writeFileSync(join(dir, 'key.pem'), key)
  const [port = 0] = await freePorts(1)
  const files = ['-cert', join(dir, 'cert.pem'), '-key', join(dir, 'key.pem')]
  const child = spawn('openssl', ['s_server', '-accept', `127.0.0.1:${port}`, ...files, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await ended
  })
  let said = ''
  let buffer = ''
  child.stdin.on('error', () => {})
  child.stderr.on('data', (chunk) => {
    said += String(chunk)
  })
  child.stdout.on('data', (chunk) => {
    said += String(chunk)
    buffer += String(chunk)
    for (let end = buffer.indexOf('\n'); end >= 0; end = buffer.indexOf('\n')) {
      const line = buffer.slice(0, end).trim()
      buffer = buffer.slice(end + 1)
      // The end of what it says of a new connection.
      if (/Secure Renegotiation IS/.test(line)) child.stdin.write('220 s_server ESMTP\r\n')
      if (/^(?:EHLO|MAIL|RCPT|DATA|QUIT)|^\.$/.test(line)) child.stdin.write(answer(line))
    }
  })
  await until('s_server', () => said.includes('ACCEPT'), { describe: () => said })
  return { port, said: () => said }
}

const plainAnswer = (line: string): string =>
  line === 'DATA' ? '354 go\r\n' : line === 'QUIT' ? '221 bye\r\n' : '250 ok\r\n'

const waits = {
  starttls_timeout: 3_000,
  helo_timeout: 3_000,
  mail_timeout: 3_000,
  rcpt_timeout: 3_000,
  data_init_timeout: 3_000,
  data_done_timeout: 3_000,
}

describe.skipIf(noOpenssl !== undefined)(`openssl s_server${because(noOpenssl)}`, () => {
  test.each(['TLSv1.2', 'TLSv1.3'])('a delivery with %s', { timeout: 40_000 }, async (version) => {
    const authority = await Authority.make()
    const dir = tempDir()
    writeFileSync(join(dir, 'ca.pem'), authority.cert)
    const option = version === 'TLSv1.2' ? '-tls1_2' : '-tls1_3'
    const server = await startOpenssl(await authority.issue({ names: ['mail.test'] }), [option], plainAnswer)
    const log: LogLine[] = []
    const report = await deliver({
      log,
      request: { nexthop: `[127.0.0.1]:${server.port}` },
      settings: {
        ...waits,
        tls_security_level: 'secure',
        tls_secure_cert_match: ['mail.test'],
        tls_wrappermode: true,
        tls_ca_file: join(dir, 'ca.pem'),
        tls_loglevel: 1,
      },
    })
    expect(outcome(report), server.said()).toEqual(['sent'])
    expect(log.find(({ event }) => event === 'delivery.tls')?.facts).toMatchObject({
      class: 'verified',
      protocol: version,
    })
  })

  test('a server that wants to renegotiate: the mail has one result, and it is not lost', {
    timeout: 40_000,
  }, async () => {
    const authority = await Authority.make()
    // A line that begins with R is the order to s_server itself.
    const server = await startOpenssl(await authority.issue({ names: ['mail.test'] }), ['-tls1_2'], (line) =>
      line.startsWith('RCPT') ? `R\n${plainAnswer(line)}` : plainAnswer(line),
    )
    const report = await deliver({
      request: { nexthop: `[127.0.0.1]:${server.port}` },
      settings: { ...waits, tls_security_level: 'encrypt', tls_wrappermode: true },
    })
    expect(outcome(report)[0], server.said()).toMatch(/^(sent|deferred 4\.4\.2)$/)
    expect(server.said()).toMatch(/DATA|renegotiation|alert/i)
  })
})
