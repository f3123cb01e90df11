/** Random scenarios from a seed. What OTP leaves to chance is left out: supervisors killed with their children running. */
import { Random } from '../../../src/testing/index.ts'
import type { InstanceNode, Life, Node, Scenario, Step, SupNode } from './scenario.ts'

export function randomScenario(seed: number): Scenario {
  return new Generator(seed).scenario()
}

class Generator {
  readonly #seed: number
  readonly #random: Random
  #ids = 0
  /** Supervisors with their children, as far as known: what was never started is asked for, too. */
  readonly #sups: { id: string; simple: boolean; auto: boolean; children: string[] }[] = []
  readonly #workers: string[] = []
  /** Of those that were started by request, too. */
  readonly #nodes = new Map<string, Node>()

  constructor(seed: number) {
    this.#seed = seed
    this.#random = new Random(seed)
  }

  scenario(): Scenario {
    // The children of a simple_one_for_one end in any order.
    const withSimple = this.#chance(0.25)
    const top = this.#sup('top', 0, withSimple, false)
    const count = 3 + this.#below(12)
    const steps = Array.from({ length: count }, (): Step => {
      const step = this.#step()
      return withSimple ? ['unordered', step] : step
    })
    steps.push(withSimple ? ['unordered', ['stop']] : ['stop'])
    return { name: `random ${this.#seed}`, top, steps }
  }

  #below(limit: number): number {
    return Math.floor(this.#random.next() * limit)
  }

