import type { Socket } from 'node:net'
import type { AnyContract, Body, MessageType, Reply } from './contract.ts'
import type { ActorDefinition, AnyActorDefinition, Deferred } from './definition.ts'
import type { AskFailure } from './errors.ts'
import type { ExitReason } from './exit-reason.ts'
import type { ActorRef, AnyRef } from './ref.ts'
import type { Crash } from './supervisor.ts'

/** Where an actor is put: this thread, a named pool (least loaded thread of it), or the thread of another actor. */
export type Placement = 'here' | { readonly pool: string } | { readonly nextTo: AnyRef }

export interface SpawnOptions {
  readonly placement?: Placement
  /** Registers the actor under this name; `context.whereis` finds it from every thread. */
  readonly registerAs?: string
  /**
   * An accepted TCP socket that becomes the new actor's own: it moves natively to the other thread. It must be
   * paused and unread. The actor takes it with `context.takeSocket()`. If the spawn fails it is destroyed.
   */
  readonly socket?: Socket
}

/** Structured log in pino's shape: facts first, then a sentence for people. */
export interface Logger {
  trace(facts: object, text?: string): void
  debug(facts: object, text?: string): void
  info(facts: object, text?: string): void
  warn(facts: object, text?: string): void
  error(facts: object, text?: string): void
  fatal(facts: object, text?: string): void
  /** Whether lines of this level are written at all; saves building the facts. */
  isLevelEnabled(level: string): boolean
}

/** Writes nothing. */
export const silentLog: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  fatal() {},
  isLevelEnabled: () => false,
}

/** Time as actors see it; virtual in tests. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that never jumps. */
  monotonic(): number
}

/** What an actor can do. Belongs to one actor; do not hand it to another. */
export interface ActorContext<C extends AnyContract = AnyContract> {
  readonly self: ActorRef<C>
  /** The actor that started this one; for supervised children their supervisor. */
  readonly parent: AnyRef | undefined
  readonly log: Logger
  readonly clock: Clock

  /**
   * Starts an actor and links to it. Returns its ref at once; messages told to it wait until its `init` is
   * done. Prefer a supervisor: this is for helpers that live and die with this actor.
   */
  spawnLink<D extends AnyContract, A>(
    definition: ActorDefinition<D, A>,
    args: A,
    options?: SpawnOptions,
  ): ActorRef<D>

  /** Ends this actor after the current handler. Default reason `normal`. Messages still waiting are answered `MA_DOWN`. */
  stop(reason?: ExitReason): void
  /**
   * Asks another actor to end with `reason`; `killed` does not ask. As in OTP, `normal` ends no actor but oneself; who
   * traps with `trapExit` gets a `handleExit`, from itself too, and ends in its turn when it is its parent that asks.
   */
  exit(ref: AnyRef, reason: ExitReason): void

  /** Calls `handleDown` once when `ref` ends; at once, reason `no_actor`, if it is not there. Returns the monitor's id. */
  monitor(ref: AnyRef): number
  /** Takes a monitor back. Its `handleDown` is not called afterwards. */
  demonitor(monitor: number): void
  link(ref: AnyRef): void
  /** @throws UsageError for a child's link to its supervisor: nobody would account for it. */
  unlink(ref: AnyRef): void
  /** From now on the end of a linked actor is a call of `handleExit` instead of this actor's own end. */
  trapExit(on?: boolean): void

  /**
   * Puts the message in hand aside, with whoever waits for its reply, until `unstashAll`: return what it returns. What
   * is put aside counts for the bound of the message queue. @throws UsageError outside of a message's handler.
   */
  stash<R>(): Deferred<R>
  /** The messages put aside are the next to be handled, in the order they came. */
  unstashAll(): void
  /**
   * Passes the message in hand on, or another one in its place: its reply goes to who asked, its failure too. Return
   * what it returns. The ask stays good when this actor ends. With a full queue a message that was told is dropped.
   */
  forward<D extends AnyContract, K extends MessageType<D>>(
    to: ActorRef<D>,
    type: K,
    ...body: Body<D, K>
  ): Deferred<Reply<D, K>>

  /**
   * A message to this actor itself that is the next it handles, before all that wait and before any word of an end, as
   * OTP's `{continue, …}`: `init` answers at once and does the slow part so, before any request. Of several the last is
   * first. The bound of the queue does not refuse it; gone when the handler in hand fails or stops the actor.
   */
  continue<K extends MessageType<C>>(type: K, ...body: Body<C, K>): void

