import {
  type ActorDefinition,
  type ActorRef,
  type AnyContract,
  type AnyRef,
  type ChildSpec,
  type ExitReason,
  MailactorsError,
  type SpawnOptions,
  type StartChildResult,
  silentLog,
  UsageError,
} from '../actors/index.ts'
import type { ActorInfo } from '../runtime/inspect.ts'
import type { ActorRow, RestartedEvent, TerminatedEvent } from '../runtime/observer.ts'
import { ownRef } from '../runtime/ref.ts'
import { ActorSystem, type SystemOptions } from '../runtime/system.ts'
import type { ThreadRuntime } from '../runtime/thread-runtime.ts'
import { Random } from './random.ts'
import { RealWork } from './real-work.ts'
import { type LostFrame, SimulatedThreads } from './simulated-threads.ts'
import { SimulationSteps } from './simulation.ts'
import type { RecordedMessage } from './trace.ts'
import { VirtualTime } from './virtual-time.ts'

export interface TestSystemOptions
  extends Pick<SystemOptions, 'settings' | 'log' | 'children' | 'intensity' | 'periodMs'> {
  /** What the clock says at first, milliseconds since the epoch. Default 2026-01-01T00:00:00Z. */
  readonly startTime?: number
  /**
   * Draws who runs next, and what arrives next, from this integer: the same seed, the same run. Default: actors take
   * turns in the order of asking; 1 with `threads`.
   */
  readonly seed?: number
  /** As of `ActorSystem`, but true by default. */
  readonly checkMessages?: boolean
  /** Simulated threads: how many each pool has. Default: none, and every placement is here. */
  readonly threads?: Readonly<Record<string, number>>
  /** Most virtual milliseconds a message between threads is under way, drawn for each. Default 0. */
  readonly latencyMs?: number
  /** Frames that fit on the way from one thread to another. Default 1000. */
  readonly ringFrames?: number
  /** Chance that the clock moves on although actors still have something to do, as on a slow machine. Default 0. */
  readonly lateness?: number
}

/** A message that nobody handled: its actor had ended, or ended before its turn. */
export interface DeadLetter {
  readonly to: number
  readonly type: string
  readonly body: readonly unknown[]
}

/** Ends that come at random. */
export interface ChaosOptions {
  /** Actors to kill. Default 0. */
  readonly actors?: number
  /** Threads to kill. Default 0. */
  readonly threads?: number
  /** The steps, from now, among which the moments are drawn. Default 200. */
  readonly withinSteps?: number
  /** Which actors may be killed. Default: all. */
  readonly only?: (actor: ActorRow) => boolean
}

/** Which ways between simulated threads; what is not said is any. Main is 0. */
export interface Way {
  readonly from?: number
  readonly to?: number
}

/** What was waited for did not come, with nothing left to do that could bring it. */
export class StuckError extends MailactorsError {
  readonly code = 'MA_STUCK'
}

const stuckMs = 500
const realWorkMs = 10_000

/**
 * A system whose clock moves only when the test moves it: timers, timeouts of asks, shutdown times and restart periods
 * are all of that clock. With a seed the order of events is drawn from it; with `threads` actors live on simulated threads, whose
 * messages cross as between real ones, and which can die.
 */
export class TestSystem {
  /** Everything sent to actors that had ended. */
  readonly deadLetters: DeadLetter[] = []
  /** Every end of an actor, in order. */
  readonly terminated: TerminatedEvent[] = []
  readonly restarted: RestartedEvent[] = []
  /** Ends of threads, as main learned of them: their numbers. */
  readonly threadsEnded: number[] = []
  readonly seed: number | undefined
  /** For what the test itself draws; not the one the order of events is drawn from. */
  readonly random: Random
  readonly #time: VirtualTime
  readonly #steps: SimulationSteps
  readonly #realWork = new RealWork()
  /** For what the actors leave to chance: the jitter of restarts. Apart from `random`, so that neither moves the other. */
  readonly #jitter: Random
  readonly #lateness: number
  #runtime!: ThreadRuntime
  #threads: SimulatedThreads | undefined
  #system!: ActorSystem
  /** Calls that move the clock themselves. */
  #advancing = 0

