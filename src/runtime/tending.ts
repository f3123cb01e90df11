/** Once a second: threads that are used up or not needed end, pools that are full grow. */
import { performance } from 'node:perf_hooks'
import { type ActorThread, isActive } from './actor-thread.ts'
import type { LoadTable } from './load-table.ts'
import type { Pool } from './pool.ts'
import type { ThreadRecycledEvent } from './pool-events.ts'

/** What is done about what is found. */
export interface Tended {
  readonly pools: ReadonlyMap<string, Pool>
  readonly threads: ReadonlyMap<number, ActorThread>
  readonly load: LoadTable
  /** No more actors for it; another is started if the pool would be short of one. */
  replace(one: ActorThread, why: ThreadRecycledEvent['why']): void
  /** It is not needed any more. */
  retire(one: ActorThread): void
  /** `false`: the pool may not. */
  grow(pool: Pool): boolean
  /** Who takes actors has changed. */
  changed(): void
  /** For a call whose answer nobody waits for. */
  tell(call: Promise<unknown>): void
}

const periodMs = 1_000
/** What is left on a thread that took too long to drain has so long to say goodbye. */
const goodbyeMs = 5_000
/** Looks at the heap, one a second. */
const heapLooks = 10

export class Tending {
  readonly #tended: Tended
  #timer: NodeJS.Timeout | undefined

  constructor(tended: Tended) {
    this.#tended = tended
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), periodMs)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const { pools, threads } = this.#tended
    const now = performance.now()
    for (const one of [...threads.values()]) {
      this.#lookForWork(one, now)
      if (one.state === 'draining') this.#tendDraining(one, now)
      else if (one.state !== 'starting') this.#tendActive(one, now)
    }
    for (const pool of pools.values()) this.#tendPool(pool, now)
  }

  #active(pool: Pool): ActorThread[] {
    return [...this.#tended.threads.values()].filter((one) => one.pool === pool && isActive(one))
  }

  /** Also what came and went since the last look. */
  #lookForWork(one: ActorThread, now: number): void {
    const { load } = this.#tended
    const started = load.started(one.slot)
    if (load.actors(one.slot) > 0 || started !== one.started) one.idleSince = now
    one.started = started
  }

  #tendDraining(one: ActorThread, now: number): void {
    const { tell } = this.#tended
    if (now >= one.hurryAt) {
      one.hurryAt = now + goodbyeMs
      tell(one.control.hurry())
      return
    }
    // Those that start actors may have learned late that it takes no more: a whole period without one is needed.
    if (now - one.idleSince >= periodMs) tell(one.control.stopIfDrained())
    else tell(one.control.drain())
  }

  #tendActive(one: ActorThread, now: number): void {
    const { load } = this.#tended
    const { maxUse, maxIdleMs, minThreads, maxHeapBytes } = one.pool.limits
    one.heap.push(load.heapBytes(one.slot))
    if (one.heap.length > heapLooks) one.heap.shift()
    const isFat = maxHeapBytes > 0 && one.heap.length === heapLooks && Math.min(...one.heap) > maxHeapBytes
    if (maxUse > 0 && load.started(one.slot) >= maxUse) this.#tended.replace(one, 'max_use')
    else if (isFat) this.#tended.replace(one, 'heap')
    else if (now - one.idleSince > maxIdleMs && this.#active(one.pool).length > minThreads) {
      this.#tended.retire(one)
    }
  }

  #tendPool(pool: Pool, now: number): void {
    const { load } = this.#tended
    const active = this.#active(pool)
    if (active.some(({ state }) => state === 'starting')) return
    const running = active.filter(({ state }) => state === 'running')
    const loads = running.map(({ slot }) => ({
      actors: load.actors(slot),
      utilisation: load.utilisation(slot),
    }))
    const wanted = pool.wants(loads, now)
    if (wanted === 'same') return
    if (wanted === 'more') {
      const rested = active.find(({ state }) => state === 'resting')
      if (rested !== undefined) rested.state = 'running'
      else if (!this.#tended.grow(pool)) return
    } else {
      const [least] = running.sort((one, other) => load.actors(one.slot) - load.actors(other.slot))
      if (least !== undefined) least.state = 'resting'
    }
    this.#tended.changed()
  }
}
