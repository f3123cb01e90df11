/**
 * The connection cache, registered as `cache`: which idle connection is lent next. It owns the knowledge, not the
 * bytes: those are with the keeper of the thread that made the connection. It lives on the thread of the queue
 * manager, whose lookups are on the way of every delivery.
 */
import {
  type ActorContext,
  type ActorRef,
  type AnyActorDefinition,
  type AnyRef,
  actor,
} from '../actors/index.ts'
import { defaults } from '../config/schema.ts'
import type { Config } from '../config/settings.ts'
import { cacheSettings } from './config.ts'
import type {
  CacheContract,
  CacheReport,
  ConnectionCounters,
  IdleConnection,
  IdleRow,
  KeeperContract,
  Lease,
  LookupCounters,
  SavingsReport,
} from './contract.ts'
import { readableLabel } from './labels.ts'
import { Savings } from './savings.ts'
import { CacheTable, type Entry } from './table.ts'

/** What the cache tells itself. */
type OwnContract = CacheContract & {
  readonly expire: () => void
  readonly report: () => void
}

type Held = Pick<IdleConnection, 'keeper' | 'connection' | 'setupMs' | 'relay' | 'tls' | 'uses'>

/** Destinations named in one line of the log, and in `cache stats`. */
const namedInLog = 10
const namedInStats = 50

const defaultSettings: Config['cache'] = defaults(cacheSettings)

class ConnectionCache {
  readonly #context: ActorContext<OwnContract>
  readonly #table: CacheTable<Held>
  /**
   * Keepers that live, by actor id, with what each holds, by its number: a last message of one that died saves nothing.
   */
  readonly #keepers = new Map<number, Map<number, Entry<Held>>>()
  /** Since the cache started, and since the last report. */
  readonly #savings = { total: new Savings(), interval: new Savings() }
  /** Lookups before the present interval, and what became of connections, since the cache started. */
  readonly #before = { destinationHits: 0, destinationMisses: 0, endpointHits: 0, endpointMisses: 0 }
  readonly #flow = { saved: 0, lent: 0, expired: 0, retired: 0, evicted: 0, flushed: 0, lost: 0 }
  /** One timer for all: when it rings, and its id. */
  #timerAt = Number.POSITIVE_INFINITY
  #timer = 0

  constructor(context: ActorContext<OwnContract>) {
    this.#context = context
    this.#table = new CacheTable(context.clock.now())
    // Keepers are linked: they end with the cache, and their end is heard of.
    context.trapExit()
    context.sendAfter(this.#settings.status_update_time, 'report')
  }

  /** As they are now: a reload may have changed them. */
  get #settings(): Config['cache'] {
    return this.#context.setting<Config>('config')?.cache ?? defaultSettings
  }

  startKeeper(keeper: AnyActorDefinition, nextTo: AnyRef): void {
    const { id } = this.#context.spawnLink(keeper as never, undefined, { placement: { nextTo } })
    this.#keepers.set(id, new Map())
  }

  save(idle: IdleConnection): void {
    const { ttl_limit, max_connections } = this.#settings
    const ttlMs = Math.min(idle.ttlMs, ttl_limit)
    const held = this.#keepers.get(idle.keeper.id)
    if (!(ttlMs > 0) || held === undefined) {
      idle.keeper.tell('close', idle.connection)
      return
    }
    const { keeper, connection, destination, endpoint, unbind, setupMs, relay, tls, uses } = idle
    const expiresAt = this.#context.clock.monotonic() + ttlMs
    if (unbind !== '') this.#table.removeBinding(unbind, endpoint)
    if (destination !== '') this.#table.saveDestination({ destination, endpoint, properties: '', expiresAt })
    const handle = { keeper, connection, setupMs, relay, tls, uses }
    while (this.#table.size >= max_connections) this.#evict()
    this.#flow.saved++
    held.set(connection, this.#table.saveEndpoint({ handle, endpoint, properties: '', expiresAt }))
    if (expiresAt < this.#timerAt) this.#arm()
  }

  #evict(): void {
    const oldest = this.#table.oldest!
    this.#table.remove(oldest)
    this.#flow.evicted++
    this.#close(oldest)
  }

  findDestination(destination: string): Lease | null {
    const found = this.#table.findDestination(destination, this.#context.clock.monotonic())
    return this.#lend(found?.entry, destination)
  }

  findEndpoint(endpoint: string, destination: string, keeper: ActorRef<KeeperContract> | null): Lease | null {
    const accepts = keeper === null ? undefined : ({ handle }: Entry<Held>) => handle.keeper.id === keeper.id
    const entry = this.#table.findEndpoint(endpoint, this.#context.clock.monotonic(), accepts)
    // A miss here follows one for the destination, which was counted.
    return entry === undefined ? null : this.#lend(entry, destination)
  }

  #lend(entry: Entry<Held> | undefined, destination: string): Lease | null {
    const { total, interval } = this.#savings
    if (entry === undefined) {
      total.miss(destination)
      interval.miss(destination)
      return null
    }
    const { keeper, connection, setupMs } = entry.handle
    this.#keepers.get(keeper.id)?.delete(connection)
    this.#flow.lent++
    total.hit(destination, setupMs)
    interval.hit(destination, setupMs)
    return { keeper, connection, endpoint: entry.endpoint, setupMs }
  }

  handedOn(destination: string, setupMs: number): void {
    this.#table.handedOn()
    this.#flow.saved++
    this.#flow.lent++
    this.#savings.total.hit(destination, setupMs)
    this.#savings.interval.hit(destination, setupMs)
  }

  wasted(destination: string, setupMs: number): void {
    this.#savings.total.wasted(destination, setupMs)
    this.#savings.interval.wasted(destination, setupMs)
  }

  gone(connections: readonly number[], keeper: ActorRef<KeeperContract>): void {
    const held = this.#keepers.get(keeper.id)
    for (const connection of connections) {
      const entry = held?.get(connection)
      if (entry === undefined) continue
      held?.delete(connection)
      this.#flow.retired++
      this.#table.remove(entry)
    }
  }

  list(): readonly IdleRow[] {
    const now = this.#context.clock.monotonic()
    const destinations = Map.groupBy(this.#table.bindings(), ({ endpoint }) => endpoint)
    return [...this.#table.entries()].map(({ endpoint, expiresAt, handle }) => ({
      destinations: (destinations.get(endpoint) ?? []).map(({ destination }) => destination),
      endpoint,
      connection: handle.connection,
      relay: handle.relay,
      tls: handle.tls,
      uses: handle.uses,
      expiresInMs: Math.max(0, Math.round(expiresAt - now)),
    }))
  }