  private constructor(options: TestSystemOptions) {
    const { startTime = Date.UTC(2026, 0, 1), threads, latencyMs = 0, lateness = 0 } = options
    this.seed = options.seed ?? (threads === undefined ? undefined : 1)
    this.random = new Random((this.seed ?? 0) ^ 0x5eed)
    this.#jitter = new Random((this.seed ?? 0) ^ 0x717)
    this.#lateness = lateness
    this.#time = new VirtualTime(startTime)
    this.#steps = new SimulationSteps({ seed: this.seed, latencyMs }, this.#time)
  }

  /** @throws StartError when the `init` of a child fails. */
  static async start(options: TestSystemOptions = {}): Promise<TestSystem> {
    const { settings, log, children, intensity, periodMs, threads = {}, ringFrames = 1_000 } = options
    const test = new TestSystem(options)
    const main = test.#steps.addThread(0)
    const pools = Object.fromEntries(
      Object.entries(threads).map(([name, count]) => [name, { minThreads: count, maxThreads: count }]),
    )
    const starting = ActorSystem.start({
      ...defined({ settings, log, children, intensity, periodMs }),
      pools,
      random: () => test.#jitter.next(),
      checkMessages: options.checkMessages ?? true,
      time: test.#time,
      deadLetter: (ref, type, body) => test.deadLetters.push({ to: ref.id, type, body }),
      simulation: {
        scheduler: main,
        begin: (runtime) => {
          test.#runtime = runtime
        },
        threads(parts) {
          const logger = log !== undefined && 'isLevelEnabled' in log ? log : silentLog
          const simulated = new SimulatedThreads(test.#steps, test.#time, logger, parts, ringFrames)
          test.#threads = simulated
          return { threads: simulated.host, peers: simulated.main }
        },
      },
    })
    try {
      // With latency even a start takes time.
      test.#system = await (options.latencyMs === undefined ? starting : test.#drive(starting, stuckMs))
    } catch (error) {
      test.#realWork.close()
      throw error
    }
    const { events } = test.#system
    events.on('actor.terminated', (event) => test.terminated.push(event))
    events.on('actor.restarted', (event) => test.restarted.push(event))
    events.on('thread.exit', ({ thread }) => test.threadsEnded.push(thread))
    return test
  }

  /** The clock's time, milliseconds since the epoch. */
  now(): number {
    return this.#time.now()
  }

  spawn<C extends AnyContract, A>(
    definition: ActorDefinition<C, A>,
    args: A,
    options?: SpawnOptions,
  ): ActorRef<C> {
    return this.#system.spawn(definition, args, options)
  }

  whereis<C extends AnyContract = AnyContract>(name: string): ActorRef<C> | undefined {
    return this.#system.whereis<C>(name)
  }

  startChild(spec: ChildSpec): Promise<StartChildResult> {
    return this.#system.startChild(spec)
  }

  inspect(): Promise<ActorInfo[]> {
    return this.#system.inspect()
  }

  /** Resolves when the root supervisor has ended. */
  get ended(): Promise<ExitReason> {
    return this.#system.ended
  }

  /** The system below, for what is not repeated here. */
  get system(): ActorSystem {
    return this.#system
  }

  // --- What happened

  /** The messages that actors took, in the order of handling; the latest 100 000 at least. */
  get messages(): readonly RecordedMessage[] {
    return this.#steps.trace.messages
  }

  /** What was lost with threads that died: what was on its way to them, and what they had not published yet. */
  get lost(): readonly LostFrame[] {
    return this.#threads?.lost ?? []
  }

  /** Steps done so far. */
  get steps(): number {
    return this.#steps.trace.step
  }

  /** The latest steps, one line each: number, virtual time, thread (t0 is main), what was done. */
  trace(lines?: number): string[] {
    return this.#steps.trace.lines(lines)
  }

  // --- Time

  /** Waits until no actor has anything to do. Actors that wait for real I/O do not count. */
  async settle(): Promise<void> {
    // One more turn after the last: what it resolved may have given an actor a message.
    for (let quiet = 0; quiet < 2; quiet = this.#system.isIdle ? quiet + 1 : 0) await turn()
  }

  /** Moves the clock on, ringing every timer on the way at its time, each followed by `settle`. */
  async advance(ms: number): Promise<void> {
    this.#advancing++
    try {
      const end = this.#time.monotonic() + ms
      await this.#settleMaybe()
      while (this.#time.ringNext(end)) await this.#settleMaybe()
      if (this.#lateness > 0) await this.settle()
    } finally {
      this.#advancing--
    }
  }

  async #settleMaybe(): Promise<void> {
    if (!this.#steps.random.chance(this.#lateness)) return this.settle()
    for (let turns = this.#steps.random.below(4); turns > 0; turns--) await turn()
  }

  /**
   * Waits for `work` and moves the clock on, to the next timer, whenever nothing else is left to do. Real work of
   * actors, on the disk for instance, is waited for first.
   * @throws StuckError when `work` waits and no timer is left.
   */
  run<T>(work: Promise<T> | (() => Promise<T>)): Promise<T> {
    return this.#drive(typeof work === 'function' ? work() : work, stuckMs)
  }

  /**
   * Waits until `condition` says something else than `undefined` or `false`, and returns that. Looks after each step,
   * and moves the clock as `run` does.
   * @throws StuckError naming `what` when it does not within that many virtual milliseconds (default 60 000), or nothing is
   * left that could make it true.
   */
  async until<T>(
    what: string,
    condition: () => T | undefined | false | Promise<T | undefined | false>,
    withinMs = 60_000,
  ): Promise<T> {
    const end = this.#time.monotonic() + withinMs
    this.#advancing++
    try {
      for (let idleSince: number | undefined; ; ) {
        const looked = condition()
        const value = looked instanceof Promise ? await this.#drive(looked, stuckMs, true) : looked
        if (value !== undefined && value !== false) return value
        await turn()
        if (!this.#isIdle()) {
          idleSince = undefined
          continue
        }
        if (await this.#realWork.wait()) continue
        if (this.#time.next === undefined) {
          idleSince ??= performance.now()
          if (performance.now() - idleSince > stuckMs) throw new StuckError(`${what}: nothing is left to do`)
          await realMs(1)
        } else if (!this.#time.ringNext(end)) {
          throw new StuckError(`not within ${withinMs} virtual ms: ${what}`)
        }
      }
    } finally {
      this.#advancing--
    }
  }

  #isIdle(): boolean {
    return this.#steps.isIdle
  }

  /** `patienceMs`: real milliseconds without anything to do after which it is stuck. */
  async #drive<T>(work: Promise<T>, patienceMs: number, alone = false): Promise<T> {
    let done = false
    const finish = (): void => {
      done = true
    }
    work.then(finish, finish)
    let idleSince: number | undefined
    let realSince: number | undefined
    while (!done) {
      await turn()
      const others = alone ? this.#advancing - 1 : this.#advancing
      if (done || others > 0) continue
      if (!this.#isIdle()) {
        idleSince = undefined
        if (this.#lateness > 0 && this.#steps.random.chance(this.#lateness / 10)) this.#ring()
        continue
      }
      await turn()
      if (done || !this.#isIdle()) continue
      realSince ??= performance.now()
      if (performance.now() - realSince < realWorkMs && (await this.#realWork.wait())) continue
      if (this.#realWork.hasConnections) {
        // The other end of a connection may be about to say something.
        await realMs(5)
        if (done || !this.#isIdle()) continue
      }
      realSince = undefined
      if (this.#ring()) continue
      idleSince ??= performance.now()
      if (performance.now() - idleSince > patienceMs)
        throw new StuckError('nothing is left to do, and it still waits')
      await realMs(1)
    }
    return work
  }

  #ring(): boolean {
    const { next } = this.#time
    return next !== undefined && this.#time.ringNext(next)
  }

  // --- Faults

  /** Ends an actor at once, on whatever thread, without asking it. */
  kill(ref: AnyRef): void {
    this.#system.kill(ref)
  }

  /**
   * Ends a simulated thread at once. Its actors are gone without `terminate`; the others learn of it in steps of their
   * own. Of what it sent in its last turn some may be lost. @throws UsageError when there is none of that number.
   */
  killThread(thread: number): void {
    if (this.#threads?.kill(thread) !== true) throw new UsageError(`there is no thread ${thread}`, { thread })
  }

  /** Numbers of the simulated threads that live, without main. */
  get threads(): number[] {
    return this.#threads?.runtimes().map(({ thread }) => thread) ?? []
  }

  /** Nothing arrives by these ways until the result is called; the senders notice nothing. */
  hold(way: Way = {}): () => void {
    return this.#mark(way, 'held')
  }

  /**
   * Refuses messages until the result is called: to an actor, as if its queue were full, or by these ways, as if their
   * rings were.
   */
  overload(target: AnyRef | Way): () => void {
    if (!('tell' in target)) return this.#mark(target, 'refusing')
    const { id } = ownRef(target, this.system.home)
    const cell = this.#runtimes()
      .map((runtime) => runtime.cell(id))
      .find((found) => found !== undefined)
    if (cell === undefined) throw new UsageError('there is no such actor', { actor: id })
    cell.limitQueue(0)
    return () => cell.limitQueue()
  }

  #mark({ from, to }: Way, how: 'held' | 'refusing'): () => void {
    const links = [...this.#steps.links].filter(
      (link) => (from === undefined || link.from === from) && (to === undefined || link.to === to),
    )
    for (const link of links) link[how]++
    return () => {
      for (const link of links) {
        link[how]--
        link.tellWaiters()
      }
      this.#steps.wake()
    }
  }

  #runtimes(): ThreadRuntime[] {
    return [this.#runtime, ...(this.#threads?.runtimes() ?? [])]
  }

  /** Kills actors and threads at steps that are drawn from the seed. */
  chaos({ actors = 0, threads = 0, withinSteps = 200, only = () => true }: ChaosOptions): void {
    const { random } = this.#steps
    const at = (): number => this.steps + 1 + random.below(withinSteps)
    const faults = [
      ...Array.from({ length: actors }, () => ({ step: at(), run: () => this.#killAny(only) })),
      ...Array.from({ length: threads }, () => ({ step: at(), run: () => this.#killAnyThread() })),
    ].sort((a, b) => a.step - b.step)
    const before = this.#steps.beforeStep
    this.#steps.beforeStep = () => {
      before?.()
      while (faults[0] !== undefined && faults[0].step <= this.steps + 1) faults.shift()?.run()
    }
  }

  #killAny(only: (actor: ActorRow) => boolean): void {
    const all = this.#runtimes().flatMap((runtime) => runtime.rows().map((row) => ({ row, runtime })))
    const victims = all.filter(({ row }) => row.name !== 'root' && row.name !== 'loose' && only(row))
    if (victims.length === 0) return
    const { row, runtime } = this.#steps.random.pick(victims)
    this.#steps.trace.add(this.#time.monotonic(), () => `t${row.thread} ${row.name}#${row.id} is killed`)
    runtime.cell(row.id)?.kill()
  }

  #killAnyThread(): void {
    const living = this.threads
    if (living.length > 0) this.#threads?.kill(this.#steps.random.pick(living))
  }

  /** @internal Rejects after that many steps, which then are no more: a scenario may go round and round. */
  endlessAfter(steps: number): Promise<never> {
    return new Promise((_, reject) => {
      const stopWatching = this.#steps.onStep(() => {
        if (this.steps < steps) return
        stopWatching()
        this.#steps.halt()
        reject(new StuckError(`it goes on after ${steps} steps`))
      })
    })
  }

  /** Stops the system; the clock runs as far as the shutdown times need, but not ahead of what `terminate` does in reality. */
  async stop(): Promise<void> {
    try {
      await this.#drive(this.#system.stop(), Infinity)
    } finally {
      this.#realWork.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

function realMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

/** Without the properties that are undefined. */
function defined<T extends object>(values: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never
}
