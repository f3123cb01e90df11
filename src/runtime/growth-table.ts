/**
 * Who may start a thread, in shared memory: any thread that finds a pool without room takes a number for a new thread and
 * a place in its pool here, and has main start it. Messages to it wait with their senders until it is connected.
 */
const newestWord = 0
const firstPoolWord = 16
const wordsPerPool = 2
const maxPools = 256

export class GrowthTable {
  readonly shared: SharedArrayBuffer
  readonly #words: Int32Array

  constructor(shared = new SharedArrayBuffer((firstPoolWord + wordsPerPool * maxPools) * 4)) {
    this.shared = shared
    this.#words = new Int32Array(shared)
  }

  /** The number of a new thread. */
  nextThread(): number {
    return Atomics.add(this.#words, newestWord, 1) + 1
  }

  /** `true`: there is one more thread in the pool now, and the caller has to see to it that it is started. */
  tryGrow(pool: number): boolean {
    const active = firstPoolWord + pool * wordsPerPool
    for (;;) {
      const count = Atomics.load(this.#words, active)
      if (count >= Atomics.load(this.#words, active + 1)) return false
      if (Atomics.compareExchange(this.#words, active, count, count + 1) === count) return true
    }
  }

  /** One more or less whatever the limit: replacements, and threads that drain or died. */
  add(pool: number, delta: number): void {
    Atomics.add(this.#words, firstPoolWord + pool * wordsPerPool, delta)
  }

  /** Most threads; 0 lets nobody start one. */
  setLimit(pool: number, limit: number): void {
    Atomics.store(this.#words, firstPoolWord + pool * wordsPerPool + 1, limit)
  }
}
