/** What `system.pools` offers. */
import { UsageError } from '../actors/index.ts'
import type { PoolStatistics } from './pool-events.ts'
import type { PoolChange } from './pool-options.ts'

/** What has pools: the threads of actors, or of jobs. */
export interface PoolHost {
  has(name: string): boolean
  pools(): PoolStatistics[]
  resize(name: string, change: PoolChange): Promise<void>
  recycle(name: string): Promise<Recycling>
}

export interface Recycling {
  /** The threads that drain now. */
  readonly threads: readonly number[]
  /** Settles when they are gone, which takes as long as the actors on them live, or `drainMs`. */
  readonly drained: Promise<void>
}

/** The pools of a running system. */
export class Pools {
  readonly #hosts: () => readonly (PoolHost | undefined)[]

  /** @internal */
  constructor(hosts: () => readonly (PoolHost | undefined)[]) {
    this.#hosts = hosts
  }

  /** All pools in numbers. */
  list(): PoolStatistics[] {
    return this.#hosts().flatMap((host) => host?.pools() ?? [])
  }

  /**
   * Changes the size or other limits of a pool while it runs; what is not given stays. Settles when the threads that it lacked run. Threads
   * that are too many take no more actors and end as with `recycle`: no message is lost.
   *
   * @throws UsageError for a pool that is not there, or sizes that make no sense.
   * @throws StartError when a thread ended before it ran; the pool goes on trying.
   */
  async resize(name: string, change: PoolChange): Promise<PoolStatistics> {
    const host = this.#hostOf(name)
    await host.resize(name, change)
    return host.pools().find((pool) => pool.name === name)!
  }

  /**
   * Replaces the threads of a pool. First new ones are started; when they run, the old ones take no more actors. Temporary
   * actors, and those started with `spawn`, finish there. Those that a supervisor on another thread keeps running are
   * stopped by it, in order and without counting as a failure, and started on a new thread; they handle what was in their
   * queue before, and what comes later under their registered name goes to their successor.
   *
   * @throws UsageError for a pool that is not there.
   * @throws StartError when a new thread ended before it ran; the old ones go on then.
   */
  async recycle(name: string): Promise<Recycling> {
    return await this.#hostOf(name).recycle(name)
  }

  #hostOf(name: string): PoolHost {
    const hosts = this.#hosts()
    const host = hosts.find((one) => one?.has(name) === true)
    if (host !== undefined) return host
    const names = this.list().map((pool) => pool.name)
    const there = names.length === 0 ? 'there are none' : `there are ${names.join(', ')}`
    throw new UsageError(`there is no pool ${String(name)} (${there})`, { pool: String(name) })
  }
}
