import type { Socket } from 'node:net'
import type { AnyActorDefinition, AskFailure, Crash, ExitReason, Placement } from '../actors/index.ts'
import type { StreamFrame } from './frames.ts'
import type { Ref } from './ref.ts'
import type { PoolPlaces } from './topology.ts'

/** A remote start as it is asked for. */
export interface RemoteSpawn {
  readonly id: number
  readonly definition: AnyActorDefinition
  readonly args: unknown
  readonly parent: Ref | undefined
  readonly link: boolean
  readonly childId: string | undefined
  readonly restarts: number
  readonly registerAs: string | undefined
  readonly socket: Socket | undefined
  /** Whether the spawner wants to hear of the end of `init`. */
  readonly report: boolean
  /** How its predecessors failed; none where it had none. */
  readonly crashes: readonly Crash[] | undefined
}

/**
 * The other threads of the system, as one thread sees them. A thread alone has none. Only `message` and `ask` can
 * be refused (`false`: no room); everything else arrives as long as the other thread lives, in order.
 */
export interface Cluster {
  /** Number of the thread to start an actor on. */
  place(placement: Placement, socket: Socket | undefined): number
  /** The pool of that name, if there is one. */
  poolPlaces(pool: string): PoolPlaces | undefined
  /** Whether there is such a thread now. */
  isAlive(thread: number): boolean
  /** As `ask`, undefined: there is no such thread. `withinMs`: as `tellWith` has it. */
  message(to: Ref, type: string, body: readonly unknown[], withinMs: number): boolean | undefined
  /** `window`: of a stream; 0 asks for one reply. */
  ask(to: Ref, ask: number, type: string, body: readonly unknown[], window: number): boolean | undefined
  answer(thread: number, ask: number, value: unknown): void
  refuse(thread: number, ask: number, failure: AskFailure, why: string, reason: ExitReason | undefined): void
  /** What a stream's ends tell each other; `ask` is the number of the reader's ask. @throws UsageError for an item that cannot be sent. */
  stream(thread: number, ask: number, what: StreamFrame, items: number, value?: unknown): void
  /** Also moves the socket. @throws UsageError when the arguments cannot be sent; nothing has happened then. */
  spawn(thread: number, spawn: RemoteSpawn): void
  /** An actor of this thread started or ended. */
  count(delta: 1 | -1): void
  started(parent: Ref, child: Ref, reason: ExitReason | undefined): void
  signal(
    to: Ref,
    kind: 'exit' | 'link' | 'down' | 'kill',
    from: Ref | undefined,
    reason: ExitReason,
    monitor: number,
  ): void
  relate(to: Ref, what: 'link' | 'unlink' | 'watch' | 'unwatch', from: Ref, monitor: number): void
}
