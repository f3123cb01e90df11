import type { Clock } from '../../../actors/index.ts'

/** Until when a session has time. It only moves; whoever rings looks at it. */
export class Deadline {
  readonly #clock: Pick<Clock, 'monotonic'>
  #at = 0

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** Milliseconds; not above 0: it is over. */
  get left(): number {
    return this.#at - this.#clock.monotonic()
  }

  /** So many milliseconds from now. */
  extend(ms: number): void {
    this.#at = this.#clock.monotonic() + ms
  }

  /** Content buys time by its amount: a second for every `rate` octets (0: all of it), no more than `mostMs` from now. */
  earn(octets: number, rate: number, mostMs: number): void {
    const latest = this.#clock.monotonic() + mostMs
    this.#at = rate === 0 ? latest : Math.min(latest, this.#at + (octets * 1000) / rate)
  }
}
