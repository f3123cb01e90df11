/**
 * The data model of the connection cache: two layers that expire on their own.
 *
 *     destinations: label → bindings (endpoint label, properties), oldest first
 *     endpoints:    label → sessions (handle, properties), oldest first
 *
 * Pure: the time comes in, what expired goes out. A binding may point to an endpoint that has no session now. Labels
 * and properties mean nothing here.
 */
import type { CacheStatistics } from './contract.ts'

/** One idle connection. `H`: whatever the owner needs to reach it. */
export interface Entry<H> {
  readonly handle: H
  /** Unique among the sessions. */
  readonly key: string
  readonly endpoint: string
  readonly properties: string
  readonly expiresAt: number
}

/** Where connections to a destination are to be found. */
export interface Binding {
  readonly destination: string
  readonly endpoint: string
  readonly properties: string
  expiresAt: number
}

export interface FoundByDestination<H> {
  readonly binding: Binding
  readonly entry: Entry<H>
}

/** Milliseconds by which something may be noticed too late. Lookups never find what is over. */
const tickMs = 100

export class CacheTable<H> {
  readonly #destinations = new Map<string, Binding[]>()
  /** Sets keep the order of insertion: the first is the oldest. */
  readonly #endpoints = new Map<string, Set<Entry<H>>>()
  readonly #sessions = new Map<string, Entry<H>>()
  /** What ends within a tick, by its number: one timer for all, and nothing to sort. */
  readonly #ticks = new Map<number, Set<Entry<H> | Binding>>()

  #since: number
  #destinationHits = 0
  #destinationMisses = 0
  #endpointHits = 0
  #endpointMisses = 0
  #maxDestinations = 0
  #maxEndpoints = 0
  #maxSessions = 0

  constructor(now: number) {
    this.#since = now
  }

  get size(): number {
    return this.#sessions.size
  }

