/**
 * What a thread leaves in shared memory for the case that it gets stuck: signs of life, and whose handler of which message
 * runs. A stuck thread answers no question, so this has to be there before. Costs two plain stores a message.
 */
import type { AnyActorDefinition } from '../actors/index.ts'
import { heapBytes } from './heap.ts'
import type { LoadTable } from './load-table.ts'

/** Codes of one thread: contracts have a few messages each. Beyond it messages have no name. */
const maxCodes = 100_000

export class Heartbeat {
  readonly #load: LoadTable
  readonly #slot: number
  /** Tells main once what a code means, before the first handler of it runs. */
  readonly #learn: (code: number, component: string, message: string) => void
  readonly #codes = new Map<AnyActorDefinition, Map<string, number>>()
  #codeCount = 0
  #lastDefinition: AnyActorDefinition | undefined
  #lastType = ''
  #lastCode = 0
  #code = 0
  #actor = 0
  /** Turns of actors so far. */
  turns = 0

  constructor(
    load: LoadTable,
    slot: number,
    learn: (code: number, component: string, message: string) => void,
  ) {
    this.#load = load
    this.#slot = slot
    this.#learn = learn
  }

  /** A handler starts. */
  enter(definition: AnyActorDefinition, type: string, actor: number): void {
    if (type !== this.#lastType || definition !== this.#lastDefinition) this.#look(definition, type)
    this.#code = this.#lastCode
    this.#actor = actor
    this.#load.setInHand(this.#slot, this.#lastCode, actor)
  }

  #look(definition: AnyActorDefinition, type: string): void {
    let codes = this.#codes.get(definition)
    if (codes === undefined) {
      codes = new Map()
      this.#codes.set(definition, codes)
    }
    let code = codes.get(type)
    if (code === undefined) {
      code = this.#codeCount < maxCodes ? ++this.#codeCount : 0
      codes.set(type, code)
      if (code !== 0) this.#learn(code, definition.name, type)
    }
    this.#lastDefinition = definition
    this.#lastType = type
    this.#lastCode = code
  }

  /** The handler awaits; should the thread get stuck with no other one in hand, this one is suspected. */
  awaits(): void {
    this.#code = -this.#code
  }

  /** The actor's turn is over. */
  leave(): void {
    this.turns++
    this.#load.setInHand(this.#slot, Math.min(this.#code, 0), this.#actor)
  }

  /** The event loop turns. */
  beat(): void {
    if (this.turns > 0) this.#load.setFinished(this.#slot)
    this.#load.beat(this.#slot, heapBytes())
  }
}
