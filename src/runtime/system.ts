import { performance } from 'node:perf_hooks'
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
  type SpawnOptions,
  type StartChildResult,
  shutdown,
  silentLog,
  UsageError,
} from '../actors/index.ts'
import type { ThreadTask } from './control.ts'
import { heapBytes } from './heap.ts'
import { Ids } from './ids.ts'
import { type ActorInfo, treeOf } from './inspect.ts'
import { Jobs, type JobsOptions } from './jobs.ts'
import { LoadTable } from './load-table.ts'
import type { LogOptions } from './log.ts'
import { looseActors } from './loose.ts'
import { MainPulse } from './main-pulse.ts'
import type { DeadLetterEvent, RestartedEvent, RuntimeObserver, TerminatedEvent } from './observer.ts'
import { Peers } from './peers.ts'
import type {
  PoolQuarantinedEvent,
  PoolResizedEvent,
  ThreadEvent,
  ThreadExitEvent,
  ThreadRecycledEvent,
  ThreadStalledEvent,
  ThreadStatistics,
} from './pool-events.ts'
import type { PoolOptions } from './pool-options.ts'
import { Pools } from './pools.ts'
import { ownRef, type Ref } from './ref.ts'
import { logLevels } from './remote-log.ts'
import { root } from './root.ts'
import type { RunQueue } from './scheduler.ts'
import { canMoveSockets } from './socket-probe.ts'
import { StartError } from './start-error.ts'
import { ThreadRuntime } from './thread-runtime.ts'
import type { Threads } from './threads.ts'
import { systemTime, type Time } from './time.ts'
import { Placer } from './topology.ts'
import { createDoorbell } from './transport/index.ts'

export type { ActorInfo } from './inspect.ts'
export type { PoolStatistics, ThreadStatistics } from './pool-events.ts'
export type { PoolOptions } from './pool-options.ts'
export { StartError } from './start-error.ts'

export interface SystemOptions {
  /** Name in the log. */
  readonly name?: string
  /** Plain data every actor reads with `context.setting(key)`. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** A logger, or what to make one of on each thread. With a logger the lines of other threads are sent to main. */
  readonly log?: Logger | LogOptions
  /** What the other threads make a log of, when `log` is a logger: their lines then need not go through main. */
  readonly threadLog?: LogOptions
  /** Pools of actor threads by name. A placement in another pool is a UsageError; without any pools it is the spawner's own thread. */
  readonly pools?: Readonly<Record<string, PoolOptions>>
  /** The pool of `system.jobs`. It starts no thread before the first job. */
  readonly jobs?: JobsOptions
  /** Children of the root supervisor, started in this order. */
  readonly children?: readonly ChildSpec[]
  /** Restarts of the root's children, in all, before the system gives up. Default 3 within 5 s. */
  readonly intensity?: number
  readonly periodMs?: number
  /**
   * Look at each message and reply for values that could not cross a thread, also where none is crossed, and throw
   * where they are sent. For development; `TestSystem` does it. Costs about as much as sending. Default false.
   */
  readonly checkMessages?: boolean
  /** Microseconds a thread looks for messages of others before it sleeps; wakes faster, uses the core. Default 0. */
  readonly spinUs?: number
  /**
   * For programs that are bundled together with this package: `import.meta.url` of the bundle. Its threads import it, and
   * it has `export { runThread } from 'mailactors'` for them; the program's own part runs only `if (import.meta.main)`.
   */
  readonly entry?: string
  /** @internal Where jitter comes from on main: from 0, less than 1; seeded in tests. */
  readonly random?: () => number
  /** @internal Virtual in tests. */
  readonly time?: Time
  /** @internal Threads that are none, and turns that are drawn from a seed, for tests. */
  readonly simulation?: Simulation
  /** @internal */
  readonly deadLetter?: (ref: Ref, type: string, body: readonly unknown[]) => void
}

/** @internal What a simulated system is made of. */
export interface Simulation {
  readonly scheduler: RunQueue
  /** Called once, with what runs the actors of main. */
  begin(main: ThreadRuntime): void
  threads(parts: SimulationParts): { readonly threads: ThreadHost; readonly peers: Peers }
}

/** @internal What a simulation gets to make its threads from. */
export interface SimulationParts {
  readonly runtime: ThreadRuntime
  readonly ids: Ids
  readonly pools: Readonly<Record<string, PoolOptions>>
  readonly observer: RuntimeObserver
  readonly onStarted: (event: ThreadEvent) => void
  readonly onExit: (event: ThreadExitEvent) => void
}

