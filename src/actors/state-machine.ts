/**
 * Actors as finite state machines, after OTP's `gen_statem`: what a message does depends on the state, and is said by
 * a function from the data and the message to a transition. The functions act on nothing, so that tests call them;
 * what is to be done stands in the transition's `effect`.
 *
 *     export const door = stateMachine<Door, 'locked' | 'open', { code: string }, { code: string }>({
 *       name: 'door',
 *       module: import.meta.url,
 *       init: (_context, { code }) => ({ state: 'locked', data: { code } }),
 *       states: {
 *         locked: {
 *           enter: ({ code }, typed) => (typed === code ? { next: 'open', reply: true } : { reply: false }),
 *           walkThrough: () => ({ postpone: true }),
 *         },
 *         open: {
 *           onEnter: () => ({ stateTimeoutMs: 5_000 }),
 *           onStateTimeout: () => ({ next: 'locked' }),
 *           enter: () => ({ reply: true }),
 *           walkThrough: () => ({}),
 *         },
 *       },
 *     })
 */
import type { ActorContext } from './context.ts'
import type { AnyContract, Body, MessageType, Reply, ReservedName } from './contract.ts'
import { type ActorDefinition, type ActorOptions, actor, Deferred, type Down } from './definition.ts'
import { UsageError } from './errors.ts'
import type { ExitReason } from './exit-reason.ts'
import type { AnyRef } from './ref.ts'

/** What a message or timeout does. All of it is optional: `{}` keeps everything as it is. */
export interface Transition<C extends AnyContract, S extends string, D, R = undefined> {
  /** The state from now on. Another one than before: its `onEnter` is called, and postponed messages are handled again. */
  readonly next?: S
  /** The data from now on. */
  readonly data?: D
  /** Reply to the message, now or by a `Deferred` kept in the data. */
  readonly reply?: R | Deferred<R>
  /** Handle this message again in the next other state; who asked waits. */
  readonly postpone?: boolean
  /** Calls `onEnter` also when the state stays the same; its timeout and what was postponed stay as they are. */
  readonly repeat?: boolean
  /** Messages to the machine itself, handled next: before those that wait, and before postponed ones that come back. */
  readonly insert?: readonly Inserted<C>[]
  /** `onStateTimeout` after this time in the same state; `Infinity` takes it back. */
  readonly stateTimeoutMs?: number
  /** `onEventTimeout` when no message and no other timeout comes for so long. */
  readonly eventTimeoutMs?: number
  /** Timeouts by name, which no change of state takes back, only `Infinity`: `onTimeout`. */
  readonly timeouts?: { readonly [name: string]: number }
  /** What is to be done: runs when the new state holds. What it throws ends the actor. */
  readonly effect?: (context: ActorContext<C>) => void
  /** Ends the actor after the reply. */
  readonly stop?: ExitReason
}

/** A message with its body, as for `tell`. */
export type Inserted<C extends AnyContract> = {
  readonly [K in MessageType<C>]: readonly [type: K, ...body: Body<C, K>]
}[MessageType<C>]

/** On `onEnter`, which cannot change the state it has just entered. */
export type EnterTransition<C extends AnyContract, S extends string, D> = Omit<
  Transition<C, S, D>,
  'next' | 'reply' | 'postpone' | 'repeat' | 'insert'
>

type Now<T> = T | undefined | void
type Said<T> = Now<T> | Promise<Now<T>>
type Callback = 'onEnter' | 'onStateTimeout' | 'onEventTimeout' | 'onTimeout' | 'onDown' | 'onExit'

/** What one state does with messages, timeouts and ends. A message that no state knows is refused, as by other actors. */
export type StateHandlers<C extends AnyContract, S extends string, D> = {
  readonly [K in MessageType<C> as K extends ReservedName | Callback ? never : K]?: (
    data: D,
    ...body: Body<C, K>
  ) => Said<Transition<C, S, D, Reply<C, K>>>
} & {
  /** The state begins; `previous` is undefined at the start of the actor. */
  onEnter?(data: D, previous: S | undefined): Now<EnterTransition<C, S, D>>
  onStateTimeout?(data: D): Said<Transition<C, S, D>>
  onEventTimeout?(data: D): Said<Transition<C, S, D>>
  onTimeout?(data: D, name: string): Said<Transition<C, S, D>>
  /** An actor monitored with `context.monitor` ended. */
  onDown?(data: D, down: Down): Said<Transition<C, S, D>>
  /** With `context.trapExit`: a linked actor ended. */
  onExit?(data: D, ref: AnyRef, reason: ExitReason): Said<Transition<C, S, D>>
}

