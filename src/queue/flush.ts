/** A commit on its way to the disk: one at a time, while the thread does other work. */
import type { ActorContext } from '../actors/index.ts'
import type { QueueStore } from './store.ts'

export interface FlushOptions<T> {
  readonly store: QueueStore
  /** Does nothing else while the disk is written. */
  readonly atOnce: boolean
  readonly bind: ActorContext['bind']
  /** The disk has it. */
  done(committed: T): void
}

export class Flush<T> {
  readonly #options: FlushOptions<T>
  #committed: T | undefined

  constructor(options: FlushOptions<T>) {
    this.#options = options
  }

  get isUnderWay(): boolean {
    return this.#committed !== undefined
  }

  start(committed: T): void {
    const { store, atOnce, bind } = this.#options
    this.#committed = committed
    if (atOnce) {
      this.finish()
      return
    }
    store.flush().then(
      bind(() => this.#done(committed)),
      // What is on the disk is not known: the queue begins anew with what it finds there.
      bind((error: unknown) => {
        throw error
      }),
    )
  }

  /** Does not let other work go on until the disk has it. */
  finish(): void {
    if (this.#committed === undefined) return
    this.#options.store.flushNow()
    this.#done(this.#committed)
  }

  #done(committed: T): void {
    // It may have been finished in between.
    if (this.#committed !== committed) return
    this.#committed = undefined
    this.#options.done(committed)
  }
}