/** @internal The threads as the system sees them. */
export type ThreadHost = Pick<Threads, keyof Threads>

/** For observers only: nothing depends on anyone listening. */
export interface SystemEvents {
  /** On other threads than main only ends that are not `normal` or `shutdown`. */
  'actor.terminated': [TerminatedEvent]
  'actor.restarted': [RestartedEvent]
  /** Messages were lost: a summary of each thread, at most once in ten seconds. */
  'actor.dead-letter': [DeadLetterEvent]
  'pool.resized': [PoolResizedEvent]
  'pool.quarantined': [PoolQuarantinedEvent]
  'thread.recycled': [ThreadRecycledEvent]
  'thread.stalled': [ThreadStalledEvent]
  'thread.started': [ThreadEvent]
  'thread.exit': [ThreadExitEvent]
}

const defaultStopMs = 30_000
/** For threads without actors to end by themselves. */
const threadStopMs = 2_000
/** Main's slot in the load table. */
const mainSlot = 0

/** A running system of actors. Several can run in one process and know nothing of each other. */
export class ActorSystem {
  readonly events = new EventEmitter<SystemEvents>()
  /** Resolves when the root supervisor has ended: after `stop`, or when it gave up. */
  readonly ended: Promise<ExitReason>

  readonly #runtime: ThreadRuntime
  readonly #options: SystemOptions
  readonly #ids = new Ids()
  readonly #log: Logger
  #peers: Peers | undefined
  #threads: ThreadHost | undefined
  #root: Ref | undefined
  #markEnded: (reason: ExitReason) => void = () => {}
  #stopping: Promise<void> | undefined
  /** Parent of the actors started with `spawn`. */
  #loose: Ref | undefined
  /** Called at the end of an actor of main, by its id. */
  readonly #endings = new Map<number, () => void>()

  private constructor(options: SystemOptions, log: Logger) {
    this.#options = options
    this.#log = log
    this.jobs = new Jobs(options.jobs ?? {}, this.#log, options.entry)
    this.ended = new Promise((resolve) => {
      this.#markEnded = resolve
    })
    this.#runtime = new ThreadRuntime({
      thread: 0,
      ids: this.#ids,
      time: options.time ?? systemTime,
      ...(options.random === undefined ? {} : { random: options.random }),
      log: this.#log,
      settings: options.settings ?? {},
      checkMessages: options.checkMessages ?? false,
      observer: this.#observer(),
      ...(options.simulation === undefined ? {} : { scheduler: options.simulation.scheduler }),
    })
    options.simulation?.begin(this.#runtime)
  }

  #observer(): RuntimeObserver {
    const { deadLetter } = this.#options
    return {
      terminated: (event) => {
        if (event.actorId === this.#root?.id) this.#markEnded(event.reason)
        this.#endings.get(event.actorId)?.()
        this.#emit('actor.terminated', event)
      },
      restarted: (event) => this.#emit('actor.restarted', event),
      deadLetters: (event) => this.#emit('actor.dead-letter', event),
      quarantined: (kind, ms) => this.#threads?.quarantineKind(kind, ms),
      ...(deadLetter === undefined ? {} : { deadLetter }),
    }
  }

