/** What observers hear of pools and threads, and their numbers. */
import type { ExitReason } from '../actors/index.ts'
import type { PoolSize } from './pool-options.ts'

/**
 * - `starting`: actors may be put on it, and wait.
 * - `resting`: there is too little to do for it; takes no new actors unless the pool gets busy again.
 * - `draining`: takes no new actors and ends when its last has.
 */
export type ThreadState = 'starting' | 'running' | 'resting' | 'draining'

/** One actor thread, or main, in numbers. */
export interface ThreadStatistics {
  /** Name of the pool; `main` for the main thread. */
  readonly pool: string
  readonly thread: number
  readonly state: ThreadState
  readonly actors: number
  /** Actors ever started on it. */
  readonly started: number
  /** Share of the last quarter of a second in which the event loop was busy, 0 to 1. */
  readonly utilization: number
  readonly heapBytes: number
  /** Milliseconds since it was started. */
  readonly uptimeMs: number
  /** Times something blocked it for longer than a third of the pool's `stallMs`; for main, longer than a second. */
  readonly stalls: number
  /** Milliseconds it has been stuck now; 0 when it is not. */
  readonly stalledMs: number
}

export interface PoolStatistics extends Required<PoolSize> {
  readonly name: string
  /** `actors`: threads that host actors. `jobs`: threads that run jobs, see `ActorSystem.jobs`. */
  readonly kind: 'actors' | 'jobs'
  /** Threads that take actors or jobs, those that start included. */
  readonly threads: number
  readonly draining: number
  /** Actors that live in it; for jobs those that run or wait. */
  readonly actors: number
  readonly recycled: number
  readonly stalls: number
  readonly crashes: number
  /** Milliseconds until threads may be started again; 0: now. */
  readonly quarantinedMs: number
}

export interface ThreadEvent {
  readonly pool: string
  readonly thread: number
}

export interface ThreadExitEvent extends ThreadEvent {
  readonly reason: ExitReason
  /** Actors that were on it. */
  readonly actors: number
  /** Whether it was asked to end. */
  readonly expected: boolean
}

export interface PoolResizedEvent extends Required<PoolSize> {
  readonly pool: string
  /** Threads that take actors now. */
  readonly threads: number
  readonly why: 'requested' | 'busy' | 'idle'
}

/** A thread is to be replaced, or not needed any more: it takes no new actors from now on. */
export interface ThreadRecycledEvent extends ThreadEvent {
  readonly why: 'requested' | 'max_use' | 'heap' | 'stalled' | 'hook' | 'resized' | 'idle'
  /** Actors on it. */
  readonly actors: number
  /** Actors it has started. */
  readonly started: number
  /** How many threads of the pool were recycled so far. */
  readonly times: number
}

export interface ThreadStalledEvent extends ThreadEvent {
  readonly stalledMs: number
  /** Whose handler it is, if known. */
  readonly component?: string
  readonly actor?: number
  readonly message?: string
  /** The handler had awaited: it is the last one known, and may not be the one. */
  readonly isSuspected: boolean
}

export interface PoolQuarantinedEvent {
  readonly pool: string
  /** For how long no thread is started. */
  readonly ms: number
}
