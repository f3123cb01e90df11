/**
 * Timers of one thread. Asks have one each and almost none of them rings, so what counts is the cost of adding
 * and removing: timers of the same delay form a list in which the oldest rings first, and only the first of each
 * list has an alarm of the clock. An alarm that finds its timer gone is set again for the next one.
 */
import type { Alarm, Time } from './time.ts'

/** One timer; also a link of its list. Extend it, or give it a callback. */
export abstract class Timer {
  /** @internal */
  deadline = 0
  /** @internal */
  list: TimerList | undefined
  /** @internal */
  previous: Timer | undefined
  /** @internal */
  following: Timer | undefined

  /** Called once, when the time has come; not after `cancelTimer`. */
  abstract ring(): void

  /** Takes the timer back. Does nothing when it rang or was never started. */
  cancelTimer(): void {
    this.list?.remove(this)
  }
}

/** A timer that calls back. */
export class CallbackTimer extends Timer {
  readonly #callback: () => void

  constructor(callback: () => void) {
    super()
    this.#callback = callback
  }

  override ring(): void {
    this.#callback()
  }
}

class TimerList {
  readonly #timers: Timers
  readonly delayMs: number
  #first: Timer | undefined
  #last: Timer | undefined
  #alarm: Alarm | undefined

  constructor(timers: Timers, delayMs: number) {
    this.#timers = timers
    this.delayMs = delayMs
  }

  add(timer: Timer): void {
    timer.deadline = this.#timers.time.monotonic() + this.delayMs
    timer.list = this
    timer.previous = this.#last
    timer.following = undefined
    if (this.#last === undefined) this.#first = timer
    else this.#last.following = timer
    this.#last = timer
    this.#alarm ??= this.#timers.time.schedule(this.#ring, this.delayMs)
  }

  remove(timer: Timer): void {
    if (timer.previous === undefined) this.#first = timer.following
    else timer.previous.following = timer.following
    if (timer.following === undefined) this.#last = timer.previous
    else timer.following.previous = timer.previous
    timer.list = timer.previous = timer.following = undefined
  }

  readonly #ring = (): void => {
    this.#alarm = undefined
    const now = this.#timers.time.monotonic()
    // Half a millisecond of grace: the clock of setTimeout is coarser than ours and may ring that much early.
    while (this.#first !== undefined && this.#first.deadline <= now + 0.5) {
      const timer = this.#first
      this.remove(timer)
      timer.ring()
    }
    // A ring may have added a timer and with it an alarm.
    if (this.#alarm !== undefined) return
    if (this.#first === undefined) this.#timers.forget(this)
    else this.#alarm = this.#timers.time.schedule(this.#ring, this.#first.deadline - now)
  }

  close(): void {
    this.#alarm?.cancel()
    this.#alarm = undefined
  }
}

export class Timers {
  readonly time: Time
  readonly #lists = new Map<number, TimerList>()
  #closed = false

  constructor(time: Time) {
    this.time = time
  }

  /** Starts `timer`. A delay of `Infinity` never rings. */
  start(timer: Timer, delayMs: number): void {
    if (delayMs === Infinity || this.#closed) return
    // Whole milliseconds, so that computed delays share lists.
    const key = delayMs > 0 ? Math.ceil(delayMs) : 0
    let list = this.#lists.get(key)
    if (list === undefined) {
      list = new TimerList(this, key)
      this.#lists.set(key, list)
    }
    list.add(timer)
  }

  /** @internal */
  forget(list: TimerList): void {
    this.#lists.delete(list.delayMs)
  }

  /** No timer rings afterwards. */
  close(): void {
    this.#closed = true
    for (const list of this.#lists.values()) list.close()
    this.#lists.clear()
  }
}
