/** Exim and OpenSMTPD, which cannot be installed beside Postfix: unpacked, they take mail from us and bring us theirs. */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { deliver, outcome } from '../protocols/smtp/client/harness.ts'
import { Authority } from '../support/certificates.ts'
import { Pop3Client, SmtpClient } from '../support/clients.ts'
import { prepareService, startService, startSink, tempDir } from '../support/fixtures.ts'
import { startUnpackedMta, whyNoUnpackedMta } from '../support/peers.ts'
import { because } from '../support/privileges.ts'
import type { SmtpSink } from '../support/smtp-sink.ts'
import { sendTraffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

const missing = whyNoUnpackedMta()
const login = 'ann:sec:ret'

async function pemFiles(...names: string[]) {
  const dir = tempDir()
  chmodSync(dir, 0o755)
  const authority = await Authority.make()
  const { cert, key } = await authority.issue({ names })
  const files = { ca: join(dir, 'ca.pem'), cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') }
  writeFileSync(files.ca, authority.cert)
  writeFileSync(files.cert, cert)
  writeFileSync(files.key, key)
  return files
}

const logOf = (dir: string): string =>
  readdirSync(join(dir, 'log'))
    .map((name) => readFileSync(join(dir, 'log', name), 'utf8'))
    .join('\n')

/** All recipients have come through to the sink, each once, and the text is what it was. */
async function untilArrived(sink: SmtpSink, recipients: ReadonlySet<string>, dir: string): Promise<void> {
  await until('all mails behind the peer', () => sink.deliveries.size >= recipients.size, {
    deadlineMs: 60_000,
    describe: () => logOf(dir).slice(-3_000),
  })
  expect([...sink.deliveries.keys()].sort()).toEqual([...recipients].sort())
  expect(new Set(sink.deliveries.values())).toEqual(new Set([1]))
}

describe.skipIf(missing !== undefined)(`Exim${because(missing)}`, () => {
  test('takes our mail with TLS, the right certificate and a login, over connections that are used again', {
    timeout: 120_000,
  }, async () => {
    const sink = await startSink()
    const { ca, cert, key } = await pemFiles('mta.peers.test')
    const exim = await startUnpackedMta('exim', sink.port, { CERT: cert, KEY: key, LOGIN: login })
    const service = await startService({
      tables: `
[smtp]
relayhost = "[127.0.0.1]:${exim.port}"
tls_security_level = "secure"
tls_secure_cert_match = ["mta.peers.test"]
tls_ca_file = "${ca}"
tls_connection_reuse = true
connection_cache_destinations = ["static:yes"]
connection_cache_time_limit = "10m"
sasl_auth_enable = true
sasl_password_maps = ["static:${login}"]
[cache]
ttl_limit = "10m"
`,
    })
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count: 40 })
    await untilArrived(sink, acknowledged, exim.dir)
    const deliveries = service.events('delivery')
    for (const line of deliveries) expect(line).toMatchObject({ status: 'sent', tls: 'secure' })
    const log = logOf(exim.dir)
    // One line for each mail it took: with TLS, and logged in.
    expect(log.match(/ <= sender@peers\.test .*P=esmtpsa X=TLS1\.3\S* .*A=\S+:ann/g)).toHaveLength(40)
    const connections = log.match(/SMTP connection from \[127\.0\.0\.1\] \(TCP/g)!.length - 1
    expect(connections).toBeLessThan(40)
    expect(log).not.toMatch(/synchronization error|unrecognized command|syntax error/)
    expect(service.stdout).not.toContain(login.slice(4))
  })

  test('mechanisms, a wrong password, a wrong authority', { timeout: 60_000 }, async () => {
    const sink = await startSink()
    const { ca, cert, key } = await pemFiles('mta.peers.test')
    const stranger = await pemFiles('mta.peers.test')
    const exim = await startUnpackedMta('exim', sink.port, { CERT: cert, KEY: key, LOGIN: login })
    const attempt = async (more: { ca?: string; password?: string; mechanism?: string; level?: 'may' }) =>
      outcome(
        await deliver({
          request: { nexthop: `[127.0.0.1]:${exim.port}` },
          settings: {
            tls_security_level: more.level ?? 'secure',
            tls_secure_cert_match: ['mta.peers.test'],
            tls_ca_file: more.ca ?? ca,
            sasl_auth_enable: true,
            sasl_password_maps: [`static:ann:${more.password ?? 'sec:ret'}`],
            sasl_security_options: ['noanonymous'],
            sasl_mechanism_filter: more.mechanism === undefined ? [] : [more.mechanism],
          },
        }),
      )
    for (const mechanism of ['PLAIN', 'LOGIN', 'CRAM-MD5']) {
      expect(await attempt({ mechanism }), mechanism).toEqual(['sent'])
      expect(await attempt({ mechanism, password: 'no' }), mechanism).toEqual(['deferred 4.0.0'])
    }
    expect(await attempt({ ca: stranger.ca })).toEqual(['deferred 4.7.5'])
    expect(await attempt({ ca: stranger.ca, level: 'may' })).toEqual(['sent'])
  })
})

describe.skipIf(missing !== undefined)(`OpenSMTPD${because(missing)}`, () => {
  test('takes our mail over connections that are used again', { timeout: 120_000 }, async () => {
    const sink = await startSink()
    const opensmtpd = await startUnpackedMta('opensmtpd', sink.port, {})
    const service = await startService({
      tables: `
[smtp]
relayhost = "[127.0.0.1]:${opensmtpd.port}"
tls_security_level = "none"
connection_cache_destinations = ["static:yes"]
connection_cache_time_limit = "10m"
[cache]
ttl_limit = "10m"
`,
    })
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count: 40 })
    await untilArrived(sink, acknowledged, opensmtpd.dir)
    const log = logOf(opensmtpd.dir)
    expect(log.match(/smtp connected/g)!.length - 1).toBeLessThan(40)
    expect(log).not.toMatch(/failed-command/)
  })
})

describe.skipIf(missing !== undefined)(`as our clients${because(missing)}`, () => {
  test.each(['exim', 'opensmtpd'] as const)(
    '%s brings mail with TLS and checks our certificate',
    {
      timeout: 120_000,
    },
    async (program) => {
      const { ca, cert, key } = await pemFiles('next.peers.test', 'localhost')
      const service = await prepareService({ tables: `[tls]\ncert = "${cert}"\nkey = "${key}"` })
      const plain = readFileSync(service.configFile, 'utf8')
      // Of the first listener, which is the one for SMTP.
      writeFileSync(service.configFile, plain.replace('tls = "off"', 'tls = "starttls"'))
      await service.run()
      const mta = await startUnpackedMta(program, service.ports.smtp, { NEXTHOP_CA: ca })
      const client = await SmtpClient.connect(mta.port)
      await client.expect(250, 'EHLO client.test')
      const content = 'From: a@peers.test\r\nSubject: by TLS\r\n\r\n.dot\r\nlast line'
      const to = ['ann@mail.peers.test', 'bob@mail.peers.test']
      expect((await client.send({ from: 'a@peers.test', to, content })).code).toBe(250)
      client.close()
      const end = await service.untilEvent('smtpd.disconnect', ({ mails }) => mails === 1, 60_000)
      expect(end).toMatchObject({ tls: 'TLSv1.3', errors: 0 })
      const pop = await Pop3Client.login(service.ports.pop3, 'bob')
      const lines = await pop.multi('RETR 1')
      expect(lines.slice(-2)).toEqual(['.dot', 'last line'])
      pop.close()
    },
  )
})
