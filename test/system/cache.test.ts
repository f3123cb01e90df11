/** The connection cache of a running service: TLS connections shared by destinations and threads, and what dies under it. */
import { describe, expect, onTestFinished, test } from 'vitest'
import type { CacheReport, IdleRow } from '../../src/cache/contract.ts'
import { ControlClient } from '../../src/cli/control-client.ts'
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
connection_cache_time_limit = "10m"
${smtp}
[cache]
ttl_limit = "10m"
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

/** As `cache stats` and `cache list` ask it, without a process for each question. */
async function stats(service: Service): Promise<CacheReport> {
  return (await new ControlClient(service.dataDir).request('cache.stats')) as CacheReport
}

async function idle(service: Service): Promise<IdleRow[]> {
  const rows: IdleRow[] = []
  const onItem = (row: unknown) => rows.push(row as IdleRow)
  await new ControlClient(service.dataDir).request('cache.list', {}, { onItem })
  return rows
}

/** Until each connection that is open at the server is an idle one of the cache: none is lent, and none is lost. */
function untilAtRest({ sink, service }: World): Promise<IdleRow[]> {
  let rows: IdleRow[] = []
  return until(
    'a cache that has all connections',
    async () => {
      rows = await idle(service)
      return rows.length === sink.open && rows
    },
    { deadlineMs: 30_000, describe: () => `${rows.length} idle, ${sink.open} open` },
  )
}

async function send(
  { service }: World,
  to: readonly string[],
  onAcknowledged = (_recipient: string, _total: number): void => {},
): Promise<ReadonlySet<string>> {
  const { acknowledged } = await sendTraffic({
    port: () => service.ports.smtp,
    count: to.length,
    recipient: (index) => to[index]!,
    onAcknowledged,
  })
  return acknowledged
}

const addresses = (count: number, prefix = ''): string[] =>
  Array.from({ length: count }, (_, index) => prefix + recipient(index))

const arrived = (sink: SmtpSink, to: Iterable<string>): Promise<true> => {
  const missing = () => [...to].filter((one) => !sink.deliveries.has(one))
  return until('all mails', () => missing().length === 0 || undefined, {
    deadlineMs: 60_000,
    describe: () => `missing: ${missing()}`,
  })
}

describe('the connection cache', () => {
  test('TLS connections serve all destinations of a server, from whichever thread', {
    timeout: 120_000,
  }, async () => {
    const all = await world({ smtp: 'tls_connection_reuse = true' })
    const { sink, service } = all
    const count = 100
    await arrived(sink, await send(all, addresses(count)))
    const rows = await untilAtRest(all)
    expect([...sink.deliveries.values()].every((times) => times === 1)).toBe(true)
    expect(sink.securedMails).toBe(count)
    expect(rows.every(({ tls, relay }) => tls && relay === `mx.test[127.0.0.1]:${sink.port}`)).toBe(true)
    // Each mail came over a connection that was made for it, or over one that was found.
    const before = await stats(service)
    expect(before.savings.handshakesSpared).toBe(count - sink.handshakes)
    // From here on there is an idle connection for each mail that comes, whoever it is for.
    const { handshakes } = sink
    for (const [index, to] of addresses(domains, 'again.').entries()) {
      await send(all, [to])
      await arrived(sink, [to])
      await untilAtRest(all)
      expect(await stats(service)).toMatchObject({
        destinationHits: before.destinationHits + index + 1,
        endpointHits: before.endpointHits,
      })
    }
    // A destination that had no mail yet has no connection by its name, but its server has some by their address.
    await send(all, ['last@fresh.test'])
    await arrived(sink, ['last@fresh.test'])
    await untilAtRest(all)
    const report = await stats(service)
    expect(report.endpointHits).toBe(before.endpointHits + 1)
    expect(report.savings.handshakesSpared).toBe(before.savings.handshakesSpared + domains + 1)
    expect(report.savings.msSpared).toBeGreaterThan(0)
    expect(sink.handshakes).toBe(handshakes)
    // What people see of it.
    expect((await service.command(['cache', 'stats'])).stdout).toMatch(/spared {8}\d+ handshakes/)
    expect((await service.command(['cache', 'list'])).stdout).toContain('d0.test')
    expect((await service.command(['cache', 'flush', '--json'])).stdout).toContain(`"closed": ${rows.length}`)
    expect(await untilAtRest(all)).toEqual([])
  })

  test('L35 TLS connections are not kept unless the settings say so', { timeout: 60_000 }, async () => {
    const all = await world()
    await arrived(all.sink, await send(all, addresses(20)))
    expect(all.sink.handshakes).toBe(20)
    expect(await untilAtRest(all)).toEqual([])
  })

  test('a reload ends what was agreed under the old settings', { timeout: 60_000 }, async () => {
    const all = await world({ tls: false })
    await arrived(all.sink, await send(all, addresses(5)))
    expect((await untilAtRest(all)).length).toBeGreaterThan(0)
    expect((await all.service.command(['reload'])).code).toBe(0)
    expect(await untilAtRest(all)).toEqual([])
  })

  test('threads that die with leases out: nothing is lost, and nothing doubled for the sake of the cache', {
    timeout: 180_000,
  }, async () => {
    const all = await world({ smtp: 'tls_connection_reuse = true', nodeArgs: inspectable })
    const { sink, service } = all
    const inspector = await ThreadInspector.attach(service)
    onTestFinished(() => inspector.detach())
    const died = () => new Set(service.events('thread.exit').map(({ pool }) => pool))
    for (const [turn, victim] of (await inspector.workers(4)).entries()) {
      if (died().has('storage') && died().has('deliveries')) break
      const diedAt = performance.now()
      const acknowledged = await send(all, addresses(150, `t${turn}`), (_, total) => {
        if (total === 50) void victim.end()
      })
      await arrived(sink, acknowledged)
      // Supervisors give up after several deaths within their period: that is not what is tested here.
      await until('the period of the supervisors', () => performance.now() - diedAt > 5_500)
    }
    expect([...died()]).toEqual(expect.arrayContaining(['storage', 'deliveries']))
    // A mail that was under way on a dead thread may arrive twice, one that the queue has written down as sent does not.
    // (The client sends again what was not acknowledged: that is another mail.)
    const recorded = new Map<string, number>()
    for (const { queueId, to, status } of service.events('delivery')) {
      const key = `${queueId} ${to}`
      if (status === 'sent') recorded.set(key, (recorded.get(key) ?? 0) + 1)
    }
    expect([...recorded].filter(([, times]) => times > 1)).toEqual([])
    // All is as if nothing had been: connections are kept and found, and each mail comes once.
    await arrived(sink, await send(all, addresses(40, 'after.')))
    await untilAtRest(all)
    expect(addresses(40, 'after.').map((to) => sink.deliveries.get(to))).toEqual(Array(40).fill(1))
    const { destinationHits } = await stats(service)
    await send(all, ['once.more@d0.test'])
    await arrived(sink, ['once.more@d0.test'])
    await untilAtRest(all)
    expect((await stats(service)).destinationHits).toBe(destinationHits + 1)
  })
})
