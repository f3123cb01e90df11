import type { Alarm, Time } from '../runtime/time.ts'

interface Entry {
  readonly at: number
  readonly callback: () => void
  cancelled: boolean
}

/** A clock that stands still until it is moved. */
export class VirtualTime implements Time {
  readonly #start: number
  #elapsed = 0
  /** Sorted by time; those of the same time in the order they were set. */
  #alarms: Entry[] = []

  /** `start`: milliseconds since the epoch, what `now()` says at first. */
  constructor(start: number) {
    this.#start = start
  }

  now(): number {
    return this.#start + this.#elapsed
  }

  monotonic(): number {
    return this.#elapsed
  }

  schedule(callback: () => void, delayMs: number): Alarm {
    const entry: Entry = { at: this.#elapsed + Math.max(delayMs, 0), callback, cancelled: false }
    const index = this.#alarms.findLastIndex(({ at }) => at <= entry.at)
    this.#alarms.splice(index + 1, 0, entry)
    return {
      cancel: () => {
        entry.cancelled = true
      },
    }
  }

  /** When the next alarm rings, on the monotonic clock. */
  get next(): number | undefined {
    while (this.#alarms[0]?.cancelled === true) this.#alarms.shift()
    return this.#alarms[0]?.at
  }

  /** Moves to `elapsed` and rings the first alarm that is due, if any. `false`: none was. */
  ringNext(elapsed: number): boolean {
    const next = this.next
    if (next === undefined || next > elapsed) {
      this.#elapsed = Math.max(this.#elapsed, elapsed)
      return false
    }
    this.#elapsed = Math.max(this.#elapsed, next)
    this.#alarms.shift()?.callback()
    return true
  }
}
