/**
 * Ids of actors: unique for the life of the system, given out by the thread that spawns, without asking anyone.
 * Threads take blocks of ids from one shared counter.
 */
const idsPerBlock = 2 ** 20
/** Of so many blocks, the latest, it is known which thread took them. */
const knownBlocks = 4_096

export class Ids {
  readonly shared: SharedArrayBuffer
  readonly #blocks: Int32Array
  #next = 0
  #end = 0

  readonly #thread: number

  /** `shared`: the counter of the system; a new one for the first thread. */
  constructor(thread = 0, shared = new SharedArrayBuffer(4 * (1 + knownBlocks))) {
    this.#thread = thread
    this.shared = shared
    this.#blocks = new Int32Array(shared)
  }

  next(): number {
    if (this.#next === this.#end) {
      const block = Atomics.add(this.#blocks, 0, 1) >>> 0
      Atomics.store(this.#blocks, 1 + (block % knownBlocks), this.#thread)
      this.#next = block * idsPerBlock
      this.#end = this.#next + idsPerBlock
      // No actor has id 0: in frames it means nobody.
      if (block === 0) this.#next = 1
    }
    return this.#next++
  }

  /** The thread that gave out `id`, which spawned the actor: four thousand million ids ago it may be another. */
  ownerOf(id: number): number {
    return Atomics.load(this.#blocks, 1 + (Math.floor(id / idsPerBlock) % knownBlocks))
  }
}
