import type { ActorContext } from './context.ts'
import type { AnyContract, Body, MessageType, Reply, ReservedName } from './contract.ts'
import { UsageError } from './errors.ts'
import type { ExitReason, ignore } from './exit-reason.ts'
import type { AnyRef } from './ref.ts'

/** A reply that is given later, while the actor goes on with other messages. Settle it once. */
export class Deferred<R> {
  #settle: ((error: unknown, value: R | undefined, failed: boolean) => void) | undefined
  #early: [unknown, R | undefined, boolean] | undefined

  resolve(value: R): void {
    this.#finish(undefined, value, false)
  }

  /** The caller's ask rejects with `error` as exit reason; this actor goes on. */
  reject(error: unknown): void {
    this.#finish(error, undefined, true)
  }

  #finish(error: unknown, value: R | undefined, failed: boolean): void {
    if (this.#settle === undefined) this.#early ??= [error, value, failed]
    else this.#settle(error, value, failed)
  }

  /** @internal The runtime connects the asker here. */
  connect(settle: (error: unknown, value: R | undefined, failed: boolean) => void): void {
    this.#settle = settle
    if (this.#early !== undefined) settle(...this.#early)
  }
}

/** What a handler may return for a reply of type `R`: the value, a promise (the actor waits), or a `Deferred` (it does not). */
export type HandlerResult<R> = R | Promise<R> | Deferred<R>

/** Said of an actor that was monitored. */
export interface Down {
  /** What `context.monitor` returned. */
  readonly monitor: number
  readonly ref: AnyRef
  readonly reason: ExitReason
}

/** One method per message of the contract, and the lifecycle callbacks. May be a plain object or a class instance. */
export type Handlers<C extends AnyContract> = {
  [K in MessageType<C> as K extends ReservedName ? never : K]: (
    ...body: Body<C, K>
  ) => HandlerResult<Reply<C, K>> | Promise<Deferred<Reply<C, K>> | Reply<C, K>>
} & {
  /** Called once before the actor is gone, except when it is killed or its thread dies. */
  terminate?(reason: ExitReason): void | Promise<void>
  /** An actor monitored with `context.monitor` ended. */
  handleDown?(down: Down): void | Promise<void>
  /**
   * Only with `context.trapExit()`: a linked actor ended. Without it the end of a linked actor, unless `normal`,
   * ends this one too.
   */
  handleExit?(ref: AnyRef, reason: ExitReason): void | Promise<void>
}

export interface ActorOptions<C extends AnyContract, A> {
  /** What people see in the tree and the log. Unique within its module; within a bundle, unique in all of it. */
  readonly name: string
  /** `import.meta.url` of the module that makes the definition: other threads import it from there. */
  readonly module: string
  /** Most messages that may wait; beyond it `tell` is false and `ask` fails `MA_OVERLOADED`. Default 10 000. */
  readonly maxQueue?: number
  /**
   * `solitary`: one actor of it at a time in the whole system, and only in a pool of at most one thread. `unlimited`: only
   * where no limit keeps one from starting, a pool with `actorsPerThread: Infinity`. Starts elsewhere fail with `MA_USAGE`.
   */
  readonly limit?: 'solitary' | 'unlimited' | undefined
  /**
   * Milliseconds in which no actor of this kind is started, anywhere (`MA_QUARANTINED`), after one failed before any on its
   * thread had handled a message or ended well. Default 0: supervision alone decides.
   */
  readonly throttleMs?: number
  /**
   * It serves its thread, as what keeps idle connections there: it counts as no actor of the pool, keeps no thread from
   * ending, and is asked to end when all others of a draining thread have. Default false.
   */
  readonly resident?: boolean
  /**
   * Starts the actor and returns its handlers. Runs again, with the same arguments, at each restart, so state
   * that must survive is read from where it is stored. The supervisor waits for it. `ignore` instead of handlers: there
   * is nothing to do, the actor ends `normal` and its supervisor goes on without it.
   */
  init(context: ActorContext<C>, args: A): Handlers<C> | typeof ignore | Promise<Handlers<C> | typeof ignore>
}

export interface ActorDefinition<C extends AnyContract, A = undefined> extends ActorOptions<C, A> {
  readonly kind: 'actor'
  readonly type?: 'worker' | 'supervisor'
}

/** A definition whatever its contract and arguments. */
export interface AnyActorDefinition {
  readonly kind: 'actor'
  /** Whether it supervises others. Set by `supervisor()`. */
  readonly type?: 'worker' | 'supervisor'
  readonly name: string
  readonly module: string
  readonly maxQueue?: number
  readonly limit?: 'solitary' | 'unlimited' | undefined
  readonly throttleMs?: number
  readonly resident?: boolean
  // biome-ignore lint/suspicious/noExplicitAny: accepts every contract
  init(context: any, args: any): any
}

/**
 * Defines an actor. Make it at the top of the module whose `import.meta.url` it names, and best export it, so that any
 * thread can find it:
 *
 *     export const counter = actor<Counter, { start: number }>({
 *       name: 'counter',
 *       module: import.meta.url,
 *       init(_context, { start }) {
 *         let total = start
 *         return { add(by) { total += by }, total: () => total }
 *       },
 *     })
 *
 * @throws UsageError without a name, a module or an init.
 */
export function actor<C extends AnyContract, A = undefined>(
  options: ActorOptions<C, A>,
): ActorDefinition<C, A> {
  if (typeof options !== 'object' || options === null) throw new UsageError('actor: options are missing')
  if (typeof options.name !== 'string' || options.name === '') throw new UsageError('actor: name is missing')
  if (typeof options.module !== 'string' || !options.module.includes(':')) {
    throw new UsageError('actor: module must be import.meta.url of the module that exports it', {
      name: options.name,
    })
  }
  if (typeof options.init !== 'function')
    throw new UsageError('actor: init is missing', { name: options.name })
  const { name, maxQueue = 1, throttleMs = 0, limit } = options
  if (maxQueue !== Infinity && !(Number.isInteger(maxQueue) && maxQueue >= 1)) {
    throw new UsageError(`actor: maxQueue must be an integer of at least 1, or Infinity`, { name })
  }
  if (!(typeof throttleMs === 'number' && throttleMs >= 0)) {
    throw new UsageError('actor: throttleMs must be milliseconds, at least 0', { name })
  }
  if (limit !== undefined && limit !== 'solitary' && limit !== 'unlimited') {
    throw new UsageError(`actor: no such limit: ${String(limit)} (there are solitary and unlimited)`, {
      name,
    })
  }
  const definition = Object.freeze(new Definition(options)) as unknown as ActorDefinition<C, A>
  remember(definition)
  return definition
}

/**
 * Definitions by module and name, as far as there is one of each; `several` where there are more. A bundle exports few
 * of the definitions that are in it, and yet other threads know them by no more than this.
 */
const made = new Map<string, AnyActorDefinition | 'several'>()

/** Definitions are few and made once. A program that makes them by the thousand has to export them. */
const mostMade = 10_000

function remember(definition: AnyActorDefinition): void {
  const key = `${definition.module}\n${definition.name}`
  if (made.has(key)) made.set(key, 'several')
  else if (made.size < mostMade) made.set(key, definition)
}

/** @internal The definition of that name that the module made in this thread, exported or not. */
export function madeIn(module: string, name: string): AnyActorDefinition | 'several' | undefined {
  return made.get(`${module}\n${name}`)
}

/** @internal What `actor` returns. It is a class so that messages know a definition from other objects. */
export class Definition {
  readonly kind = 'actor'
  declare readonly name: string
  declare readonly module: string

  constructor(options: { readonly name: string; readonly module: string }) {
    Object.assign(this, options)
  }
}
