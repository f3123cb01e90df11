/** When the queue manager looks again by itself: at mail whose time comes, at pauses that end, at what runs. */
import type { ActorContext } from '../actors/index.ts'

/** How often running deliveries and idle sites are looked after. */
const tickMs = 10_000

/** The messages that alarms send to the queue manager. */
export type Alarm = 'refill' | 'pump' | 'tick'

type Clock = Pick<ActorContext, 'cancelTimer' | 'clock'> & {
  sendAfter(milliseconds: number, message: Alarm): number
}

export class Alarms {
  readonly #context: Clock
  #refill: number | undefined
  /** On the clock that never jumps. */
  #refillAt = Number.POSITIVE_INFINITY
  #pump: { readonly at: number; readonly id: number } | undefined
  #ticking = false

  constructor(context: Clock) {
    this.#context = context
  }

  /** `refill` after `wait`, and not when it was to come before; undefined: not at all. */
  refillAfter(wait: number | undefined): void {
    if (this.#refill !== undefined) this.#context.cancelTimer(this.#refill)
    this.#refill = wait === undefined ? undefined : this.#context.sendAfter(wait, 'refill')
    this.#refillAt = wait === undefined ? Number.POSITIVE_INFINITY : this.#context.clock.monotonic() + wait
  }

  /** `refill` after `wait` at the latest. */
  refillWithin(wait: number): void {
    if (this.#refillAt > this.#context.clock.monotonic() + wait) this.refillAfter(wait)
  }

  /** `pump` at a time of the clock that never jumps; undefined: not at all. */
  pumpAt(at: number | undefined): void {
    if (at === this.#pump?.at) return
    if (this.#pump !== undefined) this.#context.cancelTimer(this.#pump.id)
    this.#pump = undefined
    if (at === undefined) return
    const wait = Math.max(1, Math.ceil(at - this.#context.clock.monotonic()))
    this.#pump = { at, id: this.#context.sendAfter(wait, 'pump') }
  }

  pumped(): void {
    this.#pump = undefined
  }

  /** `tick` in a while, unless one is on its way. */
  tickSoon(): void {
    if (this.#ticking) return
    this.#ticking = true
    this.#context.sendAfter(tickMs, 'tick')
  }

  ticked(): void {
    this.#ticking = false
  }
}
