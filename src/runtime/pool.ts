import type { Piscina } from 'piscina'
import type { PoolLimits } from './pool-options.ts'

/** A pool whose threads are all busier than this is short of threads. */
const busy = 0.8
/** One that would be less busy than this with a thread fewer has one too many. Far below `busy`, lest it swings. */
const slack = 0.4
/** So many looks in a row must find a pool short before a thread is started for the sake of utilisation. */
const shortLooks = 3

/**
 * Ends all threads of a piscina. It forgets that it was destroyed once that is done, and the late word of a thread that had
 * died just before would have it start its least number of threads again.
 */
export async function endThreads(piscina: Piscina): Promise<void> {
  const options: { minThreads?: number } = piscina.options
  options.minThreads = 0
  await piscina.destroy()
}

/** One thread as the decisions about its pool need it. */
export interface ThreadLoad {
  readonly actors: number
  readonly utilisation: number
}

/** One pool: its limits, which may change, and what has happened to it. */
export class Pool {
  readonly name: string
  /** In the growth table. */
  readonly index: number
  readonly piscina: Piscina
  readonly hooks: string | undefined
  limits: PoolLimits
  /** Ends in a row before a thread was ready. */
  failures = 0
  /** Threads replaced so far, whatever the reason. */
  recycled = 0
  /** Times a handler blocked a thread for long. */
  stalls = 0
  /** Threads that died. */
  crashes = 0
  /** Milliseconds since the epoch; no thread is started before. */
  quarantinedUntil = 0
  #short = 0
  #slackSince: number | undefined

  constructor(pool: {
    readonly name: string
    readonly index: number
    readonly piscina: Piscina
    readonly limits: PoolLimits
    readonly hooks: string | undefined
  }) {
    this.name = pool.name
    this.index = pool.index
    this.piscina = pool.piscina
    this.limits = pool.limits
    this.hooks = pool.hooks
  }

  resize(limits: PoolLimits): void {
    this.limits = limits
    this.#short = 0
    this.#slackSince = undefined
  }

  get isQuarantined(): boolean {
    return this.quarantinedUntil > Date.now()
  }

  /**
   * Once per look: whether the pool wants one thread more or fewer, `threads` being those that take actors. More at once
   * when they are nearly full, after several looks when they are busy; fewer when that has been enough for `maxIdleMs`.
   */
  wants(threads: readonly ThreadLoad[], now: number): 'more' | 'fewer' | 'same' {
    const { actorsPerThread, minThreads, maxThreads, maxIdleMs } = this.limits
    const isFull = threads.every(({ actors }) => actors >= actorsPerThread * busy)
    const isBusy = threads.every(({ utilisation }) => utilisation >= busy)
    this.#short = isBusy ? this.#short + 1 : 0
    if (threads.length > 0 && threads.length < maxThreads && (isFull || this.#short >= shortLooks)) {
      this.#short = 0
      this.#slackSince = undefined
      return 'more'
    }
    const without = threads.length - 1
    const sum = (of: (thread: ThreadLoad) => number) => threads.reduce((total, one) => total + of(one), 0)
    const isSlack =
      without >= Math.max(minThreads, 1) &&
      sum(({ utilisation }) => utilisation) <= slack * without &&
      sum(({ actors }) => actors) <= slack * without * actorsPerThread
    if (!isSlack) this.#slackSince = undefined
    else this.#slackSince ??= now
    if (this.#slackSince === undefined || now - this.#slackSince < maxIdleMs) return 'same'
    this.#slackSince = undefined
    return 'fewer'
  }
}
