/**
 * Routers: actors that take the messages of others and pass each on to one of them. Who asks gets the answer of the
 * one that handled it, as if there were no router in between; order is kept per sender and routee.
 */
import { anyMessage } from './any-message.ts'
import type { ActorContext } from './context.ts'
import type { AnyContract, KeyOf } from './contract.ts'
import { type ActorDefinition, type ActorOptions, actor, type Down } from './definition.ts'
import { UsageError } from './errors.ts'
import { errorReason } from './exit-reason.ts'
import type { GroupsContract } from './groups.ts'
import { HashRing } from './hash-ring.ts'
import type { ActorRef, AnyRef } from './ref.ts'

/** Those a router passes messages on to: a group, as it changes; names, whoever has them; or refs, until they end. */
export type Routees =
  | {
      readonly group: string
      /** Registered name of the `groups` actor. Default `groups`. */
      readonly groups?: string
    }
  | { readonly names: readonly string[] }
  | { readonly refs: readonly AnyRef[] }

/**
 * - `round_robin`: one after the other.
 * - `least_loaded`: the one with the fewest messages of this router that it has not finished.
 * - `consistent_hash`: the same for the same key; when routees come and go, few keys move.
 */
export type RoutingStrategy = 'round_robin' | 'least_loaded' | 'consistent_hash'

export interface RouterOptions<C extends AnyContract> {
  readonly name: string
  readonly module: string
  readonly maxQueue?: number
  /** Default `round_robin`. */
  readonly strategy?: RoutingStrategy
  /** Of `consistent_hash`. What it throws refuses the message. */
  readonly key?: KeyOf<C, string | number>
}

interface Routee {
  /** What it is on the ring. */
  readonly name: string
  /** Undefined while nobody has the name. */
  readonly ref: AnyRef | undefined
}

/** Message by which a router reminds itself to look for its group again. */
const again = 'router.again'
const againMs = 100

/**
 * Defines a router for actors of contract `C`; start it with its routees as arguments. Without a living routee asks
 * fail with `MA_NO_ACTOR`, and messages that were told are dead letters.
 */
export function router<C extends AnyContract>(options: RouterOptions<C>): ActorDefinition<C, Routees> {
  const { strategy = 'round_robin', key, ...rest } = options
  if (strategy === 'consistent_hash' && key === undefined) {
    throw new UsageError('router: consistent_hash needs a key', { name: options.name })
  }
  const definition = {
    ...rest,
    async init(context: ActorContext, args: Routees) {
      const routing = new Routing(context, args, strategy, key as unknown as AnyKey | undefined)
      await routing.start()
      return routing.handlers()
    },
  }
  return actor(definition as unknown as ActorOptions<C, Routees>)
}

type AnyKey = (type: string, ...body: readonly unknown[]) => string | number

class Routing {
  readonly #context: ActorContext
  readonly #args: Routees
  readonly #strategy: RoutingStrategy
  readonly #key: AnyKey | undefined
  #routees: readonly Routee[] = []
  #ring: HashRing | undefined
  #turn = 0
  /** Messages each routee has not finished, by its id. */
  readonly #load = new Map<number, number>()

  constructor(context: ActorContext, args: Routees, strategy: RoutingStrategy, key: AnyKey | undefined) {
    this.#context = context
    this.#args = args
    this.#strategy = strategy
    this.#key = key
  }

  async start(): Promise<void> {
    const args = this.#args
    this.#context.runtime.hearEndsFirst()
    if ('names' in args) this.#setRoutees(args.names.map((name) => ({ name, ref: undefined })))
    else if ('refs' in args) {
      this.#setRefs(args.refs)
      for (const ref of args.refs) this.#context.monitor(ref)
    } else await this.#follow()
  }

  handlers(): object {
    return anyMessage((type, body) => this.#route(type, body), {
      handleDown: ({ ref }: Down) => this.#setRefs(this.#living().filter(({ id }) => id !== ref.id)),
      [again]: () => this.#follow().catch(() => this.#followAgain()),
    })
  }

  #setRefs(refs: readonly AnyRef[]): void {
    this.#setRoutees(refs.map((ref) => ({ name: String(ref.id), ref })))
  }

  #setRoutees(routees: readonly Routee[]): void {
    this.#routees = routees
    if (this.#strategy === 'consistent_hash') this.#ring = new HashRing(routees.map(({ name }) => name))
  }

  /** Keeps the members of the group. Resolves when they are known for the first time. */
  async #follow(): Promise<void> {
    const { group, groups: name = 'groups' } = this.#args as { group: string; groups?: string }
    const groups = this.#context.whereis<GroupsContract>(name) as ActorRef<GroupsContract> | undefined
    if (groups === undefined) throw new UsageError(`router: no groups actor has the name '${name}'`)
    const reader = groups.stream('follow', group)
    const first = await reader.next()
    if (first.done === true) throw new UsageError('router: the groups actor ended')
    this.#setRefs(first.value)
    const keepUp = async () => {
      for await (const members of reader) this.#setRefs(members)
    }
    // The last known members stay until there is a groups actor again.
    keepUp().then(
      () => this.#followAgain(),
      () => this.#followAgain(),
    )
  }

  readonly #followAgain = (): void => {
    const { sendAfter } = this.#context as unknown as { sendAfter(ms: number, type: string): number }
    try {
      sendAfter.call(this.#context, againMs, again)
    } catch {
      // This router has ended, and its reader with it.
    }
  }

  #living(): AnyRef[] {
    const living: AnyRef[] = []
    for (const routee of this.#routees) {
      const ref = this.#refOf(routee)
      if (ref !== undefined) living.push(ref)
    }
    return living
  }

  #refOf({ name, ref }: Routee): AnyRef | undefined {
    return 'names' in this.#args ? this.#context.whereis(name) : ref
  }

  #route(type: string, body: readonly unknown[]): unknown {
    let ref: AnyRef | undefined
    try {
      ref = this.#pick(type, body)
    } catch (error) {
      const reason = errorReason(error)
      return this.#context.runtime.refuse('down', `its key failed: ${reason.message}`, reason)
    }
    if (ref === undefined) return this.#context.runtime.refuse('no_actor', 'the router has no routee for it')
    if (this.#strategy !== 'least_loaded') return this.#context.runtime.passOn(ref, type, body)
    const { id } = ref
    this.#load.set(id, (this.#load.get(id) ?? 0) + 1)
    return this.#context.runtime.passOn(ref, type, body, () => {
      const load = (this.#load.get(id) ?? 0) - 1
      if (load > 0) this.#load.set(id, load)
      else this.#load.delete(id)
    })
  }

  #pick(type: string, body: readonly unknown[]): AnyRef | undefined {
    const { length } = this.#routees
    if (this.#ring !== undefined) {
      const routee = this.#routees[this.#ring.find(this.#key!(type, ...body))]
      return routee === undefined ? undefined : this.#refOf(routee)
    }
    // From where the last one was found, so that equals take turns.
    let best: AnyRef | undefined
    let least = Infinity
    let found = this.#turn
    for (let i = 1; i <= length && least > 0; i++) {
      const index = (this.#turn + i) % length
      const ref = this.#refOf(this.#routees[index]!)
      if (ref === undefined) continue
      const load = this.#strategy === 'round_robin' ? 0 : (this.#load.get(ref.id) ?? 0)
      if (load >= least) continue
      least = load
      best = ref
      found = index
    }
    this.#turn = found
    return best
  }
}
