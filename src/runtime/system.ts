import type { ResourceLimits } from 'node:worker_threads'
import { EventEmitter } from 'eventemitter3'
import {
  type ActorDefinition,
  type ActorRef,
  type AnyContract,
  type AnyRef,
  type ChildSpec,
  type ExitReason,
  killed,
  type Logger,
  MailactorsError,
  type SpawnOptions,
  type StartChildResult,
  UsageError,
} from '../actors/index.ts'
import { silentLog } from './actor-log.ts'
import { Ids } from './ids.ts'
import { type ActorInfo, treeOf } from './inspect.ts'
import type { RestartedEvent, RuntimeObserver, TerminatedEvent } from './observer.ts'
import type { Ref } from './ref.ts'
import { root } from './root.ts'
import { ThreadRuntime } from './thread-runtime.ts'
import { systemTime, type Time } from './time.ts'

export interface SystemOptions {
  /** Name in the log. */
  readonly name?: string
  /** Plain data every actor reads with `context.setting(key)`. */
  readonly settings?: Readonly<Record<string, unknown>>
  readonly log?: Logger
  /** Children of the root supervisor, started in this order. */
  readonly children?: readonly ChildSpec[]
  /** Pools of actor threads by name. A placement in a pool that is not there means the spawner's own thread. */
  readonly pools?: Readonly<Record<string, PoolOptions>>
  /** Restarts of the root's children, in all, before the system gives up. Default 3 within 5 s. */
  readonly intensity?: number
  readonly periodMs?: number
  /** @internal Virtual in tests. */
  readonly time?: Time
  /** @internal */
  readonly deadLetter?: (ref: Ref, type: string, body: readonly unknown[]) => void
}

/** Limits of one pool of actor threads. */
export interface PoolOptions {
  /** Threads kept running. Default 1. */
  readonly minThreads?: number
  /** Most threads. Default `minThreads`. */
  readonly maxThreads?: number
  /** Most actors on one thread; 1 gives each a thread of its own. Default 10 000. */
  readonly actorsPerThread?: number
  /** A thread that has started so many actors is drained and replaced; 0: never. Default 0. */
  readonly maxUse?: number
  /** Milliseconds without an actor after which a thread beyond `minThreads` ends. Default 100 s. */
  readonly maxIdle?: number
  /** Limits of V8 for each thread. */
  readonly resourceLimits?: ResourceLimits
}

export interface SystemEvents {
  'actor.terminated': [TerminatedEvent]
  'actor.restarted': [RestartedEvent]
}

/** The system could not start; `cause` says why. Everything that had started was stopped again. */
export class StartError extends MailactorsError {
  readonly code = 'MA_START'
}

const defaultStopMs = 30_000

/** A running system of actors. Several can run in one process and know nothing of each other. */
export class ActorSystem {
  /** Lifecycle events, for observers only: nothing depends on anyone listening. */
  readonly events = new EventEmitter<SystemEvents>()
  /** Resolves when the root supervisor has ended: after `stop`, or when it gave up. */
  readonly ended: Promise<ExitReason>

  readonly #runtime: ThreadRuntime
  readonly #options: SystemOptions
  #root: Ref | undefined
  #markEnded: (reason: ExitReason) => void = () => {}
  #rootReason: ExitReason | undefined
  #stopping: Promise<void> | undefined
  /** Actors started with `spawn`, in start order. */
  readonly #loose = new Map<number, Ref>()

