/** Finds threads whose handler blocks: tells of them first, and ends them when it takes too long. */
import { performance } from 'node:perf_hooks'
import type { Logger } from '../actors/index.ts'
import { type ActorThread, stuckMessage } from './actor-thread.ts'
import type { LoadTable } from './load-table.ts'
import type { Pool } from './pool.ts'
import type { ThreadRecycledEvent, ThreadStalledEvent } from './pool-events.ts'

export interface StallWatchOptions {
  readonly load: LoadTable
  readonly log: Logger
  readonly onRecycled: (event: ThreadRecycledEvent) => void
  readonly onStalled: (event: ThreadStalledEvent) => void
}

/** Longest time between two looks at the signs of life; main was stuck itself when it was much longer. */
const longestWatchMs = 1_000
const shortestWatchMs = 20
/** With no handler in hand a thread loads modules, or the machine gives it no time: that may take so many times as long. */
const patience = 3

export class StallWatch {
  readonly #pools: ReadonlyMap<string, Pool>
  readonly #threads: ReadonlyMap<number, ActorThread>
  readonly #options: StallWatchOptions
  #timer: NodeJS.Timeout | undefined

  constructor(
    pools: ReadonlyMap<string, Pool>,
    threads: ReadonlyMap<number, ActorThread>,
    options: StallWatchOptions,
  ) {
    this.#pools = pools
    this.#threads = threads
    this.#options = options
  }

  start(): void {
    let period = longestWatchMs
    for (const { limits } of this.#pools.values()) {
      if (limits.stallMs > 0) period = Math.min(period, Math.max(limits.stallMs / 12, shortestWatchMs))
    }
    let before = performance.now()
    this.#timer = setInterval(() => {
      const now = performance.now()
      const wasStuck = now - before > 2 * period + longestWatchMs
      before = now
      for (const one of [...this.#threads.values()]) {
        if (wasStuck || one.state === 'starting') one.pulse.forgive(now)
        else this.#feel(one, now)
      }
    }, period)
    this.#timer.unref()
  }

  #feel(one: ActorThread, now: number): void {
    const { pool, thread, pulse } = one
    if (pool.limits.stallMs === 0) return
    const silentMs = pulse.silentMs(now)
    const stallMs = pool.limits.stallMs * (pulse.culprit().component === undefined ? patience : 1)
    if (pulse.isNewStall(silentMs, stallMs / 3)) {
      pool.stalls++
      this.#stalled(one, silentMs)
    }
    if (silentMs < stallMs) return
    const { load, log, onRecycled } = this.#options
    const started = load.started(one.slot)
    const actors = load.actors(one.slot)
    pool.recycled++
    const event = { pool: pool.name, thread, why: 'stalled', actors, started, times: pool.recycled } as const
    log.error(
      { event: 'thread.recycled', ...event, ...pulse.culprit(), stalledMs: Math.round(silentMs) },
      'thread was stuck and is terminated',
    )
    onRecycled(event)
    one.abort.abort(new Error(stuckMessage(pulse, silentMs)))
  }

  #stalled({ pool, thread, pulse }: ActorThread, silentMs: number): void {
    const event = { pool: pool.name, thread, stalledMs: Math.round(silentMs), ...pulse.culprit() }
    this.#options.log.warn({ event: 'thread.stalled', ...event }, 'a handler blocks its thread')
    this.#options.onStalled(event)
  }

  stop(): void {
    clearInterval(this.#timer)
  }
}