  /** Nothing depends on observers, so neither does anything on whether they throw. */
  #emit<K extends keyof SystemEvents>(name: K, event: SystemEvents[K][0]): void {
    try {
      const emit = this.events.emit as (name: K, event: SystemEvents[K][0]) => boolean
      emit.call(this.events, name, event)
    } catch (error) {
      this.#log.error(
        { event: 'observer.failed', observed: name, error: messageOf(error) },
        'observer failed',
      )
    }
  }

  /**
   * Starts a system: its threads, then the root's children, and waits until the `init` of each is done.
   * @throws StartError when a thread or a child does not start.
   */
  static async start(options: SystemOptions = {}): Promise<ActorSystem> {
    if (typeof options !== 'object' || options === null)
      throw new UsageError('start: options must be an object')
    const system = new ActorSystem(options, await loggerOf(options))
    try {
      await system.#startThreads()
      await system.#startRoot()
    } catch (error) {
      await system.stop()
      throw error instanceof StartError
        ? error
        : new StartError(`the system did not start: ${messageOf(error)}`, {}, { cause: error })
    }
    return system
  }

  async #startThreads(): Promise<void> {
    const { pools = {}, checkMessages = false, spinUs = 0 } = this.#options
    if (Object.keys(pools).length === 0) return
    checkSettings(this.#runtime.settings)
    const runtime = this.#runtime
    if (this.#options.simulation !== undefined) return this.#startSimulated(this.#options.simulation, pools)
    const load = new LoadTable()
    const placer = new Placer(0, load)
    const mainDoorbell = createDoorbell()
    this.#peers = new Peers({
      runtime,
      doorbell: mainDoorbell,
      load,
      placer,
      slot: mainSlot,
      checkMessages,
      spinUs,
    })
    // Only where it is needed: each thread loads this file, because its actors import the library.
    const { Threads } = await import('./threads.ts')
    const threads = new Threads({
      pools,
      peers: this.#peers,
      placer,
      load,
      ids: this.#ids,
      log: this.#log,
      threadLog: this.#threadLog(),
      mainDoorbell,
      mainControl: {
        terminated: (event) => this.#emit('actor.terminated', event),
        restarted: (event) => this.#emit('actor.restarted', event),
        deadLetters: (event) => this.#emit('actor.dead-letter', event),
        log: (level, facts, text) => this.#log[level](facts, text),
      },
      settings: () => runtime.settings,
      checkMessages,
      spinUs,
      entry: this.#options.entry,
      onStarted: (event) => this.#emit('thread.started', event),
      onExit: (event) => this.#emit('thread.exit', event),
      onResized: (event) => this.#emit('pool.resized', event),
      onRecycled: (event) => this.#emit('thread.recycled', event),
      onStalled: (event) => this.#emit('thread.stalled', event),
      onQuarantined: (event) => this.#emit('pool.quarantined', event),
      onKindQuarantined: (kind, ms) => runtime.quarantine(kind, ms),
    })
    this.#threads = threads
    this.#mainPulse.start()
    placer.makeRoom = threads.makeRoom.bind(threads)
    const [movesSockets] = await Promise.all([canMoveSockets(), threads.start()])
    this.#peers.movesSockets = movesSockets
  }

  async #startSimulated(simulation: Simulation, pools: Readonly<Record<string, PoolOptions>>): Promise<void> {
    const { threads, peers } = simulation.threads({
      runtime: this.#runtime,
      ids: this.#ids,
      pools,
      observer: this.#observer(),
      onStarted: (event) => this.#emit('thread.started', event),
      onExit: (event) => this.#emit('thread.exit', event),
    })
    this.#threads = threads
    this.#peers = peers
    await threads.start()
  }

  #threadLog(): ThreadTask['log'] {
    const { threadLog, log } = this.#options
    const options = threadLog ?? (log === undefined || isLogger(log) ? undefined : log)
    if (options !== undefined) return { options }
    return { levels: logLevels.filter((level) => this.#log.isLevelEnabled(level)) }
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
    // The links know the children already; with very many of them another table would be felt.
    const children = () => [...(this.#loose?.cell?.relations.links() ?? [])]
    this.#loose ??= this.#runtime.spawn({ definition: looseActors, args: { children }, options: {} })
    const parent = this.#loose.cell!
    // Also before its `init`: the first one may be killed at once.
    parent.traps = true
    const ref = this.#runtime.spawn({ definition, args, options, parent, link: true })
    return ref as ActorRef as ActorRef<C>
  }

  /** Starts a child of the root supervisor. */
  startChild(spec: ChildSpec): Promise<StartChildResult> {
    this.#mustRun()
    return this.#root!.askWith({ timeoutMs: Infinity }, 'startChild', spec)
  }

  /** Ends an actor at once, without asking it. For tests and operators; supervisors do it by themselves. */
  kill(ref: AnyRef): void {
    const own = ownRef(ref, this.#runtime.home)
    this.#runtime.ties.exit(this.#root ?? own, own, killed)
  }

  /** Ends a thread at once, as a crash would. `false`: there is none of that number. */
  killThread(thread: number): boolean {
    return this.#threads?.kill(thread) ?? false
  }

  /** The actor registered under `name`, on whatever thread. */
  whereis<C extends AnyContract = AnyContract>(name: string): ActorRef<C> | undefined {
    return this.#runtime.registry.whereis(name) as ActorRef | undefined as ActorRef<C> | undefined
  }

  /** All living actors: the root's tree first, then those started with `spawn`. Threads too busy to answer are left out. */
  async inspect(): Promise<ActorInfo[]> {
    const rows = this.#runtime.rows()
    rows.push(...((await this.#threads?.rows()) ?? []))
    const roots = treeOf(rows)
    return roots.flatMap((info) => (info.id === this.#loose?.id ? info.children : [info]))
  }

  /** The pools: their sizes, which may change while the system runs, and their threads. */
  readonly pools = new Pools(() => [this.#threads, this.jobs])

  /** Stateless work for the processor, on threads of its own; they start with the first job. */
  readonly jobs: Jobs

  readonly #startedAt = performance.now()
  readonly #mainPulse = new MainPulse()

  /** The threads in numbers, main first. */
  async threads(): Promise<ThreadStatistics[]> {
    const main: ThreadStatistics = {
      pool: 'main',
      thread: 0,
      state: 'running',
      uptimeMs: Math.round(performance.now() - this.#startedAt),
      ...this.#mainPulse.read(),
      actors: this.#runtime.actorCount,
      started: this.#runtime.spawned,
      ...this.#mainLoad(),
    }
    return [main, ...((await this.#threads?.statistics()) ?? [])]
  }

  #before = performance.eventLoopUtilization()

  #mainLoad(): { utilization: number; heapBytes: number } {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#before)
    this.#before = now
    return { utilization, heapBytes: heapBytes() }
  }

  /**
   * Replaces settings, on all threads; actors see them from their next `context.setting` on. Keys not given stay.
   *
   * @throws UsageError for what cannot be sent to threads; nothing has changed then.
   */
  async configure(settings: Readonly<Record<string, unknown>>): Promise<void> {
    if (this.#threads !== undefined) checkSettings(settings)
    const next = { ...this.#runtime.settings, ...settings }
    this.#runtime.settings = next
    await this.#threads?.configure(next)
  }

  /** @internal Which refs are of this system. */
  get home(): object {
    return this.#runtime.home
  }

  /** @internal Whether no actor of this thread has anything to do. */
  get isIdle(): boolean {
    return this.#runtime.scheduler.isIdle
  }

  /**
   * Ends the actor whose code threw `error`, for the program's handler of uncaught errors on the main thread.
   * `false`: it was not the code of an actor, so the program has to decide.
   */
  attribute(error: unknown): boolean {
    return this.#runtime.attribute(error)
  }

  /**
   * Stops all actors: those started with `spawn`, latest first, then the root's children in reverse start order, each
   * within its own shutdown time; then the threads. What is left after `timeoutMs` (default 30 s) is killed.
   */
  stop(options: { timeoutMs?: number } = {}): Promise<void> {
    this.#stopping ??= this.#stop(options.timeoutMs ?? defaultStopMs)
    return this.#stopping
  }

  async #stop(timeoutMs: number): Promise<void> {
    const runtime = this.#runtime
    let ring = () => {}
    const late = new Promise<void>((resolve) => {
      ring = resolve
    })
    const alarm = runtime.time.schedule(ring, timeoutMs)
    await Promise.race([this.#stopInOrder(), late])
    alarm.cancel()
    this.#mainPulse.stop()
    await this.jobs.stop()
    await this.#threads?.stop(threadStopMs)
    runtime.close()
    this.#peers?.close()
    this.#markEnded(shutdown)
  }

  async #stopInOrder(): Promise<void> {
    await this.#stopTop(this.#loose)
    await this.#stopTop(this.#root)
  }

  /** Ends an actor of main that has no parent, and waits until it has ended. */
  #stopTop(ref: Ref | undefined): Promise<void> {
    return new Promise((resolve) => {
      const cell = ref?.cell
      if (cell === undefined || cell.state === 'ended') return resolve()
      this.#endings.set(cell.id, resolve)
      cell.stop(shutdown, true)
    })
  }

  #mustRun(): void {
    if (this.#stopping !== undefined) throw new UsageError('the system has stopped')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** @throws UsageError when a setting could not be had by other threads, the next ones to start among them. */
function checkSettings(settings: Readonly<Record<string, unknown>>): void {
  if (typeof settings !== 'object' || settings === null) throw new UsageError('settings must be an object')
  for (const [key, value] of Object.entries(settings)) {
    try {
      structuredClone(value)
    } catch (cause) {
      throw new UsageError(
        `setting ${key} cannot be sent to threads: ${messageOf(cause)}`,
        { key },
        { cause },
      )
    }
  }
}

async function loggerOf({ log = silentLog, name }: SystemOptions): Promise<Logger> {
  if (isLogger(log)) return log
  const { createLogger } = await import('./log.ts')
  return createLogger(log, { thread: 0, ...(name === undefined ? {} : { system: name }) })
}

function isLogger(log: Logger | LogOptions): log is Logger {
  return typeof (log as Logger).isLevelEnabled === 'function'
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
