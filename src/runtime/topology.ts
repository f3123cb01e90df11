import { type Placement, UsageError } from '../actors/index.ts'
import type { GrowthTable } from './growth-table.ts'
import type { LoadTable } from './load-table.ts'

/** A thread that takes new actors. */
export interface ThreadPlace {
  readonly thread: number
  /** Its slot in the load table. */
  readonly slot: number
}

/** One pool as those see it who start actors there. */
export interface PoolPlaces {
  /** Its index in the growth table. */
  readonly index: number
  readonly threads: readonly ThreadPlace[]
  readonly actorsPerThread: number
  readonly maxThreads: number
  /** Milliseconds since the epoch; before that it starts no thread. */
  readonly quarantinedUntil: number
}

/** Where actors can be put. Sent to every thread whenever it changes. */
export interface Topology {
  /** All living threads and their slots, main included. */
  readonly slots: readonly ThreadPlace[]
  readonly pools: { readonly [pool: string]: PoolPlaces }
}

/** A thread that this one asked for and that nobody else knows yet. */
interface Promised {
  readonly thread: number
  readonly pool: string
  /** Actors sent there. */
  actors: number
}

/** Chooses threads for new actors. */
export class Placer {
  readonly #here: number
  readonly #load: LoadTable
  /** Asked for room when a pool is full: on main it has threads started. */
  makeRoom: ((pool: string) => void) | undefined
  /** Other threads take a number for a new thread themselves, and have main start it. */
  growth: GrowthTable | undefined
  startThread: ((pool: string, thread: number) => void) | undefined
  #topology: Topology = { slots: [], pools: {} }
  readonly #slots = new Map<number, number>()
  readonly #promised: Promised[] = []

  constructor(here: number, load: LoadTable) {
    this.#here = here
    this.#load = load
  }

  set topology(topology: Topology) {
    this.#topology = topology
    this.#slots.clear()
    for (const { thread, slot } of topology.slots) {
      this.#slots.set(thread, slot)
      this.#forget(thread)
    }
  }

  /** A thread that was promised will not come. */
  threadDown(thread: number): void {
    this.#forget(thread)
  }

  #forget(thread: number): void {
    const index = this.#promised.findIndex((one) => one.thread === thread)
    if (index >= 0) this.#promised.splice(index, 1)
  }

  /** Whether this thread asked for it, and it is not there yet. */
  isPromised(thread: number): boolean {
    return this.#promised.length > 0 && this.#promised.some((one) => one.thread === thread)
  }

  /** The slot of a thread, if it lives. */
  slot(thread: number): number | undefined {
    return this.#slots.get(thread)
  }

  /** What the kinds that may not be anywhere want to know; `undefined`: a pool that is not configured. */
  pool(name: string): PoolPlaces | undefined {
    return this.#topology.pools[name]
  }

  // Asked only where there are pools: in a system without any the same tree runs on one thread.
  #noSuchPool(pool: string): UsageError {
    const pools = Object.keys(this.#topology.pools).join(', ')
    return new UsageError(`there is no pool '${pool}', only ${pools}`, { pool, pools })
  }

  /** @throws UsageError when there is no such pool, it has no room, or a placement is not one. */
  place(placement: Placement): number {
    if (placement === 'here') return this.#here
    if (typeof placement !== 'object' || placement === null) {
      throw new UsageError(`placement ${String(placement)} is neither here, pool nor nextTo`)
    }
    if ('nextTo' in placement) return placement.nextTo.thread
    if (typeof placement.pool !== 'string') throw new UsageError('placement is neither here, pool nor nextTo')
    const name = placement.pool
    const pool = this.#topology.pools[name]
    if (pool === undefined) throw this.#noSuchPool(name)
    let place = this.#leastLoaded(name)
    if (place === undefined && this.makeRoom !== undefined) {
      this.makeRoom(name)
      place = this.#leastLoaded(name)
    }
    const thread = place?.thread ?? this.#promise(name, pool)
    if (thread !== undefined) return thread
    const waitMs = pool.quarantinedUntil - Date.now()
    const why =
      waitMs > 0 ? `is quarantined for ${Math.ceil(waitMs / 1000)} s more: its last thread died` : ''
    throw new UsageError(`pool ${name} ${why || 'has no room for another actor'}`, { pool: name })
  }

  #promise(name: string, { index, actorsPerThread }: PoolPlaces): number | undefined {
    if (this.startThread === undefined || this.growth === undefined) return undefined
    let promised = this.#promised.find((one) => one.pool === name && one.actors < actorsPerThread)
    if (promised === undefined) {
      if (!this.growth.tryGrow(index)) return undefined
      promised = { thread: this.growth.nextThread(), pool: name, actors: 0 }
      this.#promised.push(promised)
      this.startThread(name, promised.thread)
    }
    promised.actors++
    return promised.thread
  }

  #leastLoaded(name: string): ThreadPlace | undefined {
    const pool = this.#topology.pools[name]
    let best: ThreadPlace | undefined
    let least = Infinity
    for (const place of pool?.threads ?? []) {
      const actors = this.#load.actors(place.slot)
      if (pool !== undefined && actors >= pool.actorsPerThread) continue
      // The utilisation is up to a period old, so it must not send everything of that period to one thread.
      const score = (actors + 1) * (0.25 + this.#load.utilisation(place.slot))
      if (score >= least) continue
      least = score
      best = place
    }
    return best
  }
}
