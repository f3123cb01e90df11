/**
 * The async contexts of a thread's actors: what runs in an actor's scope, and whatever asynchronous work begins there,
 * runs on its behalf. A scope takes some 400 octets, more than all else an idle actor needs, and 0.2 us to make again.
 * So only the actors that ran last have one.
 */
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import type { ActorCell } from './cell.ts'

/** The actor on whose behalf code runs, if any. Holds no state of its own: systems do not meet in it. */
export const currentActor = new AsyncLocalStorage<ActorCell>()

/**
 * Runs what gives actors their turns. What a turn leaves as the current context ends with it, and none of it begins in
 * the context of whoever sent a message.
 */
const outside = new AsyncResource('mailactors')
export function outsideActors<T>(run: () => T): T {
  return outside.runInAsyncScope(run)
}

/** Actors that keep their scope; a power of two. Those of a busy thread should be among them. */
const kept = 1_024

const options = { requireManualDestroy: true } as const

/** An actor's async context, and where it is kept. */
export class Scope extends AsyncResource {
  readonly at: number

  constructor(at: number) {
    super('mailactors', options)
    this.at = at
  }
}

const open = (at: number) => new Scope(at)

export class Scopes {
  readonly #cells: (ActorCell | undefined)[] = []
  #next = 0

  /** A scope for an actor that has none; the one that has had its own for longest loses it. */
  open(cell: ActorCell): Scope {
    return currentActor.run(cell, open, this.#keep(cell))
  }

  /** The same inside `outsideActors`, with the actor's context as the current one from now on: half the price. */
  enter(cell: ActorCell): Scope {
    currentActor.enterWith(cell)
    return open(this.#keep(cell))
  }

  #keep(cell: ActorCell): number {
    const at = this.#next
    this.#next = (at + 1) & (kept - 1)
    this.#cells[at]?.closeScope()
    this.#cells[at] = cell
    return at
  }

  /** For an actor that has ended: kept here it would outlive the collections of young garbage. */
  close(scope: Scope): void {
    this.#cells[scope.at] = undefined
  }
}