  stats(): CacheReport {
    const statistics = this.#table.statistics()
    return {
      ...statistics,
      total: this.#lookups(statistics),
      connections: this.#connections,
      savings: savingsReport(this.#savings.total, namedInStats),
    }
  }

  get #connections(): ConnectionCounters {
    return { ...this.#flow, held: this.#table.size }
  }

  #lookups(now: LookupCounters): LookupCounters {
    return {
      destinationHits: this.#before.destinationHits + now.destinationHits,
      destinationMisses: this.#before.destinationMisses + now.destinationMisses,
      endpointHits: this.#before.endpointHits + now.endpointHits,
      endpointMisses: this.#before.endpointMisses + now.endpointMisses,
    }
  }

  flush(): number {
    const all = this.#table.clear()
    this.#flow.flushed += all.length
    for (const entry of all) this.#close(entry)
    return all.length
  }

  expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    for (const entry of this.#table.expire(this.#context.clock.monotonic())) {
      this.#flow.expired++
      this.#close(entry)
    }
    this.#arm()
  }

  report(): void {
    this.#logStatistics()
    this.#context.sendAfter(this.#settings.status_update_time, 'report')
  }

  handleExit(ref: AnyRef): void {
    // A keeper crashed, or its thread is gone: the sockets are closed already.
    const held = this.#keepers.get(ref.id)
    if (held === undefined) return
    this.#flow.lost += held.size
    for (const entry of held.values()) this.#table.remove(entry)
    this.#keepers.delete(ref.id)
  }

  terminate(): void {
    this.flush()
    this.#logStatistics()
  }

  #close({ handle: { keeper, connection } }: Entry<Held>): void {
    this.#keepers.get(keeper.id)?.delete(connection)
    keeper.tell('close', connection)
  }

  #arm(): void {
    const next = this.#table.nextExpiry()
    if (next === undefined || next >= this.#timerAt) return
    if (this.#timerAt !== Number.POSITIVE_INFINITY) this.#context.cancelTimer(this.#timer)
    this.#timerAt = next
    const delayMs = Math.max(0, Math.ceil(next - this.#context.clock.monotonic()))
    this.#timer = this.#context.sendAfter(delayMs, 'expire')
  }

  #logStatistics(): void {
    const statistics = this.#table.statistics()
    const { since, ...counters } = statistics
    Object.assign(this.#before, this.#lookups(statistics))
    this.#table.resetStatistics(this.#context.clock.now())
    const savings = savingsReport(this.#savings.interval, namedInLog)
    this.#savings.interval.clear()
    if (Object.values(counters).every((counter) => counter === 0)) return
    this.#context.log.info(
      {
        event: 'cache.statistics',
        since,
        ...counters,
        ...rate('destinationHitPercent', counters.destinationHits, counters.destinationMisses),
        ...rate('endpointHitPercent', counters.endpointHits, counters.endpointMisses),
        handshakesSpared: savings.handshakesSpared,
        msSpared: Math.round(savings.msSpared),
        destinations: savings.destinations.map(({ destination, ...row }) => ({
          destination: destination === '' ? 'others' : readableLabel(destination),
          ...row,
        })),
      },
      'connection cache statistics',
    )
  }
}

function rate(name: string, hits: number, misses: number): object {
  return hits + misses === 0 ? {} : { [name]: Math.floor((100 * hits) / (hits + misses)) }
}

function savingsReport(savings: Savings, named: number): SavingsReport {
  const destinations = savings.rows(named).map((row) => ({ ...row, msSpared: Math.round(row.msSpared) }))
  return { ...savings.total, msSpared: Math.round(savings.total.msSpared), destinations }
}

export const cacheActor = actor<OwnContract, undefined>({
  name: 'cache',
  module: import.meta.url,
  init: (context) => new ConnectionCache(context),
})
