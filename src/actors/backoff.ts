/**
 * Restarts that wait, beyond OTP: what fails because something else is gone for a while should not take its supervisor
 * down within milliseconds, nor hammer what is gone when it returns.
 */
export interface Backoff {
  /** Milliseconds before the first restart. */
  readonly minMs: number
  /** Milliseconds, the longest wait. */
  readonly maxMs: number
  /** Each restart waits this many times as long as the one before. Default 2. */
  readonly factor?: number
  /** This part of each wait is random, so that those that failed together do not return together. 0 to 1, default 0.5. */
  readonly jitter?: number
  /** A child that ran this long begins with `minMs` again. Milliseconds, default `maxMs`. */
  readonly resetMs?: number
}

/** Milliseconds before restart number `attempt`, from 0. `random` from 0, less than 1. */
export function backoffMs(backoff: Backoff, attempt: number, random: number): number {
  const { minMs, maxMs, factor = 2, jitter = 0.5 } = backoff
  const wait = Math.min(maxMs, minMs * factor ** attempt)
  return Math.round(wait * (1 - jitter * random))
}

/** What is wrong with it, if anything. */
export function backoffProblem(backoff: Backoff): string | undefined {
  if (typeof backoff !== 'object' || backoff === null) return 'backoff is not an object'
  const { minMs, maxMs, factor = 2, jitter = 0.5, resetMs = maxMs } = backoff
  if (!(minMs >= 0) || !Number.isFinite(minMs)) return 'backoff.minMs must be milliseconds'
  if (!(maxMs >= minMs) || !Number.isFinite(maxMs)) return 'backoff.maxMs must be at least minMs'
  if (!(factor >= 1)) return 'backoff.factor must be at least 1'
  if (!(jitter >= 0 && jitter <= 1)) return 'backoff.jitter must be from 0 to 1'
  if (!(resetMs >= 0)) return 'backoff.resetMs must be milliseconds'
  return undefined
}
