/**
 * How busy each thread is, in shared memory: one slot per living thread, written by its thread and by those who start
 * actors on it, read by everyone who has to choose. A starting actor counts from the moment it is sent on its way, so a
 * burst of starts spreads over the threads.
 */
const wordsPerSlot = 16 // A cache line each: the threads write all the time.
const actorsWord = 0
const utilisationWord = 1
const startedWord = 2

/** Threads living at the same time, main included. */
export const maxSlots = 1_024

export class LoadTable {
  readonly shared: SharedArrayBuffer
  readonly #words: Int32Array

  constructor(shared = new SharedArrayBuffer(maxSlots * wordsPerSlot * 4)) {
    this.shared = shared
    this.#words = new Int32Array(shared)
  }

  reset(slot: number): void {
    for (let word = 0; word < wordsPerSlot; word++) Atomics.store(this.#words, slot * wordsPerSlot + word, 0)
  }

  actorStarted(slot: number): void {
    Atomics.add(this.#words, slot * wordsPerSlot + actorsWord, 1)
    Atomics.add(this.#words, slot * wordsPerSlot + startedWord, 1)
  }

  actorEnded(slot: number): void {
    Atomics.sub(this.#words, slot * wordsPerSlot + actorsWord, 1)
  }

  /** Living actors, those on their way included. */
  actors(slot: number): number {
    return Atomics.load(this.#words, slot * wordsPerSlot + actorsWord)
  }

  /** Actors ever started; wraps after 2^32. */
  started(slot: number): number {
    return Atomics.load(this.#words, slot * wordsPerSlot + startedWord) >>> 0
  }

  /** Event loop utilisation, 0 to 1, of the last measuring period. */
  setUtilisation(slot: number, utilisation: number): void {
    Atomics.store(this.#words, slot * wordsPerSlot + utilisationWord, Math.round(utilisation * 1000))
  }

  utilisation(slot: number): number {
    return Atomics.load(this.#words, slot * wordsPerSlot + utilisationWord) / 1000
  }
}
