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
  readonly endpoint: string
  readonly properties: string
  readonly expiresAt: number
}

/**
 * An entry in its place: one of a chain of its endpoint's and one of the chain of all, both oldest first, and in a bucket of
 * those that end together.
 */
class Session<H> implements Entry<H> {
  readonly handle: H
  readonly endpoint: string
  readonly properties: string
  readonly expiresAt: number
  next: Session<H> | undefined
  previous: Session<H> | undefined
  newer: Session<H> | undefined
  older: Session<H> | undefined
  bucket: Bucket<H> | undefined

  constructor({ handle, endpoint, properties, expiresAt }: Entry<H>) {
    this.handle = handle
    this.endpoint = endpoint
    this.properties = properties
    this.expiresAt = expiresAt
  }
}

interface Endpoint<H> {
  first: Session<H>
  last: Session<H>
}

/** What ends within a tick. Sessions that were taken stay in it until they are the most. */
interface Bucket<H> {
  sessions: Session<H>[]
  taken: number
  readonly bindings: Binding[]
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
  readonly #endpoints = new Map<string, Endpoint<H>>()
  /** By the number of the tick: one timer for all, and nothing to sort. */
  readonly #buckets = new Map<number, Bucket<H>>()
  #size = 0
  #oldest: Session<H> | undefined
  #newest: Session<H> | undefined

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
    return this.#size
  }

  /** The session that has been here for the longest. */
  get oldest(): Entry<H> | undefined {
    return this.#oldest
  }

  /** At the tail, never deduplicated. Returns what `remove` takes. */
  saveEndpoint(entry: Entry<H>): Entry<H> {
    const session = new Session(entry)
    const endpoint = this.#endpoints.get(entry.endpoint)
    if (endpoint === undefined) this.#endpoints.set(entry.endpoint, { first: session, last: session })
    else {
      session.previous = endpoint.last
      endpoint.last.next = session
      endpoint.last = session
    }
    session.older = this.#newest
    if (this.#newest === undefined) this.#oldest = session
    else this.#newest.newer = session
    this.#newest = session
    const bucket = this.#bucketOf(entry.expiresAt)
    session.bucket = bucket
    bucket.sessions.push(session)
    this.#size++
    if (this.#endpoints.size > this.#maxEndpoints) this.#maxEndpoints = this.#endpoints.size
    if (this.#size > this.#maxSessions) this.#maxSessions = this.#size
    return session
  }

  /** The same binding again only gets another time; its place does not change. */
  saveDestination({ destination, endpoint, properties, expiresAt }: Binding): void {
    let bindings = this.#destinations.get(destination)
    if (bindings === undefined) {
      bindings = []
      this.#destinations.set(destination, bindings)
    }
    const found = bindings.findIndex((one) => one.endpoint === endpoint && one.properties === properties)
    const same = bindings[found]
    // It stays scheduled where it is, and moves on when its old time comes.
    if (same !== undefined && same.expiresAt <= expiresAt) same.expiresAt = expiresAt
    else {
      const binding = { destination, endpoint, properties, expiresAt }
      // One that is to end sooner ends then, and not when the time of the old one has come.
      if (same === undefined) bindings.push(binding)
      else bindings[found] = binding
      this.#bucketOf(expiresAt).bindings.push(binding)
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

  /** A session went from user to user without coming back here: that counts as found. */
  handedOn(): void {
    this.#destinationHits++
  }

  /** Takes the oldest session, or the oldest of those that `accepts` lets through. */
  findEndpoint(label: string, now: number, accepts?: (entry: Entry<H>) => boolean): Entry<H> | undefined {
    const entry = this.#take(label, now, accepts)
    if (entry === undefined) this.#endpointMisses++
    else this.#endpointHits++
    return entry
  }

  #take(label: string, now: number, accepts?: (entry: Entry<H>) => boolean): Entry<H> | undefined {
    let session = this.#endpoints.get(label)?.first
    while (session !== undefined && (session.expiresAt <= now || accepts?.(session) === false)) {
      session = session.next
    }
    if (session !== undefined) this.#drop(session)
    return session
  }

  /** Removes a session that `saveEndpoint` returned; its bindings stay. One that is gone already is ignored. */
  remove(entry: Entry<H>): void {
    if (entry instanceof Session && entry.bucket !== undefined) this.#drop(entry)
  }

  #drop(session: Session<H>): void {
    const { bucket } = session
    this.#unlink(session)
    if (bucket === undefined) return
    session.bucket = undefined
    bucket.taken++
    // Half of what is left there is worth the room.
    if (bucket.taken < 64 || bucket.taken * 2 < bucket.sessions.length) return
    bucket.sessions = bucket.sessions.filter((one) => one.bucket === bucket)
    bucket.taken = 0
  }

  /** Takes a session out of its chains. */
  #unlink(session: Session<H>): void {
    const { next, previous, newer, older } = session
    this.#size--
    if (newer === undefined) this.#newest = older
    else newer.older = older
    if (older === undefined) this.#oldest = newer
    else older.newer = newer
    session.newer = undefined
    session.older = undefined
    session.next = undefined
    session.previous = undefined
    if (next === undefined && previous === undefined) {
      this.#endpoints.delete(session.endpoint)
      return
    }
    if (next !== undefined) next.previous = previous
    if (previous !== undefined) previous.next = next
    if (next !== undefined && previous !== undefined) return
    const endpoint = this.#endpoints.get(session.endpoint)!
    if (previous === undefined) endpoint.first = next!
    else endpoint.last = previous
  }

  /** Takes out all sessions whose time is over, and forgets bindings whose time is over. */
  expire(now: number): Entry<H>[] {
    const expired: Entry<H>[] = []
    for (const [tick, bucket] of this.#buckets) {
      if (tick * tickMs > now) continue
      this.#buckets.delete(tick)
      for (const session of bucket.sessions) {
        if (session.bucket !== bucket) continue
        session.bucket = undefined
        this.#unlink(session)
        expired.push(session)
      }
      for (const binding of bucket.bindings) {
        // Used again meanwhile: it ends later.
        if (binding.expiresAt > now) this.#bucketOf(binding.expiresAt).bindings.push(binding)
        else this.#unbind(binding)
      }
    }
    return expired
  }

  /** When `expire` has something to do next; undefined: nothing is here. */
  nextExpiry(): number | undefined {
    if (this.#buckets.size === 0) return undefined
    let first = Number.POSITIVE_INFINITY
    for (const tick of this.#buckets.keys()) if (tick < first) first = tick
    return first * tickMs
  }

  #bucketOf(expiresAt: number): Bucket<H> {
    const tick = Math.ceil(expiresAt / tickMs)
    let bucket = this.#buckets.get(tick)
    if (bucket === undefined) {
      bucket = { sessions: [], taken: 0, bindings: [] }
      this.#buckets.set(tick, bucket)
    }
    return bucket
  }

  #unbind(binding: Binding): void {
    const bindings = this.#destinations.get(binding.destination)
    if (bindings === undefined) return
    const index = bindings.indexOf(binding)
    if (index >= 0) bindings.splice(index, 1)
    if (bindings.length === 0) this.#destinations.delete(binding.destination)
  }

  *entries(): Generator<Entry<H>> {
    for (const { first } of this.#endpoints.values()) {
      for (let session: Session<H> | undefined = first; session !== undefined; session = session.next)
        yield session
    }
  }

  *bindings(): Generator<Binding> {
    for (const bindings of this.#destinations.values()) yield* bindings
  }

  /** Empties the table; returns all sessions. */
  clear(): Entry<H>[] {
    const all = [...this.entries()]
    for (const entry of all) if (entry instanceof Session) entry.bucket = undefined
    this.#endpoints.clear()
    this.#destinations.clear()
    this.#buckets.clear()
    this.#oldest = undefined
    this.#newest = undefined
    this.#size = 0
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
