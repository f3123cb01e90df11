/** Random scenarios of servers that link, monitor, end, name and call each other, from a seed. */
import { Random } from '../../../src/testing/index.ts'

export type Op =
  | readonly ['tell', to: string, text: string]
  | readonly ['trap', boolean]
  | readonly ['link' | 'unlink' | 'monitor' | 'demonitor', to: string]
  | readonly ['exit', to: string, reason: Reason | 'kill']
  | readonly ['spawn', id: string, traps: boolean]
  | readonly ['register' | 'whereis', name: string]
  | readonly ['after', ms: number, text: string]
  | readonly ['continue', text: string]
  /** To all calls that wait for a late reply. */
  | readonly ['answer']
  | readonly ['stop', Reason]
  | readonly ['throw']

/** `term` is OTP's `{shutdown, Term}`. */
export type Reason = 'normal' | 'shutdown' | 'term' | 'boom'

export type Request = 'now' | 'later' | 'throw' | 'exit' | 'bad' | `stop_${Reason}` | `reply_stop_${Reason}`

export type ServerStep =
  | readonly ['do', id: string, readonly Op[]]
  | readonly ['kill', id: string]
  /** Its outcome is noted under the tag; without a time it waits for ever. */
  | readonly ['call', tag: string, id: string, Request, timeoutMs: number]
  | readonly ['wait', ms: number]
  | readonly ['all', ...ServerStep[]]

export interface ServerScenario {
  readonly name: string
  /** Ids and whether they trap exits. */
  readonly servers: readonly (readonly [id: string, traps: boolean])[]
  readonly steps: readonly ServerStep[]
}

export function randomServers(seed: number): ServerScenario {
  return new Generator(seed).scenario()
}

export function serversTerm(scenario: ServerScenario): string {
  const { name, servers, steps } = scenario
  return `#{name=>${term(name)},servers=>${term(servers)},steps=>${term(steps)}}.\n`
}

function term(value: unknown): string {
  if (typeof value === 'string') return `<<${JSON.stringify(value)}>>`
  if (Array.isArray(value)) return `[${value.map(term).join(',')}]`
  return String(value)
}

const reasons: readonly Reason[] = ['normal', 'shutdown', 'term', 'boom']

class Generator {
  readonly #seed: number
  readonly #random: Random
  readonly #ids: string[] = []
  /** Those that started helpers: here these end with them, whatever the reason. */
  readonly #parents = new Set<string>()
  readonly #named = new Set<string>()
  readonly #trapping = new Set<string>()
  #number = 0

  constructor(seed: number) {
    this.#seed = seed
    this.#random = new Random(seed)
  }

  scenario(): ServerScenario {
    const servers = Array.from({ length: 2 + this.#below(3) }, () => {
      const id = this.#id()
      return [id, this.#traps(id)] as const
    })
    const steps = Array.from({ length: 4 + this.#below(12) }, () => this.#step())
    return { name: `servers ${this.#seed}`, servers, steps }
  }

  #id(): string {
    const id = `s${this.#ids.length + 1}`
    this.#ids.push(id)
    return id
  }

  #traps(id: string): boolean {
    const traps = this.#chance(0.5)
    if (traps) this.#trapping.add(id)
    else this.#trapping.delete(id)
    return traps
  }

  #below(limit: number): number {
    return Math.floor(this.#random.next() * limit)
  }

  #chance(probability: number): boolean {
    return this.#random.next() < probability
  }

  #pick<T>(options: readonly T[]): T {
    return options[this.#below(options.length)]!
  }

  #step(): ServerStep {
    const id = this.#pick(this.#ids)
    const kind = this.#random.next()
    if (kind < 0.08) return ['kill', id]
    if (kind < 0.25) return this.#call(id)
    if (kind < 0.3) {
      // A late reply, and none: both settle before the step is over.
      const tag = `c${++this.#number}`
      return ['all', ['call', tag, id, 'later', 5], ['wait', 15]]
    }
    if (kind < 0.35) return ['all', ['do', id, [['after', 5, `t${++this.#number}`]]], ['wait', 15]]
    if (kind < 0.45) return ['all', this.#call(id), this.#call(id), ['do', id, [['answer']]]]
    return ['do', id, this.#ops(id)]
  }

  #call(id: string): ServerStep {
    const request = this.#chance(0.7)
      ? this.#pick<Request>(['now', 'later', 'later'])
      : this.#pick<Request>([
          'throw',
          'exit',
          'bad',
          `stop_${this.#reason(id)}`,
          `reply_stop_${this.#reason(id)}`,
        ])
    return ['call', `c${++this.#number}`, id, request, 0]
  }

  #reason(id: string): Reason {
    return this.#pick(this.#parents.has(id) ? reasons.filter((reason) => reason !== 'normal') : reasons)
  }

  /**
   * Words to others, and then one thing more, as an exit may cut short what follows. Who does not trap exits may be ended
   * before it has heard what was said to it, and so may who is killed: then nothing is said.
   */
  #ops(id: string): Op[] {
    const op = this.#op(id)
    const mayEnd = ['stop', 'throw', 'exit', 'link', 'trap'].includes(op[0])
    const killed = op[0] === 'exit' && op[2] === 'kill' ? op[1] : undefined
    const hearers = this.#ids.filter((each) => each !== killed && (!mayEnd || this.#trapping.has(each)))
    const tells = Array.from(
      { length: hearers.length === 0 ? 0 : this.#below(3) },
      (): Op => ['tell', this.#pick(hearers), `m${++this.#number}`],
    )
    return [...tells, op]
  }

  #op(id: string): Op {
    const other = this.#pick(this.#ids)
    const kind = this.#random.next()
    if (kind < 0.18) return ['link', other]
    if (kind < 0.32) return ['monitor', other]
    if (kind < 0.4) return ['unlink', other]
    if (kind < 0.45) return ['demonitor', other]
    if (kind < 0.6) return ['exit', other, this.#pick([...this.#reasonsFor(other), 'kill'] as const)]
    if (kind < 0.65) return ['trap', this.#traps(id)]
    if (kind < 0.72) {
      this.#parents.add(id)
      const child = this.#id()
      return ['spawn', child, this.#traps(child)]
    }
    if (kind < 0.78 && !this.#named.has(id)) {
      this.#named.add(id)
      return ['register', this.#pick(['n1', 'n2'])]
    }
    if (kind < 0.84) return ['whereis', this.#pick(['n1', 'n2'])]
    if (kind < 0.88) return ['answer']
    if (kind < 0.92) return ['continue', `t${++this.#number}`]
    if (kind < 0.96) return ['stop', this.#reason(id)]
    return ['throw']
  }

  #reasonsFor(id: string): readonly Reason[] {
    return this.#parents.has(id) ? reasons.filter((reason) => reason !== 'normal') : reasons
  }
}
