/**
 * Ids of actors: unique for the life of the system, given out by the thread that spawns, without asking anyone.
 * Threads take blocks of ids from one shared counter.
 */
const idsPerBlock = 2 ** 20

export class Ids {
  readonly shared: SharedArrayBuffer
  readonly #blocks: Int32Array
  #next = 0
  #end = 0

  /** `shared`: the counter of the system; a new one for the first thread. */
  constructor(shared = new SharedArrayBuffer(4)) {
    this.shared = shared
    this.#blocks = new Int32Array(shared)
  }

  next(): number {
    if (this.#next === this.#end) {
      const block = Atomics.add(this.#blocks, 0, 1) >>> 0
      this.#next = block * idsPerBlock
      this.#end = this.#next + idsPerBlock
      // No actor has id 0: in frames it means nobody.
      if (block === 0) this.#next = 1
    }
    return this.#next++
  }
}
