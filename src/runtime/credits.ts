/**
 * Credits: who makes work takes one for each piece, who does the work gives them back. In shared memory, so that producers
 * on all threads draw from one account. Postfix's flow control of mail intake, `in_flow_delay`, is this with a wait of 1 s.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { UsageError } from '../actors/index.ts'

const availableWord = 0
const limitWord = 1
const takenWord = 2
const delayedWord = 3
const words = 4

/** Looks for a credit while it waits, besides being woken. */
const longestWaitMs = 1_000

export class Credits {
  /** To be sent to other threads, in settings for instance; `Credits.of` takes it there. */
  readonly shared: SharedArrayBuffer
  readonly #words: Int32Array

  private constructor(shared: SharedArrayBuffer) {
    this.shared = shared
    this.#words = new Int32Array(shared)
  }

  /** A new account, full. @throws UsageError */
  static create(limit: number): Credits {
    if (!Number.isInteger(limit) || limit < 1 || limit > 2 ** 31 - 1) {
      throw new UsageError('credits: limit must be an integer from 1 to 2147483647', { limit })
    }
    const credits = new Credits(new SharedArrayBuffer(words * 4))
    credits.#words[limitWord] = limit
    credits.#words[availableWord] = limit
    return credits
  }

  /** The account that was made elsewhere. */
  static of(shared: SharedArrayBuffer): Credits {
    if (!(shared instanceof SharedArrayBuffer) || shared.byteLength !== words * 4) {
      throw new UsageError('credits: this is not what Credits.create shares')
    }
    return new Credits(shared)
  }

  get available(): number {
    return Atomics.load(this.#words, availableWord)
  }

  get limit(): number {
    return Atomics.load(this.#words, limitWord)
  }

  /** Credits taken so far, and waits that ended without one. */
  get statistics(): { readonly taken: number; readonly delayed: number } {
    return {
      taken: Atomics.load(this.#words, takenWord) >>> 0,
      delayed: Atomics.load(this.#words, delayedWord) >>> 0,
    }
  }

  /** Takes one if there is one. */
  take(): boolean {
    for (;;) {
      const available = Atomics.load(this.#words, availableWord)
      if (available <= 0) return false
      if (Atomics.compareExchange(this.#words, availableWord, available, available - 1) === available) {
        Atomics.add(this.#words, takenWord, 1)
        return true
      }
    }
  }

  /**
   * Takes one, waiting up to `waitMs` for it. `false`: there was none, and the caller goes on all the same: it has been
   * slowed down, and is never held up for good. Other work of the thread goes on meanwhile.
   */
  async takeWithin(waitMs: number, signal?: AbortSignal): Promise<boolean> {
    const end = performance.now() + waitMs
    for (;;) {
      if (this.take()) return true
      const left = end - performance.now()
      if (left <= 0 || signal?.aborted === true) {
        Atomics.add(this.#words, delayedWord, 1)
        return false
      }
      await this.#change(Math.min(left, longestWaitMs))
    }
  }

  async #change(waitMs: number): Promise<void> {
    const seen = Atomics.load(this.#words, availableWord)
    if (seen > 0) return
    const wait = Atomics.waitAsync(this.#words, availableWord, seen, waitMs)
    if (!wait.async) return
    // The wait alone would not keep a program running, nor end when nobody gives.
    await Promise.race([wait.value, sleep(waitMs)])
  }

  /** Gives back `count`; what would be more than the limit is dropped. */
  give(count = 1): void {
    for (;;) {
      const available = Atomics.load(this.#words, availableWord)
      const next = Math.min(available + count, this.limit)
      if (Atomics.compareExchange(this.#words, availableWord, available, next) !== available) continue
      Atomics.notify(this.#words, availableWord, count)
      return
    }
  }

  /** Everything there is to give: when nothing is waiting to be done. */
  fill(): void {
    this.give(this.limit)
  }
}
