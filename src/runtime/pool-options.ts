/** What a pool of actor threads may be told, what that means when it is not, and what is refused. */
import type { ResourceLimits } from 'node:worker_threads'
import { UsageError } from '../actors/index.ts'
import { maxSlots } from './load-table.ts'

/** Limits of one pool of actor threads. `docs/pools.md` maps them to the options of a Postfix service. */
export interface PoolOptions {
  /** Threads kept running. Default 1. With 0 the first actor starts a thread. */
  readonly minThreads?: number
  /** Most threads. Default `minThreads`, at least 1. Threads that drain do not count. */
  readonly maxThreads?: number
  /** Most actors on one thread; 1 gives each a thread of its own. Default 10 000. */
  readonly actorsPerThread?: number
  /** A thread that has started so many actors is drained and replaced; 0: never. Default 0. */
  readonly maxUse?: number
  /** Milliseconds without an actor, or with too little to do, after which a thread beyond `minThreads` ends. Default 100 s. */
  readonly maxIdleMs?: number
  /** Octets of heap, garbage not counted, above which a thread is drained and replaced; 0: never. Default 0. */
  readonly maxHeapBytes?: number
  /**
   * Milliseconds a handler may block its thread. Then actor and message are named in the log (`thread.stalled`, first at a
   * third of the time) and the thread is terminated and replaced; 0: never. Default 60 s.
   */
  readonly stallMs?: number
  /**
   * Threads that are kept loaded besides, without actors, to take the place of one that died: its actors then run again
   * some 50 ms earlier. Each takes 8-12 MB. Not changed while the pool runs. Default 1, without `minThreads` 0.
   */
  readonly spareThreads?: number
  /** Milliseconds a thread may take to drain, after which what is left is asked to end, then killed. Default: as long as it takes. */
  readonly drainMs?: number
  /**
   * Milliseconds in which no thread is started after one crashed before it had finished a job; 0: the next is started at
   * once, or when one does not even start, after 100 ms, doubled each time up to 10 s. Default 0.
   */
  readonly throttleMs?: number
  /** Module whose exports are called at the turning points of each thread's life, see `PoolHooks`. A URL, as `import.meta.url`. */
  readonly hooks?: string
  /** Limits of V8 for each thread. Too small ones are refused: V8 would end the whole process. */
  readonly resourceLimits?: ResourceLimits
}

/** What can change while the pool runs. */
export interface PoolSize {
  readonly minThreads?: number
  readonly maxThreads?: number
  readonly actorsPerThread?: number
}

/** The limits a running pool can be given. What is not given stays. */
export type PoolChange = Partial<PoolLimits>

/** `PoolOptions` with nothing left open. */
export type PoolLimits = Readonly<Required<Omit<PoolOptions, 'resourceLimits' | 'hooks'>>>

const mostMs = 2 ** 31 - 1

/** @throws UsageError that names the pool, the option and what it may be. */
export function poolLimits(name: string, options: PoolOptions): PoolLimits {
  const { minThreads = 1 } = options
  const limits: PoolLimits = {
    minThreads,
    maxThreads: options.maxThreads ?? Math.max(minThreads, 1),
    actorsPerThread: options.actorsPerThread ?? 10_000,
    maxUse: options.maxUse ?? 0,
    maxIdleMs: options.maxIdleMs ?? 100_000,
    maxHeapBytes: options.maxHeapBytes ?? 0,
    stallMs: options.stallMs ?? 60_000,
    drainMs: options.drainMs ?? Number.POSITIVE_INFINITY,
    throttleMs: options.throttleMs ?? 0,
    spareThreads: options.spareThreads ?? (minThreads > 0 && minThreads < maxSlots - 1 ? 1 : 0),
  }
  checkPoolSize(name, limits)
  whole(name, 'spareThreads', limits.spareThreads, 0, maxSlots - 1 - limits.minThreads)
  whole(name, 'maxUse', limits.maxUse, 0, Number.MAX_SAFE_INTEGER)
  for (const key of ['maxIdleMs', 'stallMs', 'throttleMs', 'maxHeapBytes', 'drainMs'] as const) {
    const value = limits[key]
    if (!(typeof value === 'number' && value >= 0)) refuse(name, key, value, 'must be a number of at least 0')
  }
  if (limits.stallMs > mostMs) refuse(name, 'stallMs', limits.stallMs, `must be at most ${mostMs}`)
  if (options.hooks !== undefined && !(typeof options.hooks === 'string' && options.hooks.includes(':'))) {
    refuse(name, 'hooks', options.hooks, 'must be import.meta.url of a module')
  }
  checkResourceLimits(name, options.resourceLimits)
  return limits
}

/** @throws UsageError */
export function checkPoolSize(
  name: string,
  { minThreads, maxThreads, actorsPerThread }: Required<PoolSize>,
): void {
  whole(name, 'minThreads', minThreads, 0, maxSlots - 1)
  whole(name, 'maxThreads', maxThreads, 1, maxSlots - 1)
  if (actorsPerThread !== Number.POSITIVE_INFINITY) {
    whole(name, 'actorsPerThread', actorsPerThread, 1, 2 ** 31 - 1)
  }
  if (minThreads > maxThreads)
    refuse(name, 'minThreads', minThreads, `must be at most maxThreads ${maxThreads}`)
}

/**
 * The least an actor thread starts with, in MiB, with some room. With less V8 cannot even load the runtime, and what then
 * happens ends the process and not only the thread.
 */
const leastMb: Readonly<Record<keyof ResourceLimits, number>> = {
  maxOldGenerationSizeMb: 16,
  maxYoungGenerationSizeMb: 1,
  codeRangeSizeMb: 0,
  stackSizeMb: 1,
}

/** @throws UsageError */
export function checkResourceLimits(name: string, limits: ResourceLimits | undefined): void {
  if (limits === undefined) return
  for (const [key, value] of Object.entries(limits)) {
    const least = leastMb[key as keyof ResourceLimits]
    if (least === undefined) refuse(name, `resourceLimits.${key}`, value, 'is no limit of a thread')
    if (!(typeof value === 'number' && Number.isFinite(value) && value >= least)) {
      refuse(name, `resourceLimits.${key}`, value, `must be at least ${least} (MiB)`)
    }
  }
}

function whole(pool: string, option: string, value: unknown, least: number, most: number): void {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return
  refuse(pool, option, value, `must be an integer from ${least} to ${most}`)
}

function refuse(pool: string, option: string, value: unknown, why: string): never {
  throw new UsageError(`pool ${pool}: ${option} ${String(value)} ${why}`, { pool, option })
}
