/**
 * What a thread leaves in shared memory for the case that it gets stuck: signs of life, and whose handler of which message
 * runs. A stuck thread answers no question, so this has to be there before. Costs a look into a small table and two plain
 * stores a message: it is read when the thread has long been stuck.
 */
import type { AnyActorDefinition } from '../actors/index.ts'
import { heapBytes } from './heap.ts'
import type { LoadTable } from './load-table.ts'

/** Codes of one thread: contracts have a few messages each. Beyond it messages have no name. */
const maxCodes = 100_000
/** Codes that are found without a search; a power of two. */
const nearCodes = 32
/** A handler that awaited longer ago is not worth a guess. */
const suspectedBeats = 8

interface Near {
  definition: AnyActorDefinition | undefined
  type: string
  code: number
}

export class Heartbeat {
  readonly #load: LoadTable
  readonly #slot: number
  /** Tells main once what a code means, before the first handler of it runs. */
  readonly #learn: (code: number, component: string, message: string) => void
  readonly #codes = new Map<AnyActorDefinition, Map<string, number>>()
  #codeCount = 0
  readonly #code: Int32Array
  readonly #actor: Float64Array
  /** Each in the place that `placeOf` gives it, until another one needs that. */
  readonly #near: Near[] = Array.from({ length: nearCodes }, () => ({
    definition: undefined,
    type: '',
    code: 0,
  }))
  #lastCode = 0
  /** The last handler that awaited, and for how many more beats it is suspected. */
  #awaiting = 0
  #awaitingActor = 0
  #suspicion = 0
  /** Turns of the run queue so far. */
  turns = 0

  constructor(
    load: LoadTable,
    slot: number,
    learn: (code: number, component: string, message: string) => void,
  ) {
    this.#load = load
    this.#slot = slot
    this.#learn = learn
    const { code, actor } = load.handOf(slot)
    this.#code = code
    this.#actor = actor
  }

  /** A handler starts. */
  enter(definition: AnyActorDefinition, type: string, actor: number): void {
    const near = this.#near[placeOf(definition, type)] as Near
    if (near.type !== type || near.definition !== definition) this.#look(near, definition, type)
    this.#lastCode = near.code
    this.#code[0] = near.code
    this.#actor[0] = actor
  }

  #look(near: Near, definition: AnyActorDefinition, type: string): void {
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
    near.definition = definition
    near.type = type
    near.code = code
  }

  /** The handler in hand awaits; should the thread get stuck with no other one in hand, this one is suspected. */
  awaits(): void {
    this.#awaiting = this.#lastCode
    this.#awaitingActor = this.#actor[0] ?? 0
    this.#suspicion = suspectedBeats
  }

  /** All handlers have returned. */
  leave(): void {
    this.turns++
    this.#code[0] = -this.#awaiting
    if (this.#awaiting !== 0) this.#actor[0] = this.#awaitingActor
  }

  /** The event loop turns. */
  beat(): void {
    if (this.turns > 0) this.#load.setFinished(this.#slot)
    if (--this.#suspicion <= 0) this.#awaiting = 0
    this.#code[0] = -this.#awaiting
    this.#load.beat(this.#slot, heapBytes())
  }
}

function placeOf({ name }: AnyActorDefinition, type: string): number {
  return (type.charCodeAt(0) + 3 * type.length + 5 * name.length) & (nearCodes - 1)
}