export interface StateMachineOptions<C extends AnyContract, S extends string, D, A>
  extends Omit<ActorOptions<C, A>, 'init'> {
  /** The first state and its data. */
  init(context: ActorContext<C>, args: A): Start<S, D> | Promise<Start<S, D>>
  readonly states: { readonly [N in S]: StateHandlers<C, S, D> }
  /** For what a state says nothing of. */
  readonly always?: StateHandlers<C, S, D>
  /** As of other actors, with what it was in last. */
  terminate?(reason: ExitReason, state: S, data: D): void | Promise<void>
}

interface Start<S, D> {
  readonly state: S
  readonly data: D
}

type AnyTransition<D> = Transition<AnyContract, string, D, unknown>
type AnyHandler<D> = (data: D, ...body: readonly unknown[]) => Said<AnyTransition<D>>
type AnyHandlers<D> = { readonly [message: string]: AnyHandler<D> | undefined }

/** Message by which a machine tells itself of a timeout. */
const timeout = 'state-machine.timeout'
const callbacks: ReadonlySet<string> = new Set<Callback>([
  'onEnter',
  'onStateTimeout',
  'onEventTimeout',
  'onTimeout',
  'onDown',
  'onExit',
])

/** Defines an actor as a finite state machine, see above. @throws UsageError as `actor`, and without states. */
export function stateMachine<C extends AnyContract, S extends string, D, A = undefined>(
  options: StateMachineOptions<C, S, D, A>,
): ActorDefinition<C, A> {
  const { init, states, always, terminate, ...rest } = options
  if (typeof states !== 'object' || states === null || Object.keys(states).length === 0) {
    throw new UsageError('stateMachine: states are missing', { name: options.name })
  }
  const definition = {
    ...rest,
    async init(context: ActorContext<C>, args: A) {
      const start = await init(context, args)
      const machine = new Machine<D>(
        context as unknown as ActorContext,
        states as unknown as { [state: string]: AnyHandlers<D> },
        (always ?? {}) as AnyHandlers<D>,
        start,
      )
      machine.start()
      return machine.handlers((reason) => terminate?.(reason, machine.state as S, machine.data))
    },
  }
  return actor(definition as unknown as ActorOptions<C, A>)
}

interface Timeout {
  readonly number: number
  /** None for one of no time: the machine tells itself at once. */
  readonly timer: number | undefined
  isTold?: boolean
}

class Machine<D> {
  state: string
  data: D
  readonly #context: ActorContext
  readonly #states: { readonly [state: string]: AnyHandlers<D> }
  readonly #always: AnyHandlers<D>
  /** Timeouts that have been set: the number tells a late one from its successor. */
  readonly #timeouts = new Map<string, Timeout>()
  #postponed = 0
  /** Messages at the head of the queue that were put there by the machine itself. */
  #first = 0
  #number = 0

  constructor(
    context: ActorContext,
    states: { readonly [state: string]: AnyHandlers<D> },
    always: AnyHandlers<D>,
    start: Start<string, D>,
  ) {
    this.#context = context
    this.#states = states
    this.#always = always
    this.state = start.state
    this.data = start.data
    if (states[start.state] === undefined) throw new UsageError(`there is no state '${start.state}'`)
  }

  handlers(terminate: (reason: ExitReason) => void | Promise<void>): object {
    const handlers: Record<string, unknown> = {
      [timeout]: (key: string, number: number) => this.#timedOut(key, number),
      handleDown: (down: Down) => this.#event('onDown', [down]),
      handleExit: (ref: AnyRef, reason: ExitReason) => this.#event('onExit', [ref, reason]),
      terminate,
    }
    for (const state of [this.#always, ...Object.values(this.#states)]) {
      for (const type of Object.keys(state)) {
        if (!callbacks.has(type)) handlers[type] = (...body: unknown[]) => this.#message(type, body)
      }
    }
    return handlers
  }

  #handler(type: string): AnyHandler<D> | undefined {
    return this.#states[this.state]?.[type] ?? this.#always[type]
  }

  #message(type: string, body: readonly unknown[]): unknown {
    this.#taken()
    this.#cancel('event')
    const handler = this.#handler(type)
    if (handler === undefined) return this.#refuse(type)
    const said = handler(this.data, ...body)
    if (said instanceof Promise)
      return said.then((transition) => this.#apply(this.#checked(type, transition)))
    return this.#apply(this.#checked(type, said))
  }