  #chance(probability: number): boolean {
    return this.#random.next() < probability
  }

  #pick<T>(...options: readonly T[]): T {
    return options[this.#below(options.length)]!
  }

  #life(): Life {
    if (this.#chance(0.5)) return []
    const first = this.#chance(0.95) ? 'ok' : this.#pick('fail', 'ignore')
    const rest = Array.from({ length: this.#below(5) }, () =>
      this.#pick('ok', 'fail', 'fail', 'fail_shutdown', 'fail_normal', 'ignore'),
    )
    return [first, ...rest]
  }

  #node(depth: number, withSimple: boolean, auto: boolean): Node {
    const node = this.#anyNode(depth, withSimple, auto)
    this.#nodes.set(node.id, node)
    return node
  }

  #anyNode(depth: number, withSimple: boolean, auto: boolean): Node {
    if (depth < 3 && this.#chance(0.3)) return this.#sup(`s${++this.#ids}`, depth, withSimple, auto)
    return this.#worker(auto)
  }

  #worker(auto: boolean): Node {
    const id = `w${++this.#ids}`
    this.#workers.push(id)
    const restart = this.#pick('permanent', 'permanent', 'transient', 'temporary')
    const life = this.#life()
    return {
      kind: 'worker',
      id,
      restart,
      shutdown: this.#pick<number | 'infinity' | 'brutal_kill'>(1_000_000, 'infinity', 'brutal_kill'),
      life,
      goodbye: this.#chance(0.9) ? 'ok' : 'fail',
      // One whose init fails may in OTP be ended by its supervisor before it ends itself.
      ...(life.length === 0 && this.#chance(0.4) ? { traps: false } : {}),
      ...(this.#chance(0.1) ? { name: this.#pick('n1', 'n2') } : {}),
      ...(auto && restart !== 'permanent' && this.#chance(0.6) ? { significant: true } : {}),
    }
  }

  /** One that is refused: there already, or with a significance that its restart type or supervisor does not allow. */
  #refused(sup: { readonly auto: boolean; readonly children: readonly string[] }): Node {
    const known = sup.children.map((id) => this.#nodes.get(id)).filter((node) => node !== undefined)
    if (known.length > 0 && this.#chance(0.7)) return this.#pick(...known)
    const restart = sup.auto ? 'permanent' : this.#pick('permanent', 'transient', 'temporary')
    return { kind: 'worker', id: `w${++this.#ids}`, restart, significant: true }
  }

  #sup(id: string, depth: number, withSimple: boolean, parentAuto: boolean): SupNode {
    const simple = withSimple && depth > 0 && this.#chance(0.5)
    const strategy = simple ? 'simple_one_for_one' : this.#pick('one_for_one', 'one_for_all', 'rest_for_one')
    const auto_shutdown = this.#pick('never', 'never', 'any_significant', 'all_significant')
    const auto = auto_shutdown !== 'never'
    const restart = depth === 0 ? 'permanent' : this.#pick('permanent', 'permanent', 'transient', 'temporary')
    const entry = { id, simple, auto, children: [] as string[] }
    this.#sups.push(entry)
    const children: Node[] = simple
      ? [this.#template(auto)]
      : Array.from({ length: this.#below(5) }, () => this.#node(depth + 1, withSimple, auto))
    if (!simple) entry.children.push(...children.map((child) => child.id))
    return {
      kind: 'sup',
      id,
      strategy,
      intensity: this.#below(7),
      period: 3600,
      auto_shutdown,
      restart,
      children,
      ...(parentAuto && restart !== 'permanent' && this.#chance(0.6) ? { significant: true } : {}),
    }
  }

  #template(auto: boolean): Node {
    const restart = this.#pick('permanent', 'transient', 'temporary')
    const significant = auto && restart !== 'permanent' && this.#chance(0.5)
    return { kind: 'template', id: 'each', restart, ...(significant ? { significant } : {}) }
  }

  #step(): Step {
    const sup = this.#pick(...this.#sups)
    if (sup.simple) return this.#simpleStep(sup)
    const worker = this.#workers.length > 0 ? this.#pick(...this.#workers) : undefined
    const child = sup.children.length > 0 ? this.#pick(...sup.children) : 'nobody'
    switch (this.#below(worker === undefined ? 5 : 13)) {
      case 0:
        return ['restart', sup.id, child]
      case 1:
        return ['terminate', sup.id, child]
      case 2:
        return ['delete', sup.id, child]
      case 3: {
        const node = this.#node(2, false, sup.auto)
        sup.children.push(node.id)
        return ['start', sup.id, node]
      }
      case 4:
        return ['start', sup.id, this.#refused(sup)]
      case 5: {
        // Of one supervisor: two of them would get on in any order.
        const workers = sup.children.filter((id) => this.#workers.includes(id))
        return ['all', workers.slice(0, 2).map((id): Step => ['kill', id])]
      }
      case 6:
      case 7:
        return ['kill', worker!]
      case 8:
        // Of one supervisor, as above.
        return this.#link(sup.children.filter((id) => this.#workers.includes(id)))
      default:
        return ['exit', worker!, this.#pick('normal', 'shutdown', 'shutdown_term', 'error')]
    }
  }

  #link(workers: readonly string[]): Step {
    return workers.length === 0 ? ['all', []] : ['link', this.#pick(...workers), this.#pick(...workers)]
  }

  #simpleStep(sup: { id: string; children: string[] }): Step {
    const known = sup.children.length > 0 ? this.#pick(...sup.children) : undefined
    if (this.#chance(0.1)) return [this.#pick('restart', 'delete'), sup.id, known ?? 'nobody']
    if (known === undefined || this.#chance(0.4)) {
      const life = this.#chance(0.6)
        ? []
        : [this.#pick('ok', 'ok', 'fail', 'ignore'), this.#pick('ok', 'fail')]
      const node: InstanceNode = {
        kind: 'instance',
        id: `i${++this.#ids}`,
        life: life as Life,
        goodbye: 'ok',
      }
      sup.children.push(node.id)
      this.#workers.push(node.id)
      return ['start', sup.id, node]
    }
    if (this.#chance(0.3)) return ['terminate_instance', sup.id, known]
    return this.#chance(0.5) ? ['kill', known] : ['exit', known, this.#pick('normal', 'shutdown', 'error')]
  }
}
