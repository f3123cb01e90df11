/**
 * On a thread that drains: messages for named actors that have moved. They wait until the name is known again, on whatever
 * thread, and go there; asks are asked again, and the answer goes back to who asked first.
 */
import type { ExitReason } from '../actors/index.ts'
import type { Asker } from './message.ts'
import type { Ref } from './ref.ts'
import type { ThreadRuntime } from './thread-runtime.ts'

interface Waiting {
  readonly type: string
  readonly body: readonly unknown[]
  readonly asker: Asker | undefined
}

/** Messages that wait for all names together. More are refused, as by a full queue. */
const maxWaiting = 10_000

export class Successors {
  readonly #runtime: ThreadRuntime
  /** Name of an actor that has moved, by its id. */
  readonly #names = new Map<number, string>()
  readonly #waiting = new Map<string, Waiting[]>()
  #count = 0
  /** Asks under way to successors. */
  #asks = 0

  constructor(runtime: ThreadRuntime) {
    this.#runtime = runtime
  }

  /** Whether everything has been handed on, and answered. */
  get isIdle(): boolean {
    return this.#count === 0 && this.#asks === 0
  }

  /** The actor has moved. */
  moved(id: number, name: string): void {
    this.#names.set(id, name)
  }

  /** `false`: it is not known to have moved, or too much waits. */
  accept(id: number, type: string, body: readonly unknown[], asker: Asker | undefined): boolean {
    const name = this.#names.get(id)
    if (name === undefined) return false
    const successor = this.#runtime.registry.whereis(name)
    if (successor !== undefined && successor.id !== id && !this.#waiting.has(name)) {
      this.#hand(successor, { type, body, asker })
      return true
    }
    if (this.#count >= maxWaiting) return false
    const waiting = this.#waiting.get(name) ?? []
    this.#waiting.set(name, waiting)
    waiting.push({ type, body, asker })
    this.#count++
    return true
  }

  /** A name belongs to someone now. */
  found(name: string, ref: Ref): void {
    if (this.#names.get(ref.id) === name) return
    const waiting = this.#waiting.get(name)
    if (waiting === undefined) return
    this.#waiting.delete(name)
    this.#count -= waiting.length
    for (const message of waiting) this.#hand(ref, message)
  }

  #hand(to: Ref, { type, body, asker }: Waiting): void {
    if (asker === undefined) {
      this.#runtime.tellRemote(to, type, body)
      return
    }
    this.#asks++
    // Who asked first has a timeout of its own.
    this.#runtime.ask(to, undefined, { timeoutMs: Number.POSITIVE_INFINITY }, type, body).then(
      (value) => {
        this.#asks--
        asker.answer(value)
      },
      (error: { failure?: Parameters<Asker['refuse']>[0]; message: string; exitReason?: ExitReason }) => {
        this.#asks--
        asker.refuse(error.failure ?? 'down', error.message, error.exitReason)
      },
    )
  }

  /** The thread ends: whoever still waits is told. */
  close(): void {
    for (const waiting of this.#waiting.values()) {
      for (const { asker } of waiting) asker?.refuse('down', 'its thread ended')
    }
    this.#waiting.clear()
    this.#count = 0
  }
}
