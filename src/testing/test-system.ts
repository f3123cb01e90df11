import type {
  ActorDefinition,
  ActorRef,
  AnyContract,
  ChildSpec,
  ExitReason,
  SpawnOptions,
  StartChildResult,
} from '../actors/index.ts'
import type { ActorInfo } from '../runtime/inspect.ts'
import type { RestartedEvent, TerminatedEvent } from '../runtime/observer.ts'
import { ActorSystem, type SystemOptions } from '../runtime/system.ts'
import { VirtualTime } from './virtual-time.ts'

export interface TestSystemOptions
  extends Pick<SystemOptions, 'settings' | 'log' | 'children' | 'intensity' | 'periodMs'> {
  /** What the clock says at first, milliseconds since the epoch. Default 2026-01-01T00:00:00Z. */
  readonly startTime?: number
}

/** A message that nobody handled: its actor had ended, or ended before its turn. */
export interface DeadLetter {
  readonly to: number
  readonly type: string
  readonly body: readonly unknown[]
}

/**
 * A system on one thread whose clock moves only when the test moves it: timers, timeouts of asks, shutdown times
 * and restart periods are all of that clock. Placement is always here.
 */
export class TestSystem {
  /** Everything sent to actors that had ended. */
  readonly deadLetters: DeadLetter[] = []
  /** Every end of an actor, in order. */
  readonly terminated: TerminatedEvent[] = []
  readonly restarted: RestartedEvent[] = []
  readonly #time: VirtualTime
  #system!: ActorSystem

  private constructor(startTime: number) {
    this.#time = new VirtualTime(startTime)
  }

  /** @throws StartError when the `init` of a child fails. */
  static async start(options: TestSystemOptions = {}): Promise<TestSystem> {
    const { startTime = Date.UTC(2026, 0, 1), ...rest } = options
    const test = new TestSystem(startTime)
    test.#system = await ActorSystem.start({
      ...rest,
      time: test.#time,
      deadLetter: (ref, type, body) => test.deadLetters.push({ to: ref.id, type, body }),
    })
    test.#system.events.on('actor.terminated', (event) => test.terminated.push(event))
    test.#system.events.on('actor.restarted', (event) => test.restarted.push(event))
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

  /** Waits until no actor has anything to do. Actors that wait for real I/O do not count. */
  async settle(): Promise<void> {
    // One more turn after the last: what it resolved may have given an actor a message.
    for (let quiet = 0; quiet < 2; quiet = this.#system.isIdle ? quiet + 1 : 0) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  /** Moves the clock on, ringing every timer on the way at its time, each followed by `settle`. */
  async advance(ms: number): Promise<void> {
    const end = this.#time.monotonic() + ms
    await this.settle()
    while (this.#time.ringNext(end)) await this.settle()
  }

  /** Stops the system; the clock runs as far as the shutdown times need. */
  async stop(): Promise<void> {
    let done = false
    const stopping = this.#system.stop().finally(() => {
      done = true
    })
    await this.settle()
    while (!done && this.#time.next !== undefined) {
      this.#time.ringNext(this.#time.next)
      await this.settle()
    }
    await stopping
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