  /** At the tail, never deduplicated. */
  saveEndpoint(entry: Entry<H>): void {
    let sessions = this.#endpoints.get(entry.endpoint)
    if (sessions === undefined) {
      sessions = new Set()
      this.#endpoints.set(entry.endpoint, sessions)
    }
    sessions.add(entry)
    this.#sessions.set(entry.key, entry)
    this.#schedule(entry)
    if (this.#endpoints.size > this.#maxEndpoints) this.#maxEndpoints = this.#endpoints.size
    if (this.#sessions.size > this.#maxSessions) this.#maxSessions = this.#sessions.size
  }

  /** The same binding again only lives longer; its place does not change. */
  saveDestination({ destination, endpoint, properties, expiresAt }: Binding): void {
    let bindings = this.#destinations.get(destination)
    if (bindings === undefined) {
      bindings = []
      this.#destinations.set(destination, bindings)
    }
    const same = bindings.find((one) => one.endpoint === endpoint && one.properties === properties)
    // It stays scheduled where it is, and moves on when its old time comes.
    if (same !== undefined) same.expiresAt = expiresAt
    else {
      const binding = { destination, endpoint, properties, expiresAt }
      bindings.push(binding)
      this.#schedule(binding)
    }
    if (this.#destinations.size > this.#maxDestinations) this.#maxDestinations = this.#destinations.size
    if (this.#endpoints.size > this.#maxEndpoints) this.#maxEndpoints = this.#endpoints.size
  }

  /** A destination no longer leads to an endpoint; the sessions there stay. */
  removeBinding(destination: string, endpoint: string): void {
    for (const binding of [...(this.#destinations.get(destination) ?? [])]) {
      if (binding.endpoint === endpoint) this.#unbind(binding)
    }
  }

  /** Takes the oldest session of the first binding that has one. The binding stays. */
  findDestination(label: string, now: number): FoundByDestination<H> | undefined {
    for (const binding of this.#destinations.get(label) ?? []) {
      if (binding.expiresAt <= now) continue
      const entry = this.#take(binding.endpoint, now)
      if (entry !== undefined) {
        this.#destinationHits++
        return { binding, entry }
      }
    }
    this.#destinationMisses++
    return undefined
  }

  /** Takes the oldest session, or the oldest of those that `accepts` lets through. */
  findEndpoint(label: string, now: number, accepts?: (entry: Entry<H>) => boolean): Entry<H> | undefined {
    const entry = this.#take(label, now, accepts)
    if (entry === undefined) this.#endpointMisses++
    else this.#endpointHits++
    return entry
  }

  #take(endpoint: string, now: number, accepts?: (entry: Entry<H>) => boolean): Entry<H> | undefined {
    for (const entry of this.#endpoints.get(endpoint) ?? []) {
      if (entry.expiresAt <= now || accepts?.(entry) === false) continue
      this.#drop(entry)
      return entry
    }
    return undefined
  }

  /** Removes a session; its bindings stay. */
  remove(key: string): Entry<H> | undefined {
    const entry = this.#sessions.get(key)
    if (entry !== undefined) this.#drop(entry)
    return entry
  }

  #drop(entry: Entry<H>): void {
    this.#sessions.delete(entry.key)
    const sessions = this.#endpoints.get(entry.endpoint)
    sessions?.delete(entry)
    if (sessions?.size === 0) this.#endpoints.delete(entry.endpoint)
    this.#ticks.get(Math.ceil(entry.expiresAt / tickMs))?.delete(entry)
  }

  /** Takes out all sessions whose time is over, and forgets bindings whose time is over. */
  expire(now: number): Entry<H>[] {
    const expired: Entry<H>[] = []
    for (const [tick, items] of this.#ticks) {
      if (tick * tickMs > now) continue
      this.#ticks.delete(tick)
      for (const item of items) {
        if (item.expiresAt > now) this.#schedule(item)
        else if ('key' in item) {
          this.#drop(item)
          expired.push(item)
        } else this.#unbind(item)
      }
    }
    return expired
  }

  /** When `expire` has something to do next; undefined: nothing is here. */
  nextExpiry(): number | undefined {
    if (this.#ticks.size === 0) return undefined
    let first = Number.POSITIVE_INFINITY
    for (const tick of this.#ticks.keys()) if (tick < first) first = tick
    return first * tickMs
  }

  #schedule(item: Entry<H> | Binding): void {
    const tick = Math.ceil(item.expiresAt / tickMs)
    const items = this.#ticks.get(tick)
    if (items === undefined) this.#ticks.set(tick, new Set([item]))
    else items.add(item)
  }

  #unbind(binding: Binding): void {
    const bindings = this.#destinations.get(binding.destination)
    if (bindings === undefined) return
    const index = bindings.indexOf(binding)
    if (index >= 0) bindings.splice(index, 1)
    if (bindings.length === 0) this.#destinations.delete(binding.destination)
  }

  entries(): IterableIterator<Entry<H>> {
    return this.#sessions.values()
  }

  *bindings(): Generator<Binding> {
    for (const bindings of this.#destinations.values()) yield* bindings
  }

  /** Empties the table; returns all sessions. */
  clear(): Entry<H>[] {
    const all = [...this.#sessions.values()]
    this.#sessions.clear()
    this.#endpoints.clear()
    this.#destinations.clear()
    this.#ticks.clear()
    return all
  }

  statistics(): CacheStatistics {
    return {
      since: this.#since,
      destinationHits: this.#destinationHits,
      destinationMisses: this.#destinationMisses,
      endpointHits: this.#endpointHits,
      endpointMisses: this.#endpointMisses,
      maxDestinations: this.#maxDestinations,
      maxEndpoints: this.#maxEndpoints,
      maxSessions: this.#maxSessions,
    }
  }

  /** Starts a new interval; peaks start from zero, not from what is here. */
  resetStatistics(now: number): void {
    this.#since = now
    this.#destinationHits = 0
    this.#destinationMisses = 0
    this.#endpointHits = 0
    this.#endpointMisses = 0
    this.#maxDestinations = 0
    this.#maxEndpoints = 0
    this.#maxSessions = 0
  }
}
