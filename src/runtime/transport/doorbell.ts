/**
 * How a consumer thread sleeps without missing a frame. It has one SLEEP word for all its rings.
 *
 * The consumer stores 1 and then reads every HEAD again; a producer stores HEAD and then reads SLEEP. Atomics are
 * sequentially consistent, so at least one of the two sees the other: the consumer stays awake or the producer
 * nudges. Only the producer that turns the 1 into 0 nudges, so there is one nudge per sleep.
 *
 * A producer may die after it won and before it nudged. The `close` of its port then wakes the consumer.
 */

/** Memory for the SLEEP word of one consumer thread. */
export function createDoorbell(): SharedArrayBuffer {
  return new SharedArrayBuffer(64)
}

/** The consumer's side. */
export class Sleeper {
  readonly #word: Int32Array

  constructor(doorbell: SharedArrayBuffer) {
    this.#word = new Int32Array(doorbell)
  }

  /** From now on producers nudge. Read every HEAD after it. */
  lieDown(): void {
    Atomics.store(this.#word, 0, 1)
  }

  /** Takes it back. A nudge may be under way already; it does no harm. */
  getUp(): void {
    Atomics.store(this.#word, 0, 0)
  }
}

/** Whether the consumer sleeps; it stays on whoever nudges it. */
export const isAsleep = (word: Int32Array): boolean => Atomics.load(word, 0) === 1

/** Whether the consumer sleeps and it is on this producer to nudge it. Call after HEAD was stored. */
export function mustNudge(word: Int32Array): boolean {
  return Atomics.load(word, 0) === 1 && Atomics.compareExchange(word, 0, 1, 0) === 1
}
