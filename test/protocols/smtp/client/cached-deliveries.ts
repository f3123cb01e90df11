/** A real system of one thread with the cache, a stand-in for the queue manager, and delivery actors that it starts. */
import { type ActorRef, actor, type Contract } from '../../../../src/actors/index.ts'
import { cacheActor } from '../../../../src/cache/cache.ts'
import { cacheSettings } from '../../../../src/cache/config.ts'
import type { CacheContract, Lease } from '../../../../src/cache/contract.ts'
import { destinationLabel } from '../../../../src/cache/labels.ts'
import { defaults } from '../../../../src/config/schema.ts'
import { tlsSettings } from '../../../../src/config/tables.ts'
import { dnsSettings, netSettings } from '../../../../src/dns/config.ts'
import { inheritLmtp } from '../../../../src/protocols/smtp/client/config.ts'
import { contentSettings, rewriteSettings } from '../../../../src/protocols/smtp/client/content/config.ts'
import { delivery } from '../../../../src/protocols/smtp/client/delivery.ts'
import { dsnSettings, notifySettings } from '../../../../src/queue/config.ts'
import type {
  DeliveryContract,
  DeliveryReport,
  DeliveryRequest,
  Onward,
} from '../../../../src/queue/contract.ts'
import type { ActorInfo } from '../../../../src/runtime/inspect.ts'
import { ActorSystem } from '../../../../src/runtime/system.ts'
import { request, settingsOf } from './harness.ts'

type Reports = Contract<{
  delivered(report: DeliveryReport, onward?: Onward): void
  returned(recipient: number): void
}>

/** Stands for the queue manager: keeps the reports, and can be too busy for the first ones. */
export class Reported {
  readonly reports: DeliveryReport[] = []
  /** What deliveries that go on said of it, and recipients that they gave back. */
  readonly onward: Onward[] = []
  readonly returned: number[] = []
  #wake: (() => void) | undefined

  add(report: DeliveryReport): void {
    this.reports.push(report)
    this.#wake?.()
  }

  /** The one report there is, which is taken out: for those who do not look at them. */
  async last(): Promise<DeliveryReport> {
    const report = await this.next(1)
    this.reports.length = 0
    return report
  }

  async next(count: number): Promise<DeliveryReport> {
    const end = performance.now() + 5_000
    while (this.reports.length < count) {
      const left = end - performance.now()
      if (left <= 0)
        throw new Error(`${this.reports.length} of ${count} reports: a delivery crashed or hangs`)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return this.reports[count - 1]!
  }
}

export let reported: Reported
export let system: ActorSystem

const queue = actor<Reports>({
  name: 'queue',
  module: import.meta.url,
  maxQueue: 1,
  init: () => ({
    delivered(report, onward) {
      if (onward !== undefined) reported.onward.push(onward)
      reported.add(report)
    },
    returned: (recipient) => void reported.returned.push(recipient),
  }),
})

interface Overrides {
  readonly cache?: object
  readonly smtp?: object
  readonly dns?: object
  readonly transports?: object
}

function configOf(over: Overrides = {}): object {
  const smtp = { ...settingsOf('smtp'), ...over.smtp }
  return {
    hostname: 'client.test',
    data_dir: '/nonexistent',
    smtp,
    lmtp: inheritLmtp(smtp, {}),
    transports: over.transports ?? {},
    dns: { ...defaults(dnsSettings), ...over.dns },
    net: { ...defaults(netSettings), inet_protocols: ['ipv4'] },
    dsn: defaults(dsnSettings),
    notify: defaults(notifySettings),
    content: defaults(contentSettings),
    rewrite: defaults(rewriteSettings),
    auth: { recipient_delimiter: '+' },
    mail: { local_domains: [] },
    queue: { minimal_backoff_time: 300_000 },
    cache: { ...defaults(cacheSettings), ...over.cache },
    tls: defaults(tlsSettings),
  }
}

export async function start(over: Overrides = {}): Promise<void> {
  reported = new Reported()
  system = await ActorSystem.start({
    settings: { config: configOf(over) },
    children: [
      { id: 'cache', actor: cacheActor, args: undefined, registerAs: 'cache' },
      { id: 'queue', actor: queue, args: undefined, registerAs: 'queue' },
    ],
  })
}

/** As a reload does it, but for the flush. */
export const configure = (over: Overrides): Promise<void> => system.configure({ config: configOf(over) })

export const cache = (): ActorRef<CacheContract> => system.whereis<CacheContract>('cache')!

export async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 5_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('not in time')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Names of all actors there are. */
export async function living(): Promise<string[]> {
  const names: string[] = []
  const walk = (rows: readonly ActorInfo[]) => {
    for (const row of rows) {
      names.push(row.name)
      walk(row.children)
    }
  }
  walk(await system.inspect())
  return names
}

export function run(over: Partial<DeliveryRequest>): ActorRef<DeliveryContract> {
  return system.spawn(delivery, request(over)) as ActorRef<DeliveryContract>
}

/** Starts a delivery with what the cache lends, as the queue manager does. */
export async function runLeased(over: Partial<DeliveryRequest>): Promise<Lease | null> {
  const wanted = request(over)
  const { transport, nexthop } = wanted
  const lease = await cache().ask('findDestination', destinationLabel({ transport, nexthop }))
  run({ ...over, ...(lease === null ? {} : { lease }) })
  return lease
}

/** The first delivery of a thread has a keeper started; after it connections are kept. */
export async function startKeeper(): Promise<void> {
  run({ nexthop: '[127.0.0.1]:1', cacheConnection: true })
  await reported.next(1)
  await until(async () => (await living()).includes('keeper'))
}

/** Idle connections: relay and the destinations that lead to it. */
export async function idle(): Promise<string[]> {
  const rows = await cache().ask('list')
  return rows.map(({ relay, destinations }) =>
    `${relay} ${destinations.map((one) => one.split(' ')[2])}`.trim(),
  )
}

/** Waits until so many connections are idle. */
export const untilIdle = (count: number) => until(async () => (await cache().ask('list')).length === count)
