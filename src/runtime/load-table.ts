/**
 * How each thread is doing, in shared memory: one slot per living thread, written by its thread and by those who start
 * actors on it, read by everyone who has to choose. A starting actor counts from the moment it is sent on its way, so a
 * burst of starts spreads over the threads.
 *
 *     word 0 actors  1 utilisation  2 started  3 beats  4 message in hand  5 heap in KiB  6 has finished a job
 *          8…9 actor whose message that is, a double
 */
const wordsPerSlot = 16 // A cache line each: the threads write all the time.
const actorsWord = 0
const utilisationWord = 1
const startedWord = 2
const beatWord = 3
const messageWord = 4
const heapWord = 5
const finishedWord = 6
const actorDouble = 4

/** Threads living at the same time, main included. */
export const maxSlots = 1_024

export class LoadTable {
  readonly shared: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #doubles: Float64Array

  constructor(shared = new SharedArrayBuffer(maxSlots * wordsPerSlot * 4)) {
    this.shared = shared
    this.#words = new Int32Array(shared)
    this.#doubles = new Float64Array(shared)
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

  /** A sign of life; says as well how much heap is used. */
  beat(slot: number, heapBytes: number): void {
    Atomics.store(this.#words, slot * wordsPerSlot + heapWord, Math.round(heapBytes / 1024))
    Atomics.add(this.#words, slot * wordsPerSlot + beatWord, 1)
  }

  /** Signs of life so far; only whether it changes means anything. */
  beats(slot: number): number {
    return Atomics.load(this.#words, slot * wordsPerSlot + beatWord)
  }

  heapBytes(slot: number): number {
    return (Atomics.load(this.#words, slot * wordsPerSlot + heapWord) >>> 0) * 1024
  }

  /** Where the thread of this slot writes what is in hand: `code[0]`, see `Heartbeat`, and `actor[0]`. */
  handOf(slot: number): { readonly code: Int32Array; readonly actor: Float64Array } {
    const code = new Int32Array(this.shared, (slot * wordsPerSlot + messageWord) * 4, 1)
    const actor = new Float64Array(this.shared, (slot * (wordsPerSlot / 2) + actorDouble) * 8, 1)
    return { code, actor }
  }

  inHand(slot: number): { readonly code: number; readonly actor: number } {
    return {
      code: Atomics.load(this.#words, slot * wordsPerSlot + messageWord),
      actor: this.#doubles[slot * (wordsPerSlot / 2) + actorDouble] ?? 0,
    }
  }

  setFinished(slot: number): void {
    Atomics.store(this.#words, slot * wordsPerSlot + finishedWord, 1)
  }

  /** Whether the thread has lived on after a message was handled. */
  hasFinished(slot: number): boolean {
    return Atomics.load(this.#words, slot * wordsPerSlot + finishedWord) !== 0
  }
}
