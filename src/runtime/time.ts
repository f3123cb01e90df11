import type { Clock } from '../actors/index.ts'

/** Where the runtime gets its time from: the clock of the actors, and one-shot alarms. Virtual in tests. */
export interface Time extends Clock {
  /** Calls back once, not before `delayMs`. */
  schedule(callback: () => void, delayMs: number): Alarm
}

export interface Alarm {
  cancel(): void
}

// Node's timers turn a longer delay into 1 ms. Our callers look at the deadline again when an alarm rings early.
const longestDelayMs = 2 ** 31 - 1

/** The time of the machine. */
export const systemTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  schedule(callback, delayMs) {
    const timer = setTimeout(callback, Math.min(Math.max(delayMs, 0), longestDelayMs))
    return { cancel: () => clearTimeout(timer) }
  },
}
