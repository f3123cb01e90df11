/** Random state machines and what is told to them, from a seed. */
import { Random } from '../../../src/testing/index.ts'

export const states = ['a', 'b', 'c'] as const
export const messages = ['m1', 'm2', 'm3', 'm4', 'i1', 'i2'] as const
export const timeoutNames = ['t1', 't2'] as const
export type State = (typeof states)[number]
export type Message = (typeof messages)[number]

/** What a state does at an event, its entry included. Times in milliseconds; `never` takes a timeout back. */
export interface Does {
  readonly next?: State
  readonly repeat?: true
  readonly postpone?: true
  readonly stop?: true
  /** With a number, to tell one from another. */
  readonly insert?: readonly (readonly [Message, number])[]
  readonly state?: number | 'never'
  readonly event?: number | 'never'
  readonly named?: readonly (readonly [name: string, ms: number | 'never'])[]
}

export interface MachineScenario {
  readonly name: string
  readonly first: State
  /** By `state event`. */
  readonly table: ReadonlyMap<string, Does>
  /** Told at once, every `stepMs`. */
  readonly steps: readonly (readonly (readonly [Message, number])[])[]
}

export const stepMs = 200

export function randomMachine(seed: number): MachineScenario {
  return new Generator(seed).scenario()
}

export function machineTerm({ name, first, table, steps }: MachineScenario): string {
  const rows = [...table].map(([key, does]) => {
    const [state = '', event = ''] = key.split(' ')
    return `{${term(state)},${term(event)}}=>${doesTerm(does)}`
  })
  const events = steps.map((batch) => `[${batch.map(eventTerm).join(',')}]`)
  return `#{name=>${term(name)},first=>${term(first)},step_ms=>${stepMs},table=>#{${rows.join(',')}},steps=>[${events.join(',')}]}.\n`
}

const term = (text: string) => `<<"${text}">>`
const eventTerm = ([message, number]: readonly [string, number]) => `[${term(message)},${number}]`

function doesTerm({ next, repeat, postpone, stop, insert, state, event, named }: Does): string {
  const entries = [
    next && `next=>${term(next)}`,
    repeat && 'repeat=>true',
    postpone && 'postpone=>true',
    stop && 'stop=>true',
    insert && `insert=>[${insert.map(eventTerm).join(',')}]`,
    state !== undefined && `state=>${state}`,
    event !== undefined && `event=>${event}`,
    named && `named=>[${named.map(([key, ms]) => `{${term(key)},${ms}}`).join(',')}]`,
  ]
  return `#{${entries.filter((entry) => entry).join(',')}}`
}

class Generator {
  readonly #seed: number
  readonly #random: Random
  #number = 0
  #times = 0

  constructor(seed: number) {
    this.#seed = seed
    this.#random = new Random(seed)
  }

  scenario(): MachineScenario {
    const table = new Map<string, Does>()
    for (const state of states) {
      // What no message brings about must not go round for ever: only the last state has timeouts of no time at its entry.
      const isLast = state === 'c'
      if (this.#random.chance(0.3)) table.set(`${state} enter`, this.#timeouts(0.5, isLast))
      for (const message of messages) table.set(`${state} ${message}`, this.#does(message, state))
      for (const key of ['state', 'event', ...timeoutNames]) table.set(`${state} ${key}`, this.#rung(isLast))
    }
    const steps = Array.from({ length: 2 + this.#random.below(6) }, () =>
      Array.from(
        { length: this.#random.below(5) },
        () => [this.#random.pick(messages), ++this.#number] as const,
      ),
    )
    return { name: `machine ${this.#seed}`, first: this.#random.pick(states), table, steps: [...steps, []] }
  }

  #does(message: Message, state: State): Does {
    // Inserted events insert none of their own kind, so that no machine goes on for ever.
    const insertable = message === 'i1' ? (['i2'] as const) : message === 'i2' ? [] : (['i1', 'i2'] as const)
    const insert =
      insertable.length > 0 && this.#random.chance(0.25)
        ? Array.from(
            { length: 1 + this.#random.below(2) },
            () => [this.#random.pick(insertable), ++this.#number] as const,
          )
        : undefined
    const change = this.#change()
    // Postponed on the way up alone, and with nothing that moves the machine, or two states would hand it to each other.
    const mayPostpone = change.next === undefined || change.next >= state
    if (mayPostpone && this.#random.chance(0.25)) {
      return { ...change, postpone: true, ...this.#timeouts(0.25, false) }
    }
    return {
      ...change,
      ...(insert === undefined ? {} : { insert }),
      ...this.#timeouts(0.25, true),
      ...(this.#random.chance(0.02) ? { stop: true } : {}),
    }
  }

  /** A timeout may set others, but none of no time. */
  #rung(stays: boolean): Does {
    return { ...(stays ? {} : this.#change()), ...this.#timeouts(0.15, false) }
  }

  #change(): Does {
    const kind = this.#random.next()
    if (kind < 0.4) return { next: this.#random.pick(states) }
    return kind < 0.5 ? { repeat: true } : {}
  }

  #timeouts(chance: number, mayBeNone: boolean): Does {
    const named = timeoutNames
      .filter(() => this.#random.chance(chance / 2))
      .map((name) => [name, this.#time(mayBeNone)] as const)
    return {
      ...(this.#random.chance(chance) ? { state: this.#time(mayBeNone) } : {}),
      ...(this.#random.chance(chance) ? { event: this.#time(mayBeNone) } : {}),
      ...(named.length > 0 ? { named } : {}),
    }
  }

  #time(mayBeNone: boolean): number | 'never' {
    const kind = this.#random.next()
    if (kind < 0.25 && mayBeNone) return 0
    if (kind < 0.35) return 'never'
    // No two alike, so that none ring together.
    return this.#random.pick([70, 130, 290, 350, 470]) + (++this.#times % 41)
  }
}
