/**
 * The connection cache: one actor, registered as `cache`, owns every idle connection. The bytes stay in the
 * thread that made the connection, with that thread's keeper; the cache knows where, and lends.
 */
import type { ActorRef, AnyActorDefinition, AnyRef, Contract } from '../actors/index.ts'

/** What a delivery asks its keeper to hold; `connection` is the keeper's number for it. */
export interface IdleConnection {
  readonly keeper: ActorRef<KeeperContract>
  readonly connection: number
  /** Destination label: what the queue manager looks up. */
  readonly destination: string
  /** Endpoint label: one server address with all that makes connections to it interchangeable. */
  readonly endpoint: string
  readonly ttlMs: number
}

/** A connection lent to one delivery. It is no longer in the cache. */
export interface Lease {
  readonly keeper: ActorRef<KeeperContract>
  readonly connection: number
  readonly endpoint: string
}

export type CacheContract = Contract<{
  /** Starts `keeper` (an actor of KeeperContract) on the thread of `nextTo`. It lives no longer than the cache. */
  startKeeper(keeper: AnyActorDefinition, nextTo: AnyRef): void
  /** Adds an idle connection: at the tail, never deduplicated. */
  save(idle: IdleConnection): void
  /** Takes the oldest connection for a destination. */
  findDestination(destination: string): Lease | null
  findEndpoint(endpoint: string): Lease | null
  /** The keeper saw the connection end, or its time ran out. */
  gone(connections: readonly number[], keeper: ActorRef<KeeperContract>): void
  list(): readonly { destination: string; endpoint: string; connection: number; expiresInMs: number }[]
  stats(): CacheStatistics
  /** Closes all idle connections with QUIT; returns how many. */
  flush(): number
}>

export interface CacheStatistics {
  readonly since: number
  readonly destinationHits: number
  readonly destinationMisses: number
  readonly endpointHits: number
  readonly endpointMisses: number
  readonly maxDestinations: number
  readonly maxEndpoints: number
  readonly maxSessions: number
}

/** One keeper per delivery thread: it holds the sockets and watches them while they are idle. */
export type KeeperContract = Contract<{
  /** Ends an idle connection politely (QUIT). Unknown numbers are ignored: it was gone already. */
  close(connection: number): void
}>