  private constructor(options: SystemOptions) {
    this.#options = options
    const { events } = this
    const observer: RuntimeObserver = {
      terminated: (event) => {
        this.#loose.delete(event.actorId)
        if (event.actorId === this.#root?.id) {
          this.#rootReason = event.reason
          this.#markEnded(event.reason)
        }
        events.emit('actor.terminated', event)
      },
      restarted: (event) => events.emit('actor.restarted', event),
      ...(options.deadLetter === undefined ? {} : { deadLetter: options.deadLetter }),
    }
    this.ended = new Promise((resolve) => {
      this.#markEnded = resolve
    })
    this.#runtime = new ThreadRuntime({
      thread: 0,
      ids: new Ids(),
      time: options.time ?? systemTime,
      log: options.log ?? silentLog,
      settings: options.settings ?? {},
      observer,
    })
  }

  /**
   * Starts a system and waits until the `init` of each child is done.
   * @throws StartError when one of them fails.
   */
  static async start(options: SystemOptions = {}): Promise<ActorSystem> {
    const system = new ActorSystem(options)
    await system.#startRoot()
    return system
  }

  async #startRoot(): Promise<void> {
    const { children = [], intensity = 3, periodMs = 5_000 } = this.#options
    const reason = await new Promise<ExitReason | undefined>((resolve) => {
      this.#root = this.#runtime.spawn({
        definition: root,
        args: { children, intensity, periodMs },
        options: {},
        started: resolve,
      })
    })
    if (reason === undefined) return
    await this.stop()
    throw new StartError(
      `the system did not start: ${reason.message ?? reason.kind}`,
      { reason: reason.kind, code: reason.code },
      { cause: reason },
    )
  }

  /** Starts an actor that nobody supervises; it ends when the system stops at the latest. */
  spawn<C extends AnyContract, A>(
    definition: ActorDefinition<C, A>,
    args: A,
    options: SpawnOptions = {},
  ): ActorRef<C> {
    this.#mustRun()
    const ref = this.#runtime.spawn({ definition, args, options })
    this.#loose.set(ref.id, ref)
    return ref as ActorRef as ActorRef<C>
  }

  /** Starts a child of the root supervisor. */
  startChild(spec: ChildSpec): Promise<StartChildResult> {
    this.#mustRun()
    return this.#root!.askWith({ timeoutMs: Infinity }, 'startChild', spec)
  }

  /** Ends an actor at once, without asking it. For tests and operators; supervisors do it by themselves. */
  kill(ref: AnyRef): void {
    this.#runtime.exit(this.#root ?? (ref as Ref), ref as Ref, killed)
  }

  /** The actor registered under `name`, on whatever thread. */
  whereis<C extends AnyContract = AnyContract>(name: string): ActorRef<C> | undefined {
    return this.#runtime.registry.whereis(name) as ActorRef | undefined as ActorRef<C> | undefined
  }

  /** All living actors: the root's tree first, then those started with `spawn`. */
  async inspect(): Promise<ActorInfo[]> {
    return treeOf(this.#runtime.rows())
  }

  /** @internal Whether no actor of this thread has anything to do. */
  get isIdle(): boolean {
    return this.#runtime.scheduler.isIdle
  }

  /**
   * Ends the actor whose code threw `error`, for the program's handler of uncaught errors. `false`: it was not
   * the code of an actor, so the program has to decide.
   */
  attribute(error: unknown): boolean {
    return this.#runtime.attribute(error)
  }

  /**
   * Stops all actors: those started with `spawn`, latest first, then the root's children in reverse start order, each
   * within its own shutdown time. What is left after `timeoutMs` (default 30 s) is killed.
   */
  stop(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#stopping ??= this.#stop(options.timeoutMs ?? defaultStopMs)
    return this.#stopping
  }

  async #stop(timeoutMs: number): Promise<void> {
    const { time } = this.#runtime
    let alarm: { cancel(): void } | undefined
    const late = new Promise<'late'>((resolve) => {
      alarm = time.schedule(() => resolve('late'), timeoutMs)
    })
    const root = this.#root
    await Promise.race([this.#stopInOrder(root), late])
    alarm?.cancel()
    this.#runtime.close()
    this.#markEnded({ kind: 'shutdown' })
  }

  async #stopInOrder(root: Ref | undefined): Promise<void> {
    for (const ref of [...this.#loose.values()].reverse()) {
      this.#runtime.exit(root ?? ref, ref, { kind: 'shutdown' })
    }
    if (this.#loose.size > 0) await this.#until(() => this.#loose.size === 0)
    if (root === undefined || this.#rootReason !== undefined) return
    root.cell?.stop({ kind: 'shutdown' }, true)
    await this.ended
  }

  #until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return
        this.events.off('actor.terminated', look)
        resolve()
      }
      this.events.on('actor.terminated', look)
    })
  }

  #mustRun(): void {
    if (this.#stopping !== undefined) throw new UsageError('the system has stopped')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
