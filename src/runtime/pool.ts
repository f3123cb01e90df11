import { Host, type HostOptions } from './host.ts'
import type { PoolLimits } from './pool-options.ts'

/** A pool whose threads are all busier than this is short of threads. */
const busy = 0.8
/** One that would be less busy than this with a thread fewer has one too many. Far below `busy`, lest it swings. */
const slack = 0.4
/** So many looks in a row must find a pool short before a thread is started for the sake of utilisation. */
const shortLooks = 3

/** A spare thread loads when the threads that are needed have done so, and the first work is done. */
const spareAfterMs = 50

/** One thread as the decisions about its pool need it. */
export interface ThreadLoad {
  readonly actors: number
  readonly utilisation: number
}

/** One pool: its limits, which may change, its workers, and what has happened to it. */
export class Pool {
  readonly name: string
  /** In the growth table. */
  readonly index: number
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
  readonly #host: HostOptions
  readonly #hosts = new Set<Host>()
  /** Those that have loaded the runtime, or do so, and wait for a task. */
  readonly #spares: Host[] = []
  #spareTimer: NodeJS.Timeout | undefined
  #isEnding = false
  #short = 0
  #slackSince: number | undefined

  constructor(pool: {
    readonly name: string
    readonly index: number
    readonly limits: PoolLimits
    readonly hooks: string | undefined
    readonly host: HostOptions
  }) {
    this.name = pool.name
    this.index = pool.index
    this.limits = pool.limits
    this.hooks = pool.hooks
    this.#host = pool.host
  }

  // --- Workers

  /** A worker for one thread: one that has loaded already, if there is one. */
  takeHost(): Host {
    return this.#spares.shift() ?? this.#makeHost()
  }

  #makeHost(): Host {
    const host = new Host(this.#host)
    this.#hosts.add(host)
    host.gone.then(() => {
      this.#hosts.delete(host)
      const index = this.#spares.indexOf(host)
      if (index >= 0) this.#spares.splice(index, 1)
    })
    return host
  }

  /** Soon there are as many spare workers as there should be. */
  keepSpares(): void {
    if (this.#isEnding || this.limits.spareThreads <= this.#spares.length) return
    this.#spareTimer ??= setTimeout(() => {
      this.#spareTimer = undefined
      while (this.#spares.length < this.limits.spareThreads) this.#spares.push(this.#makeHost())
    }, spareAfterMs)
    this.#spareTimer.unref()
  }

  /** Ends all workers, whatever they do. */
  async end(): Promise<void> {
    this.#isEnding = true
    clearTimeout(this.#spareTimer)
    await Promise.all([...this.#hosts].map((host) => host.end()))
  }

  // --- Size

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
