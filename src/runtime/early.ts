/**
 * What arrives for an actor before its start does. A ref is known to others as soon as it is spawned, and they may be faster
 * than the spawner: then what they sent waits here, in order, until the start arrives or can no longer come.
 */
interface Waiting {
  readonly spawner: number
  readonly again: (() => unknown)[]
}

/** Frames that may wait; a thread that is this far behind has other worries. */
const maxWaiting = 100_000

export class Early {
  readonly #waiting = new Map<number, Waiting>()
  /** The newest actor each thread has started here: their ids grow, and starts arrive in order. */
  readonly #newest = new Map<number, number>()
  #count = 0

  /** Keeps `again` until it is known what became of the actor. `false`: its start arrived once, or there is no room. */
  hold(id: number, spawner: number, again: () => unknown): boolean {
    if (id <= (this.#newest.get(spawner) ?? 0) || this.#count >= maxWaiting) return false
    let waiting = this.#waiting.get(id)
    if (waiting === undefined) {
      waiting = { spawner, again: [] }
      this.#waiting.set(id, waiting)
    }
    waiting.again.push(again)
    this.#count++
    return true
  }

  /** The actor is here; those of the same spawner before it will not come any more. */
  started(id: number, spawner: number): void {
    if (id > (this.#newest.get(spawner) ?? 0)) this.#newest.set(spawner, id)
    if (this.#waiting.size === 0) return
    for (const [other, waiting] of [...this.#waiting]) {
      if (waiting.spawner === spawner && other <= id) this.#release(other, waiting)
    }
  }

  /** Nothing comes from that thread any more. It must be known as dead. */
  spawnerDown(thread: number): void {
    this.#newest.delete(thread)
    for (const [id, waiting] of [...this.#waiting]) {
      if (waiting.spawner === thread) this.#release(id, waiting)
    }
  }

  #release(id: number, { again }: Waiting): void {
    this.#waiting.delete(id)
    this.#count -= again.length
    for (const one of again) one()
  }
}
