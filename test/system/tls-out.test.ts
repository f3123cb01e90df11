/** TLS towards other servers in the running service: policies of domains, sessions that go on, reports. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { gunzipSync } from 'node:zlib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { NameServer } from '../dns/name-server.ts'
import { ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import { Authority } from '../support/certificates.ts'
import { verifyDkim } from '../support/dkim.ts'
import { startService, tempDir } from '../support/fixtures.ts'
import type { Service } from '../support/service.ts'
import { SmtpSink } from '../support/smtp-sink.ts'
import { until } from '../support/until.ts'

const send = async (service: Service, to: string) => {
  const { code, stderr } = await service.command(
    ['send', '-f', 'ann@mail.peers.test', to],
    'Subject: x\n\nhello\n',
  )
  expect(code, stderr).toBe(0)
}

describe('MTA-STS and TLS reports', () => {
  test('a policy is fetched, applied, kept over a restart, and its sessions reported', {
    timeout: 150_000,
  }, async () => {
    const authority = await Authority.make()
    const dir = tempDir()
    writeFileSync(join(dir, 'ca.pem'), authority.cert)
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 })
    writeFileSync(join(dir, 'dkim.pem'), privateKey.export({ format: 'pem', type: 'pkcs1' }))
    const mx = await authority.issue({ names: ['mx.d.test'] })
    await using server = await ScriptedServer.start({
      tls: { context: createSecureContext({ cert: mx.cert, key: mx.key }) },
    })
    await using dns = await NameServer.start({
      'MX d.test': { records: ['MX 10 mx.d.test', 'MX 5 evil.test'] },
      'A mx.d.test': { records: ['A 127.0.0.1'] },
      'A evil.test': { records: ['A 127.0.0.1'] },
      'TXT _mta-sts.d.test': { records: ['TXT v=STSv1; id=7;'] },
      'TXT _smtp._tls.d.test': { records: ['TXT v=TLSRPTv1; rua=mailto:reports@d.test'] },
    })
    const web = await authority.issue({ names: ['mta-sts.d.test'] })
    let fetches = 0
    const policies = createServer({ cert: web.cert, key: web.key }, (_request, response) => {
      fetches++
      response.writeHead(200, { 'Content-Type': 'text/plain' })
      response.end('version: STSv1\nmode: enforce\nmx: mx.d.test\nmax_age: 86400\n')
    })
    await new Promise<void>((resolve) => policies.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void policies.close())
    const { port } = policies.address() as { port: number }
    const service = await startService({
      tables: [
        '[dns]',
        `servers = ["${dns.address}"]`,
        '[net]',
        'inet_protocols = ["ipv4"]',
        '[smtp]',
        `tcp_port = "${server.port}"`,
        'mta_sts = true',
        `mta_sts_address = "127.0.0.1:${port}"`,
        `tls_ca_file = "${join(dir, 'ca.pem')}"`,
        'tls_session_cache_database = "memory"',
        'tls_loglevel = 1',
        'tlsrpt_enable = true',
        `tlsrpt_dkim_key_file = "${join(dir, 'dkim.pem')}"`,
      ].join('\n'),
    })
    await send(service, 'one@d.test')
    const delivered = await service.untilEvent('delivery', ({ to }) => to === 'one@d.test')
    expect(delivered).toMatchObject({ status: 'sent', tls: 'secure' })
    expect(service.events('delivery.tls-policy')).toMatchObject([{ relay: 'evil.test' }])
    expect(service.events('delivery.tls')).toMatchObject([{ class: 'verified', reused: false }])
    await send(service, 'two@d.test')
    await service.untilEvent('delivery', ({ to }) => to === 'two@d.test')
    expect(service.events('delivery.tls').at(-1)).toMatchObject({ class: 'verified', reused: true })

    const listed = await service.command(['tls-reports', '--json'])
    expect(JSON.parse(listed.stdout)).toMatchObject([{ domain: 'd.test', successes: 2, failures: 2 }])
    await service.stop()
    await service.run()
    await send(service, 'three@d.test')
    await service.untilEvent('delivery', ({ to }) => to === 'three@d.test')
    expect(fetches).toBe(1)

    const sent = await service.command(['tls-reports', 'send'])
    expect(sent.stdout).toContain('1 report on the way')
    await service.untilEvent('delivery', ({ to }) => to === 'reports@d.test')
    const content = server.sessions
      .flatMap((session) => session.content)
      .find((text) => text.includes('tlsrpt'))!
    const dkim = await service.command(['tls-reports', 'dkim'])
    const record = /^tlsrpt\._domainkey\.mail\.peers\.test\. IN TXT "(.*)"\n$/.exec(dkim.stdout)![1]!
    // After the queue and the delivery it is still what was signed.
    expect(verifyDkim(content.replace(/\.\r\n$/, ''), record.replaceAll('" "', ''))).toMatchObject({
      domain: 'mail.peers.test',
      selector: 'tlsrpt',
    })
    const base64 = /\r\n(H4sI[\s\S]*?)\r\n--/.exec(content)![1]!
    expect(JSON.parse(gunzipSync(Buffer.from(base64, 'base64')).toString())).toMatchObject({
      'organization-name': 'mail.peers.test',
      policies: expect.arrayContaining([
        expect.objectContaining({
          policy: expect.objectContaining({ 'policy-type': 'sts', 'mx-host': ['mx.d.test'] }),
          summary: { 'total-successful-session-count': 3, 'total-failure-session-count': 3 },
        }),
      ]),
    })
    expect(service.log().filter(({ level }) => level === 'error' || level === 50)).toEqual([])
  })

  test('a disk that takes nothing costs the counts, and no mail', { timeout: 150_000 }, async () => {
    await using server = await ScriptedServer.start({})
    const dir = tempDir()
    mkdirSync(join(dir, 'data'))
    writeFileSync(join(dir, 'data', 'tls'), 'in the way of the folder')
    await using dns = await NameServer.start({
      'MX d.test': { records: ['MX 10 mx.d.test'] },
      'A mx.d.test': { records: ['A 127.0.0.1'] },
    })
    const tables = [
      `[dns]\nservers = ["${dns.address}"]`,
      '[net]\ninet_protocols = ["ipv4"]',
      `[smtp]\ntcp_port = "${server.port}"\ntlsrpt_enable = true\nmta_sts = true`,
    ].join('\n')
    const service = await startService({ dir, tables })
    await send(service, 'one@d.test')
    expect(await service.untilEvent('delivery')).toMatchObject({ status: 'sent' })
    const listed = await service.command(['tls-reports'])
    expect(listed).toMatchObject({ code: 0, stdout: 'No reports.\n' })
    expect(service.events('tls.state-failed').length).toBeGreaterThan(0)
    expect(service.events('actor.terminated')).toEqual([])
  })
})

describe('TLS sessions', () => {
  test('J31 go on on whichever thread, and metrics say so', { timeout: 120_000 }, async () => {
    const authority = await Authority.make()
    const { cert, key } = await authority.issue({ names: ['mx.test'] })
    const release = Promise.withResolvers<void>()
    const sink = await SmtpSink.start({
      tls: { cert, key },
      misbehave: (_verb, line) => (line.includes('TO:<held') ? release.promise : undefined),
    })
    onTestFinished(() => sink.stop())
    const service = await startService({
      listeners: ['smtp', 'admin'],
      tables: `
[smtp]
relayhost = "${sink.nexthop}"
tls_security_level = "encrypt"
tls_session_cache_database = "memory"
tls_loglevel = 1
[pools.deliveries]
min_threads = 2
max_threads = 2
`,
    })
    const handshakes = () => service.events('delivery.tls')
    await send(service, 'first@d.test')
    await service.untilEvent('delivery')
    expect(handshakes()).toMatchObject([{ reused: false }])
    // A delivery that stands still makes the next one go to the other thread, as the one with less to do.
    const threads = () => new Set(handshakes().map(({ thread }) => thread))
    for (let n = 0; threads().size < 2; n++) {
      expect(n).toBeLessThan(10)
      const before = handshakes().length
      await send(service, `held${n}@d.test`)
      await until('one more session', () => handshakes().length > before)
    }
    release.resolve()
    expect(
      handshakes()
        .slice(1)
        .every(({ reused }) => reused),
    ).toBe(true)
    const text = await (await fetch(`http://127.0.0.1:${service.ports.admin}/metrics`)).text()
    const count = (resumed: string) =>
      Number(
        new RegExp(
          `^mailactors_delivery_tls_sessions_total\\{level="encrypt",protocol="TLSv1.3",cipher="\\w+",class="untrusted",resumed="${resumed}"\\} (\\d+)$`,
          'm',
        ).exec(text)?.[1],
      )
    expect([count('no'), count('yes')]).toEqual([1, handshakes().length - 1])
  })
})
