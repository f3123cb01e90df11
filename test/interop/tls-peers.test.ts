/** TLS with programs of others: a receiving Postfix, and unbound with a signed zone for DANE. */
import { createHash } from 'node:crypto'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { whyMissing } from '../../bench/harness/processes.ts'
import { deliver, outcome } from '../protocols/smtp/client/harness.ts'
import { Authority, type Certificate, publicKeyOf } from '../support/certificates.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import { startReceivingPostfix } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import { until } from '../support/until.ts'
import { startValidatingResolver } from '../support/validating-resolver.ts'

const noPostfix = whyMissing(['postfix'], { root: true })
const noUnbound = whyMissing(['unbound', 'dnssec-signzone', 'dnssec-keygen'])

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

function pemFiles(certificate: Certificate, ...more: Certificate[]) {
  const dir = tempDir()
  chmodSync(dir, 0o755)
  const cert = join(dir, 'cert.pem')
  const key = join(dir, 'key.pem')
  writeFileSync(cert, [certificate, ...more].map((one) => one.cert).join(''))
  writeFileSync(key, certificate.key, { mode: 0o644 })
  return { cert, key }
}

describe.skipIf((noPostfix ?? noUnbound) !== undefined)(
  `Postfix and unbound${because(noPostfix ?? noUnbound)}`,
  () => {
    test('DANE: records that fit, that do not, bogus ones, none, aliases', { timeout: 120_000 }, async () => {
      const authority = await Authority.make()
      const leaf = await authority.issue({ names: ['mx-ta.dane.test'] })
      const { cert, key } = pemFiles(leaf, authority)
      const postfix = await startReceivingPostfix({
        SETTINGS: `smtpd_tls_cert_file=${cert};smtpd_tls_key_file=${key}`,
      })
      const at = `_${postfix.port}._tcp`
      const ee = `TLSA 3 1 1 ${sha256(publicKeyOf(leaf))}`
      const wrong = `TLSA 3 1 1 ${sha256(Buffer.from('somebody else'))}`
      const hosts = ['mx-ok', 'mx-ta', 'mx-bad', 'mx-bogus', 'mx-none', 'mx-real', 'mx-useless']
      const servers = await startValidatingResolver([
        {
          name: 'dane.test',
          records: [
            ...hosts.map((host) => `${host} IN A 127.0.0.1`),
            ...['ok', 'ta', 'bad', 'bogus', 'none', 'alias', 'useless'].map(
              (name) => `${name} IN MX 10 mx-${name}`,
            ),
            'mx-alias IN CNAME mx-real',
            `${at}.mx-ok IN ${ee}`,
            `${at}.mx-ta IN TLSA 2 0 1 ${sha256(authority.der)}`,
            `${at}.mx-bad IN ${wrong}`,
            `${at}.mx-bogus IN ${ee}`,
            `${at}.mx-real IN ${ee}`,
            `${at}.mx-useless IN TLSA 1 1 1 ${sha256(publicKeyOf(leaf))}`,
          ],
          // One digit of the signed digest.
          tamper: (text) =>
            text.replace(
              /(_tcp\.mx-bogus\.dane\.test\.[^\n]*TLSA\s+3 1 1 )(.)/,
              (_, a, b) => a + (b === '0' ? '1' : '0'),
            ),
        },
        {
          name: 'plain.test',
          unsigned: true,
          records: ['@ IN MX 10 mx', 'mx IN A 127.0.0.1', `${at}.mx IN ${wrong}`],
        },
      ])
      const service = await startService({
        tables: [
          '[dns]',
          `servers = ["${servers}"]`,
          '[net]',
          'inet_protocols = ["ipv4"]',
          '[smtp]',
          `tcp_port = "${postfix.port}"`,
          'tls_security_level = "dane"',
          'dns_support_level = "dnssec"',
          'tls_loglevel = 1',
        ].join('\n'),
      })
      const expected: Record<string, object> = {
        'ok.dane.test': { status: 'sent', tls: 'dane' },
        'ta.dane.test': { status: 'sent', tls: 'dane' },
        'alias.dane.test': { status: 'sent', tls: 'dane' },
        'none.dane.test': { status: 'sent', tls: 'dane:may' },
        'useless.dane.test': { status: 'sent', tls: 'dane:encrypt' },
        'bad.dane.test': { status: 'deferred', dsn: '4.7.5', tls: '!dane' },
        'bogus.dane.test': { status: 'deferred', dsn: '4.7.5' },
        'plain.test': { status: 'sent', tls: 'dane:may' },
      }
      const recipients = Object.keys(expected).map((domain) => `x@${domain}`)
      const sent = await service.command(
        ['send', '-f', 'ann@mail.peers.test', ...recipients],
        'Subject: x\n\nx\n',
      )
      expect(sent.code, sent.stderr).toBe(0)
      for (const [domain, facts] of Object.entries(expected)) {
        const line = await service.untilEvent('delivery', ({ to }) => to === `x@${domain}`)
        expect(line, domain).toMatchObject(facts)
      }
      const explained = await service.command(['tls-policy', 'ok.dane.test', '--test'])
      expect(explained.stdout).toContain(`_${postfix.port}._tcp.mx-ok.dane.test TLSA 3 1 1`)
      expect(explained.stdout).toContain('certificate verified, fits mx-ok.dane.test')
      const bogus = await service.command(['tls-policy', 'bogus.dane.test'])
      expect(bogus.stdout).toMatch(/not used \(lookup of _\d+\._tcp\.mx-bogus\.dane\.test, type TLSA, failed/)
      // Postfix's side of it: mail came with TLS, and nothing in plaintext.
      const log = readFileSync(join(postfix.dir, 'maillog'), 'utf8')
      expect(log).toContain('TLS connection established from')
    })
  },
)

describe.skipIf(noPostfix !== undefined)(`Postfix that wants certificates${because(noPostfix)}`, () => {
  test('our own certificate is shown and trusted', { timeout: 60_000 }, async () => {
    const authority = await Authority.make()
    const ours = await authority.issue({ names: ['client.test'], commonName: 'client.test' })
    const theirs = pemFiles(await authority.issue({ names: ['localhost'] }))
    const dir = tempDir()
    chmodSync(dir, 0o755)
    writeFileSync(join(dir, 'ca.pem'), authority.cert)
    writeFileSync(join(dir, 'chain.pem'), ours.key + ours.cert)
    const postfix = await startReceivingPostfix({
      SETTINGS: [
        `smtpd_tls_cert_file=${theirs.cert}`,
        `smtpd_tls_key_file=${theirs.key}`,
        `smtpd_tls_CAfile=${join(dir, 'ca.pem')}`,
        'smtpd_tls_ask_ccert=yes',
      ].join(';'),
    })
    const report = await deliver({
      request: { nexthop: `[127.0.0.1]:${postfix.port}` },
      settings: {
        tls_security_level: 'secure',
        tls_secure_cert_match: ['localhost'],
        tls_ca_file: join(dir, 'ca.pem'),
        tls_chain_files: [join(dir, 'chain.pem')],
      },
    })
    expect(outcome(report)).toEqual(['sent'])
    await until('the line about us', () =>
      /Trusted TLS connection established from/.test(readFileSync(join(postfix.dir, 'maillog'), 'utf8')),
    )
  })
})
