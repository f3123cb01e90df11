/**
 * The connection cache: one actor, registered as `cache`, owns every idle connection. The bytes stay in the
 * thread that made the connection, with that thread's keeper; the cache knows where, and lends.
 */
import type { ActorRef, AnyActorDefinition, AnyRef, Contract } from '../actors/index.ts'
import type { SavingsRow } from './savings.ts'

export type { SavingsRow }

/** What a keeper holds and lends through the cache; `connection` is the keeper's number for it. */
export interface IdleConnection {
  readonly keeper: ActorRef<KeeperContract>
  readonly connection: number
  /** Destination label, what the queue manager looks up; empty: found by its endpoint only. */
  readonly destination: string
  /** Endpoint label: one server address with all that makes connections to it interchangeable. */
  readonly endpoint: string
  /** A destination label that no longer leads to this endpoint: nothing could be delivered there. Empty: none. */
  readonly unbind: string
  readonly ttlMs: number
  /** What it took to make the connection: what the next delivery is spared. */
  readonly setupMs: number
  /** For people: `mx.test[192.0.2.1]:25`, TLS or not, deliveries so far. */
  readonly relay: string
  readonly tls: boolean
  readonly uses: number
}

/** A connection lent to one delivery. It is no longer in the cache. */
export interface Lease {
  readonly keeper: ActorRef<KeeperContract>
  readonly connection: number
  readonly endpoint: string
  readonly setupMs: number
}

/** One idle connection as `cache list` shows it. */
export interface IdleRow {
  /** Labels of the destinations that lead to it. */
  readonly destinations: readonly string[]
  readonly endpoint: string
  readonly connection: number
  readonly relay: string
  readonly tls: boolean
  readonly uses: number
  readonly expiresInMs: number
}

export type CacheContract = Contract<{
  /** Starts `keeper` (an actor of KeeperContract) on the thread of `nextTo`. It lives no longer than the cache. */
  startKeeper(keeper: AnyActorDefinition, nextTo: AnyRef): void
  /** Adds an idle connection: at the tail, never deduplicated. */
  save(idle: IdleConnection): void
  /** Takes the oldest connection for a destination. */
  findDestination(destination: string): Lease | null
  /** Takes the oldest connection to an endpoint for a delivery to `destination`; with `keeper` only one of its. */
  findEndpoint(endpoint: string, destination: string, keeper: ActorRef<KeeperContract> | null): Lease | null
  /** A delivery goes on with its connection to the next mail for a destination: as if it had been saved and lent again. */
  handedOn(destination: string, setupMs: number): void
  /** A connection that was lent turned out to be of no use. */
  wasted(destination: string, setupMs: number): void
  /** The keeper saw the connection end, or its time ran out. */
  gone(connections: readonly number[], keeper: ActorRef<KeeperContract>): void
  list(): readonly IdleRow[]
  stats(): CacheReport
  /** Closes all idle connections with QUIT; returns how many. */
  flush(): number
}>

export interface LookupCounters {
  readonly destinationHits: number
  readonly destinationMisses: number
  readonly endpointHits: number
  readonly endpointMisses: number
}

/** The counters of the present interval. */
export interface CacheStatistics extends LookupCounters {
  readonly since: number
  readonly maxDestinations: number
  readonly maxEndpoints: number
  readonly maxSessions: number
}

export interface CacheReport extends CacheStatistics {
  /** Lookups since the cache started. */
  readonly total: LookupCounters
  readonly connections: ConnectionCounters
  readonly savings: SavingsReport
}

/** What became of the connections since the cache started: all that were saved are lent, gone, or held. */
export interface ConnectionCounters {
  readonly saved: number
  readonly lent: number
  /** Closed by us: their time was over. */
  readonly expired: number
  /** Ended by their server, or by saying something. */
  readonly retired: number
  /** Closed by us: newer ones took their place (`cache.max_connections`). */
  readonly evicted: number
  /** Closed by us: by command, on a reload. */
  readonly flushed: number
  /** Gone with their thread. */
  readonly lost: number
  /** Idle now. */
  readonly held: number
}

/** What was spared since the cache started. */
export interface SavingsReport extends Omit<SavingsRow, 'destination'> {
  /** The destinations that gained most. */
  readonly destinations: readonly SavingsRow[]
}

/** One keeper per delivery thread: it holds the sockets and watches them while they are idle. */
export type KeeperContract = Contract<{
  /** Ends an idle connection politely (QUIT). Unknown numbers are ignored: it was gone already. */
  close(connection: number): void
}>
