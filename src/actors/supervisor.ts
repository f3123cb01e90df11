/**
 * Supervision trees, as in OTP 25. This file has the words (specs, results, contract); the supervisor's
 * behaviour is `supervisor-behaviour.ts`.
 */
import type { Socket } from 'node:net'
import type { Backoff } from './backoff.ts'
import type { ActorContext, Placement } from './context.ts'
import type { AnyContract, Contract } from './contract.ts'
import type { ActorDefinition, AnyActorDefinition } from './definition.ts'
import type { ExitReason, ignore } from './exit-reason.ts'
import type { ActorRef } from './ref.ts'

/**
 * - `permanent`: always restarted.
 * - `transient`: restarted unless it ended `normal` or `shutdown`.
 * - `temporary`: never restarted, and forgotten when it ends.
 */
export type Restart = 'permanent' | 'transient' | 'temporary'

/** @internal Name of the message that asks a supervisor to move a child off a thread that drains. */
export const moveChild = 'supervisor.move-child'

/** Milliseconds to stop by itself before it is killed; `infinity` for supervisors; `brutal_kill` does not ask. */
export type Shutdown = number | 'infinity' | 'brutal_kill'

export interface ChildSpec {
  /** Unique within its supervisor. */
  readonly id: string
  readonly actor: AnyActorDefinition
  /** Argument of `init`, at the first start and at each restart. */
  readonly args?: unknown
  readonly placement?: Placement
  /** Registered name, kept across restarts. */
  readonly registerAs?: string
  /** An accepted socket the child becomes the owner of; only for temporary children of a supervisor on this thread. */
  readonly socket?: Socket
  /** Default `permanent`. */
  readonly restart?: Restart
  /** Default 5000 for workers, `infinity` for supervisors. */
  readonly shutdown?: Shutdown
  /** Its end may end the supervisor, see `autoShutdown`. Not for permanent children. */
  readonly significant?: boolean
  /** Waits before restarts of this child; without it the supervisor's. */
  readonly backoff?: Backoff
}

/**
 * A child spec whose `args` the compiler holds against its actor. At run time it is the spec itself: a plain object does as well.
 *
 *     children: [child({ id: 'store', actor: store, args: { file } })]
 */
export function child<C extends AnyContract, A>(spec: TypedChildSpec<C, A>): ChildSpec {
  return spec
}

/** What `child` takes: `args` must be given where the actor wants some. */
export type TypedChildSpec<C extends AnyContract, A> = Omit<ChildSpec, 'actor' | 'args'> & {
  readonly actor: ActorDefinition<C, A>
} & (undefined extends A ? { readonly args?: NoInfer<A> } : { readonly args: NoInfer<A> })

/**
 * - `one_for_one`: only the child that ended is restarted.
 * - `one_for_all`: all others are stopped and all restarted.
 * - `rest_for_one`: those started after it are stopped and restarted with it.
 * - `simple_one_for_one`: all children are started dynamically from one template (`startChild(args)`).
 */
export type Strategy = 'one_for_one' | 'one_for_all' | 'rest_for_one' | 'simple_one_for_one'

export interface SupervisorSpec {
  readonly strategy: Strategy
  /** More than this many restarts within `periodMs` and the supervisor gives up: it stops itself. Default 1, as OTP. */
  readonly intensity?: number
  /** Default 5000. */
  readonly periodMs?: number
  /** Whether the end of significant children ends the supervisor. Default `never`. */
  readonly autoShutdown?: 'never' | 'any_significant' | 'all_significant'
  /**
   * Beyond OTP, for many children of their own kind, a session each for instance: temporary children start and stop beside
   * each other, so that a slow `init` or a long goodbye holds up nobody else. Default false: one at a time, in order, and
   * requests wait.
   */
  readonly concurrent?: boolean
  /** Waits before restarts of its children, where the child has none of its own. Default: none, as OTP. */
  readonly backoff?: Backoff
  /** Started in this order, stopped in reverse. For `simple_one_for_one`: exactly one, the template. */
  readonly children: readonly ChildSpec[]
}

/** An end of a child that was not `normal` or `shutdown`. */
export interface Crash {
  /** Milliseconds since the epoch. */
  readonly atMs: number
  /** Without the stack, which is in the log. */
  readonly reason: ExitReason
}

/** One row of `whichChildren`, in start order. */
export interface ChildInfo {
  readonly id: string
  readonly ref: ActorRef | null
  readonly state: 'running' | 'restarting' | 'stopped'
  readonly type: 'worker' | 'supervisor'
  readonly name: string
  readonly restarts: number
  readonly lastExit: ExitReason | null
  /** The last five, the latest last; failed starts count. */
  readonly crashes: readonly Crash[]
}

export interface ChildCounts {
  readonly specs: number
  readonly active: number
  readonly supervisors: number
  readonly workers: number
}

/**
 * OTP's answers: `already_present` (a child with this id that does not run now), `already_started`, `not_found`, `running`,
 * `restarting`, `simple_one_for_one`. `ignored` is OTP's `{ok, undefined}`: its `init` returned `ignore`, so there is no
 * ref; the spec stays unless it is temporary. `invalid`: a wrong spec. `failed`: its `init` failed.
 */
export type ChildError =
  | 'already_present'
  | 'already_started'
  | 'not_found'
  | 'running'
  | 'restarting'
  | 'simple_one_for_one'
  | 'ignored'
  | 'invalid'
  | 'failed'

export type StartChildResult =
  | { readonly ok: true; readonly ref: ActorRef }
  | { readonly ok: false; readonly error: ChildError; readonly reason?: ExitReason }

export type ChildResult = { readonly ok: true } | { readonly ok: false; readonly error: ChildError }

/** What every supervisor answers. */
export type SupervisorContract = Contract<{
  startChild(spec: ChildSpecMessage): StartChildResult
  /** Stops a child; its spec stays (unless it is temporary). */
  terminateChild(id: string): ChildResult
  /** Starts a stopped child again. */
  restartChild(id: string): StartChildResult
  /** Removes the spec of a stopped child. */
  deleteChild(id: string): ChildResult
  whichChildren(): readonly ChildInfo[]
  countChildren(): ChildCounts
}>

/** A child spec as a message: its arguments must be able to cross a thread. */
// biome-ignore lint/suspicious/noExplicitAny: ChildSpec with unknown args is checked where the spec is written
export type ChildSpecMessage = any

/** Arguments of a supervisor actor: `init` returns the spec, anew at each restart. */
export interface SupervisorOptions<A> {
  readonly name: string
  readonly module: string
  /** `ignore` instead of a spec: the supervisor is not needed now. */
  init(
    context: ActorContext,
    args: A,
  ): SupervisorSpec | typeof ignore | Promise<SupervisorSpec | typeof ignore>
}
