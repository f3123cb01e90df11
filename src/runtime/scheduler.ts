import type { ActorCell } from './cell.ts'
import { outsideActors } from './scopes.ts'

/** Messages before the event loop gets a turn: sockets are then served within some 50 us. */
const messagesPerTurn = 256
/** Messages of one actor before the next one: a flooded actor must not hold up the others. */
const messagesPerActor = 16

/** Gives actors their turns. Another one than ours is for tests, where turns are drawn from a seed. */
export interface RunQueue {
  push(cell: ActorCell): void
  readonly isIdle: boolean
  runNow(): void
}

/**
 * The run queue of one thread. Continues by `setImmediate`: by microtask or MessagePort the actors would starve
 * all I/O of the thread.
 */
export class Scheduler implements RunQueue {
  #first: ActorCell | undefined
  #last: ActorCell | undefined
  #scheduled = false
  #running = false
  /** Called when the actors have had their turns, before anything else runs. */
  afterTurn: (() => void) | undefined

  /** Puts an actor at the end of the run queue. The caller sees to it that it is there once. */
  push(cell: ActorCell): void {
    cell.nextReady = undefined
    if (this.#last === undefined) this.#first = cell
    else this.#last.nextReady = cell
    this.#last = cell
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#turn)
  }

  /** Whether any actor waits for its turn. */
  get isIdle(): boolean {
    return this.#first === undefined && !this.#scheduled
  }

  /** Starts a turn now instead of after what the event loop has before it. Not for actors. */
  runNow(): void {
    if (this.#first === undefined || this.#running) return
    outsideActors(this.#run)
    if (this.#first === undefined || this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    try {
      outsideActors(this.#run)
    } finally {
      if (this.#first === undefined) this.#scheduled = false
      else setImmediate(this.#turn)
    }
  }

  readonly #run = (): void => {
    let budget = messagesPerTurn
    this.#running = true
    try {
      while (budget > 0 && this.#first !== undefined) {
        const cell = this.#first
        this.#first = cell.nextReady
        if (this.#first === undefined) this.#last = undefined
        cell.nextReady = undefined
        budget -= cell.takeTurn(Math.min(budget, messagesPerActor))
      }
    } finally {
      this.#running = false
      this.afterTurn?.()
    }
  }
}
