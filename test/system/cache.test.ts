/** The connection cache of a running service: TLS connections shared by destinations and threads, and what dies under it. */
import { describe, expect, onTestFinished, test } from 'vitest'
import type { CacheReport, IdleRow } from '../../src/cache/contract.ts'
import { type Answer, NameServer } from '../dns/name-server.ts'
import { Authority } from '../support/certificates.ts'
import { startService } from '../support/fixtures.ts'
import type { Service } from '../support/service.ts'
import { SmtpSink } from '../support/smtp-sink.ts'
import { inspectable, ThreadInspector } from '../support/threads.ts'
import { sendTraffic } from '../support/traffic.ts'
import { until } from '../support/until.ts'

const domains = 20

interface World {
  readonly sink: SmtpSink
  readonly service: Service
}

/** Twenty domains with one mail exchanger, two delivery threads, all connections kept. */
async function world({ smtp = '', nodeArgs = [] as readonly string[], tls = true } = {}): Promise<World> {
  const authority = await Authority.make()
  const { cert, key } = await authority.issue({ names: ['mx.test'] })
  const sink = await SmtpSink.start(tls ? { tls: { cert, key } } : {})
  onTestFinished(() => sink.stop())
  const zone: Record<string, Answer> = { 'A mx.test': { records: ['A 127.0.0.1'] } }
  for (let i = 0; i < domains; i++) zone[`MX d${i}.test`] = { records: ['MX 10 mx.test'] }
  zone['MX fresh.test'] = { records: ['MX 10 mx.test'] }
  const dns = await NameServer.start(zone)
  onTestFinished(() => dns[Symbol.asyncDispose]())
  const service = await startService({
    nodeArgs,
    tables: `
[dns]
servers = ["${dns.address}"]
[net]
inet_protocols = ["ipv4"]
[smtp]
tcp_port = "${sink.port}"
tls_security_level = "${tls ? 'encrypt' : 'none'}"
connection_cache_destinations = ["static:yes"]
connection_cache_time_limit = "30s"
${smtp}
[cache]
ttl_limit = "30s"
[queue]
minimal_backoff_time = "1s"
maximal_backoff_time = "2s"
run_delay = "1s"
[pools.deliveries]
min_threads = 2
max_threads = 2
`,
  })
  return { sink, service }
}

const recipient = (index: number) => `m${index}@d${index % domains}.test`

async function stats(service: Service): Promise<CacheReport> {
  return JSON.parse((await service.command(['cache', 'stats', '--json'])).stdout) as CacheReport
}

async function idle(service: Service): Promise<IdleRow[]> {
  return JSON.parse((await service.command(['cache', 'list', '--json'])).stdout) as IdleRow[]
}

describe('the connection cache', () => {
  test('TLS connections serve all destinations of a server, from whichever thread', {
    timeout: 60_000,
  }, async () => {
    const { sink, service } = await world({ smtp: 'tls_connection_reuse = true' })
    const count = 400
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count, recipient })
    await until('all mails', () => sink.deliveries.size === acknowledged.size, { deadlineMs: 30_000 })
    expect([...sink.deliveries.values()].every((times) => times === 1)).toBe(true)
    expect(sink.securedMails).toBe(count)
    // As many as ran at the same time, which is five for each domain while its window has not grown; not one for each mail.
    expect(sink.handshakes).toBeLessThan(count / 2)
    // The server has a mail a moment before the cache hears how it went.
    const spared = (mails: number) => async () =>
      (await stats(service)).savings.handshakesSpared === mails - sink.handshakes
    await until('all is counted', spared(count))
    const before = await stats(service)
    expect(before.destinationHits).toBeGreaterThan(0)
    // A destination that had no mail yet has no connection by its name, but its server has some by their address.
    await sendTraffic({ port: () => service.ports.smtp, count: 1, recipient: () => 'last@fresh.test' })
    await until('the mail to a new destination', () => sink.deliveries.size === count + 1)
    await until('the last is counted', spared(count + 1))
    const report = await stats(service)
    expect(report.endpointHits).toBe(before.endpointHits + 1)
    expect(report.savings.msSpared).toBeGreaterThan(0)
    const rows = await idle(service)
    expect(rows.every(({ tls, relay }) => tls && relay === `mx.test[127.0.0.1]:${sink.port}`)).toBe(true)
    expect((await service.command(['cache', 'stats'])).stdout).toMatch(/spared {8}\d+ handshakes/)
    expect((await service.command(['cache', 'list'])).stdout).toContain('d0.test')
    expect((await service.command(['cache', 'flush', '--json'])).stdout).toContain(`"closed": ${rows.length}`)
    await until('no connection', async () => (await idle(service)).length === 0)
  })

  test('L35 TLS connections are not kept unless the settings say so', { timeout: 60_000 }, async () => {
    const { sink, service } = await world()
    const { acknowledged } = await sendTraffic({ port: () => service.ports.smtp, count: 40, recipient })
    await until('all mails', () => sink.deliveries.size === acknowledged.size, { deadlineMs: 30_000 })
    expect(sink.handshakes).toBe(40)
    expect(await idle(service)).toEqual([])
  })

  test('a reload ends what was agreed under the old settings', { timeout: 60_000 }, async () => {
    const { sink, service } = await world({ tls: false })
    await sendTraffic({ port: () => service.ports.smtp, count: 5, recipient })
    await until('all mails', () => sink.deliveries.size === 5)
    await until('idle connections', async () => (await idle(service)).length > 0)
    expect((await service.command(['reload'])).code).toBe(0)
    await until('no connection', async () => (await idle(service)).length === 0)
  })

  test('threads that die with leases out: nothing is lost, and nothing doubled for the sake of the cache', {
    timeout: 120_000,
  }, async () => {
    const { sink, service } = await world({ smtp: 'tls_connection_reuse = true', nodeArgs: inspectable })
    const inspector = await ThreadInspector.attach(service)
    onTestFinished(() => inspector.detach())
    const died = () => new Set(service.events('thread.exit').map(({ pool }) => pool))
    for (const [turn, victim] of (await inspector.workers(4)).entries()) {
      if (died().has('storage') && died().has('deliveries')) break
      let isEnded = false
      const { acknowledged } = await sendTraffic({
        port: () => service.ports.smtp,
        count: 150,
        recipient: (index) => `t${turn}m${index}@d${index % domains}.test`,
        onAcknowledged: (_, total) => {
          if (total < 50 || isEnded) return
          isEnded = true
          void victim.end()
        },
      })
      const diedAt = performance.now()
      const missing = () => [...acknowledged].filter((one) => !sink.deliveries.has(one))
      await until(`all mails after the end of ${victim.title}`, () => missing().length === 0, {
        deadlineMs: 30_000,
      })
      // Supervisors give up after several deaths within their period: that is not what is tested here.
      await until('the period of the supervisors', () => performance.now() - diedAt > 5_500)
    }
    expect([...died()]).toEqual(expect.arrayContaining(['storage', 'deliveries']))
    // What was under way on a dead thread may arrive twice; a handful, not what waited.
    const doubled = [...sink.deliveries.values()].filter((times) => times > 1).length
    expect(doubled).toBeLessThan(80)
    await until('connections are found again', async () => (await stats(service)).destinationHits > 0)
  })
})