  /** @throws UsageError for what is no transition: the name of a state alone, for instance. */
  #checked(type: string, said: Now<AnyTransition<D>>): AnyTransition<D> {
    if (said === undefined || said === null) return {}
    if (typeof said === 'object' && !Array.isArray(said)) return said
    const { state } = this
    const what = typeof said === 'string' ? `'${said}'` : `a ${Array.isArray(said) ? 'list' : typeof said}`
    throw new UsageError(`'${type}' in state '${state}' returned ${what}, not a transition`, { state, type })
  }

  #refuse(type: string): Deferred<unknown> {
    const { state } = this
    this.#context.log.error(
      { event: 'actor.unknown-message', state, type },
      'message was not expected in this state',
    )
    const answer = new Deferred<unknown>()
    answer.reject(new UsageError(`takes no message '${type}' in state '${state}'`, { state, type }))
    return answer
  }

  /** What is no message: nobody waits for a reply, and none is postponed. */
  #event(type: Callback, body: readonly unknown[]): void | Promise<void> {
    if (type !== 'onEventTimeout') this.#cancel('event')
    const said = this.#handler(type)?.(this.data, ...body)
    if (said instanceof Promise) {
      return said.then((transition) => void this.#apply(this.#checked(type, transition)))
    }
    this.#apply(this.#checked(type, said))
    return undefined
  }

  #taken(): void {
    if (this.#first > 0) this.#first--
  }

  #timedOut(key: string, number: number): void | Promise<void> {
    this.#taken()
    // Another one may have been set, or the state changed, while it waited in the queue.
    if (this.#timeouts.get(key)?.number !== number) {
      this.#insertElapsed()
      return undefined
    }
    this.#timeouts.delete(key)
    if (key === 'state') return this.#event('onStateTimeout', [])
    if (key === 'event') return this.#event('onEventTimeout', [])
    return this.#event('onTimeout', [key.slice(1)])
  }

  /** Returns what the message's handler is to return. */
  #apply(transition: AnyTransition<D>): unknown {
    const { next = this.state, repeat = false, postpone = false, insert = [], effect, stop } = transition
    // Before the postponed ones come back, among which it is then.
    const answer = postpone ? this.#context.stash<unknown>() : transition.reply
    if (postpone) this.#postponed++
    this.#adopt(transition)
    const previous = this.state
    const isOther = next !== previous
    if (isOther) {
      if (this.#states[next] === undefined)
        throw new UsageError(`there is no state '${next}'`, { state: next })
      this.state = next
      this.#cancel('state')
    }
    this.#setTimeouts(transition)
    if (isOther || repeat) this.enter(previous)
    if (isOther) this.#unpostpone()
    this.#insert(insert)
    this.#insertElapsed()
    effect?.(this.#context)
    if (stop !== undefined) this.#context.stop(stop)
    return answer
  }

  /** Begins in the first state. */
  start(): void {
    this.enter()
    this.#insertElapsed()
  }

  /** Calls the state's `onEnter`. */
  enter(previous?: string): void {
    const said = this.#handler('onEnter')?.(this.data, previous) as Now<AnyTransition<D>>
    if (said === undefined) return
    this.#adopt(said)
    this.#setTimeouts(said)
    said.effect?.(this.#context)
    if (said.stop !== undefined) this.#context.stop(said.stop)
  }

  #adopt(transition: AnyTransition<D>): void {
    if (transition.data !== undefined) this.data = transition.data
  }

  #setTimeouts({ stateTimeoutMs, eventTimeoutMs, timeouts }: AnyTransition<D>): void {
    if (stateTimeoutMs !== undefined) this.#set('state', stateTimeoutMs)
    if (eventTimeoutMs !== undefined) this.#set('event', eventTimeoutMs)
    if (timeouts !== undefined) for (const [name, ms] of Object.entries(timeouts)) this.#set(`:${name}`, ms)
  }

  #set(key: string, ms: number): void {
    this.#cancel(key)
    if (ms === Infinity) return
    const number = ++this.#number
    if (ms === 0) {
      this.#timeouts.set(key, { timer: undefined, number })
      return
    }
    const timer = this.#context.sendAfter(ms, timeout, key, number)
    this.#timeouts.set(key, { timer, number })
  }

  #unpostpone(): void {
    this.#context.unstashAll()
    this.#first += this.#postponed
    this.#postponed = 0
  }

  #insert(messages: readonly (readonly [type: string, ...body: unknown[]])[]): void {
    if (messages.length === 0) return
    this.#context.runtime.insert(messages)
    this.#first += messages.length
  }

  /** Timeouts of no time go before what others have sent, and after what the machine itself has put first. */
  #insertElapsed(): void {
    if (this.#first > 0) return
    const elapsed = [...this.#timeouts].filter(([, { timer, isTold }]) => timer === undefined && !isTold)
    for (const [, set] of elapsed) set.isTold = true
    this.#insert(elapsed.map(([key, { number }]) => [timeout, key, number] as const))
  }

  #cancel(key: string): void {
    const set = this.#timeouts.get(key)
    if (set === undefined) return
    this.#timeouts.delete(key)
    if (set.timer !== undefined) this.#context.cancelTimer(set.timer)
  }
}
