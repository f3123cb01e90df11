import { type Placement, UsageError } from '../actors/index.ts'
import type { LoadTable } from './load-table.ts'
import { ownRef } from './ref.ts'

/** A thread that takes new actors. */
export interface ThreadPlace {
  readonly thread: number
  /** Its slot in the load table. */
  readonly slot: number
}

/** Where actors can be put. Sent to every thread whenever it changes. */
export interface Topology {
  /** All living threads and their slots, main included. */
  readonly slots: readonly ThreadPlace[]
  readonly pools: {
    readonly [pool: string]: { readonly threads: readonly ThreadPlace[]; readonly actorsPerThread: number }
  }
}

/** Chooses threads for new actors. */
export class Placer {
  readonly #here: number
  readonly #load: LoadTable
  /** Asked for another thread when a pool is full; only main can start one. */
  makeRoom: ((pool: string) => void) | undefined
  #topology: Topology = { slots: [], pools: {} }
  readonly #slots = new Map<number, number>()

  constructor(here: number, load: LoadTable) {
    this.#here = here
    this.#load = load
  }

  set topology(topology: Topology) {
    this.#topology = topology
    this.#slots.clear()
    for (const { thread, slot } of topology.slots) this.#slots.set(thread, slot)
  }

  /** The slot of a thread, if it lives. */
  slot(thread: number): number | undefined {
    return this.#slots.get(thread)
  }

  /** @throws UsageError when the pool has no room, or a placement is not one. */
  place(placement: Placement): number {
    if (placement === 'here') return this.#here
    if ('nextTo' in placement) return ownRef(placement.nextTo).thread
    if (typeof placement.pool !== 'string') throw new UsageError('placement is neither here, pool nor nextTo')
    const pool = placement.pool
    // A pool that is not configured is no error: the same tree runs on one thread.
    if (this.#topology.pools[pool] === undefined) return this.#here
    let place = this.#leastLoaded(pool)
    if (place === undefined && this.makeRoom !== undefined) {
      this.makeRoom(pool)
      place = this.#leastLoaded(pool)
    }
    if (place !== undefined) return place.thread
    throw new UsageError(`pool ${pool} has no room for another actor`, { pool })
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