  /** Sends a message to this actor after `delayMs`. Returns an id for `cancelTimer`; gone with the actor. */
  sendAfter<K extends MessageType<C>>(delayMs: number, type: K, ...body: Body<C, K>): number
  cancelTimer(timer: number): void

  /**
   * Wraps a callback (a socket event, a promise's `then`) so that it runs on behalf of this actor: what it
   * throws ends this actor and nobody else, and after the actor's end it is not called at all. It runs at once,
   * between the awaits of a handler that is waiting: keep to synchronous work in it.
   */
  // biome-ignore lint/suspicious/noExplicitAny: any callback
  bind<F extends (...args: any[]) => void>(callback: F): (...args: Parameters<F>) => void

  /** The actor registered under `name`, wherever it lives. */
  whereis<D extends AnyContract = AnyContract>(name: string): ActorRef<D> | undefined
  /** Registers this actor; throws UsageError if another living actor has the name. Gone with the actor. */
  register(name: string): void

  /** The socket this actor was spawned with; its owner from now on. The second call returns undefined. */
  takeSocket(): Socket | undefined

  /**
   * The settings the system was started with under `key`, the same in each thread: for what all actors need
   * and no message should carry again and again.
   */
  setting<T>(key: string): T | undefined

  /**
   * What the actors of one thread share, made by the first that asks. Only for things that cannot be sent, such
   * as open connections that a keeper lends to deliveries started next to it; everything else is a message.
   */
  local<T>(key: string, create: () => T): T

  /** Replaceable parts of the runtime, for supervisors. */
  readonly runtime: ContextRuntime
}

/** @internal What supervisors need beyond other actors. Callbacks run outside of the message queue, also while a handler waits. */
export interface ContextRuntime {
  /**
   * Starts a child and links it to the calling actor. `started` is called once: without a reason when its `init`
   * is done, with the reason when it ended before. Throws UsageError when it cannot even be tried.
   */
  spawnChild(
    definition: AnyActorDefinition,
    args: unknown,
    options: ChildStart,
    started: (reason: ExitReason | undefined) => void,
  ): ActorRef
  /**
   * Asks a linked child to end and kills it when it takes longer than `shutdown`. `ended` is called once it is gone;
   * its end is then no `handleExit`.
   */
  stopChild(
    ref: AnyRef,
    shutdown: number | 'infinity' | 'brutal_kill',
    ended: (reason: ExitReason) => void,
  ): void
  /** A message to the calling actor itself, which the bound of its queue does not refuse. */
  remind(type: string, ...body: readonly unknown[]): void
  /**
   * From now on the calling actor hears of ends before messages that wait: for those who pass messages on, and must not pass
   * them to who has ended.
   */
  hearEndsFirst(): void
  /** Messages to the calling actor itself, in this order before all that wait; the bound does not refuse them either. */
  insert(messages: readonly (readonly [type: string, ...body: unknown[]])[]): void
  /**
   * Calls `callback` once when the calling actor has ended, killed included, which no handler of it hears of: to give back
   * what nobody else would. Not on its behalf, so it must not throw. Of several calls the last one counts.
   */
  atEnd(callback: () => void): void
  /** From 0, less than 1; seeded in tests. */
  random(): number
  /**
   * As `forward`. `settled` is called once, when whoever got the message has finished it, was told
   * included, or never will. Return what it returns.
   */
  passOn(to: AnyRef, type: string, body: readonly unknown[], settled?: () => void): Deferred<unknown>
  /** The message in hand fails for who asked; one that was told is a dead letter. Return what it returns. */
  refuse(failure: AskFailure, why: string, reason?: ExitReason): Deferred<unknown>
  /** Writes the log line and the event `actor.restarted`. */
  restarted(child: RestartedChild): void
}

/** @internal */
export interface ChildStart extends SpawnOptions {
  /** Id in its supervisor, for the tree. */
  readonly childId: string
  /** How often it was restarted before. */
  readonly restarts: number
  /** How its predecessors failed, the last few. */
  readonly crashes?: readonly Crash[]
}

/** @internal */
export interface RestartedChild {
  readonly childId: string
  readonly name: string
  readonly actorId: number
  readonly reason: ExitReason
  readonly restarts: number
}
