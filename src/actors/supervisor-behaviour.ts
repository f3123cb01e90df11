/**
 * What a supervisor does, after OTP 25's `supervisor`. It owns its children's specs and their restarts; links tell
 * it of their ends. Children start and stop one at a time, and the supervisor waits, except for temporary ones where the
 * spec says `concurrent`. `test/interop/otp.test.ts` compares it with OTP.
 */
import { backoffMs } from './backoff.ts'
import { checkSupervisorSpec, childProblem, plainSpec } from './child-spec.ts'
import type { ActorContext } from './context.ts'
import { type ActorDefinition, type ActorOptions, actor, Deferred, type Handlers } from './definition.ts'
import {
  ActorExit,
  type ExitReason,
  errorReason,
  ignore,
  isExpected,
  isIgnored,
  normal,
} from './exit-reason.ts'
import type { ActorRef, AnyRef } from './ref.ts'
import type {
  ChildCounts,
  ChildInfo,
  ChildResult,
  ChildSpec,
  Crash,
  StartChildResult,
  SupervisorContract,
  SupervisorOptions,
  SupervisorSpec,
} from './supervisor.ts'
import { moveChild } from './supervisor.ts'

/** Name of the message by which a supervisor reminds itself of a restart that failed. */
const tryAgain = 'supervisor.try-again'
/** Name of the message that ends the wait of a backoff. */
const waited = 'supervisor.waited'

/** Crashes kept of each child. */
const crashesKept = 5
const noCrashes: readonly Crash[] = []

interface Child {
  spec: ChildSpec
  ref: ActorRef | undefined
  state: 'starting' | 'running' | 'restarting' | 'stopping' | 'stopped'
  restarts: number
  lastExit: ExitReason | null
  crashes: readonly Crash[]
  /** Restarts in a row, and when the last one was; counted only with a backoff. */
  attempts: number
  startedAt: number
  /** Called when it has stopped. */
  waiters: (() => void)[]
}

/**
 * Defines a supervisor; start it as any other actor, as a child of another supervisor for instance. `init` runs
 * anew at each restart. A wrong spec, or a child whose `init` fails, makes the supervisor's own start fail, after it
 * stopped the children it had started.
 */
export function supervisor<A = undefined>(
  options: SupervisorOptions<A>,
): ActorDefinition<SupervisorContract, A> {
  const definition: ActorOptions<SupervisorContract, A> & { type: 'supervisor' } = {
    type: 'supervisor',
    name: options.name,
    module: options.module,
    async init(context, args) {
      context.trapExit()
      const spec = await options.init(context as unknown as ActorContext, args)
      if (spec === ignore) return ignore
      checkSupervisorSpec(spec, options.name)
      const behaviour = new SupervisorBehaviour(context, spec)
      await behaviour.startAll()
      return behaviour.handlers()
    },
  }
  return actor(definition)
}

class SupervisorBehaviour {
  readonly #context: ActorContext<SupervisorContract>
  readonly #spec: SupervisorSpec
  readonly #intensity: number
  readonly #periodMs: number
  /** In start order. */
  readonly #children = new Map<string, Child>()
  readonly #byRef = new Map<number, Child>()
  /** When the restarts of the last period were. */
  #restarts: number[] = []
  #isEnding = false

  constructor(context: ActorContext<SupervisorContract>, spec: SupervisorSpec) {
    this.#context = context
    this.#spec = spec
    this.#intensity = spec.intensity ?? 1
    this.#periodMs = spec.periodMs ?? 5_000
  }

  get #isSimple(): boolean {
    return this.#spec.strategy === 'simple_one_for_one'
  }

  /** The children of the spec, one after the other. @throws ActorExit with `shutdown`, the started ones stopped again. */
  async startAll(): Promise<void> {
    if (this.#isSimple) return
    for (const spec of this.#spec.children) {
      const child = this.#add(spec)
      const reason = await this.#start(child)
      if (reason === undefined) continue
      if (isIgnored(reason)) {
        this.#ignored(child)
        continue
      }
      await this.#stopAll()
      throw new ActorExit({
        kind: 'shutdown',
        message: `child ${spec.id} did not start: ${reason.message ?? reason.kind}`,
        ...(reason.code === undefined ? {} : { code: reason.code }),
      })
    }
  }

  handlers(): Handlers<SupervisorContract> {
    const handlers = {
      startChild: (spec: ChildSpec) => this.#startChild(spec),
      terminateChild: (id: string) => this.#terminateChild(id),
      restartChild: (id: string) => this.#restartChild(id),
      deleteChild: (id: string) => this.#deleteChild(id),
      whichChildren: () => this.#whichChildren(),
      countChildren: () => this.#countChildren(),
      handleExit: (ref: AnyRef, reason: ExitReason) => this.#childEnded(ref, reason),
      terminate: () => this.#stopAll(),
      [tryAgain]: (id: string) => this.#tryAgain(id),
      [moveChild]: (id: string, actorId: number) => this.#move(id, actorId),
      [waited]: (id: string, attempts: number) => this.#waited(id, attempts),
    }
    return handlers as unknown as Handlers<SupervisorContract>
  }

  // --- Requests

  #startChild(request: ChildSpec): StartChildResult | Promise<StartChildResult> | Deferred<StartChildResult> {
    const spec = this.#isSimple ? this.#fromTemplate(request) : plainSpec(request)
    if (typeof spec === 'string')
      return { ok: false, error: 'invalid', reason: { kind: 'error', message: spec } }
    const problem = childProblem(spec, (this.#spec.autoShutdown ?? 'never') !== 'never')
    const existing = problem === undefined ? this.#children.get(spec.id) : undefined
    if (problem !== undefined || existing !== undefined) {
      spec?.socket?.destroy()
      if (existing === undefined) {
        return { ok: false, error: 'invalid', reason: { kind: 'error', message: problem ?? '' } }
      }
      return { ok: false, error: existing.ref === undefined ? 'already_present' : 'already_started' }
    }
    const child = this.#add(spec)
    if (!this.#isBeside(spec)) {
      return this.#start(child).then((reason) => this.#startAnswer(child, reason))
    }
    const answer = new Deferred<StartChildResult>()
    this.#spawn(child, (reason) => answer.resolve(this.#startAnswer(child, reason)))
    return answer
  }

  #startAnswer(child: Child, reason: ExitReason | undefined): StartChildResult {
    if (reason === undefined && child.ref !== undefined) return { ok: true, ref: child.ref }
    if (reason !== undefined && isIgnored(reason)) {
      this.#ignored(child)
      return { ok: false, error: 'ignored' }
    }
    this.#forget(child)
    return { ok: false, error: 'failed', ...(reason === undefined ? {} : { reason }) }
  }

  /** Its `init` said that it is not needed now: the spec stays, as a stopped child's. */
  #ignored(child: Child): void {
    if (child.spec.restart === 'temporary' || this.#isSimple) this.#forget(child)
  }

  /** Whether this child starts and stops beside others, and the supervisor does not wait. */
  #isBeside(spec: ChildSpec): boolean {
    return this.#spec.concurrent === true && spec.restart === 'temporary'
  }

  #nextId = 1

  #wasChild(id: string): boolean {
    return this.#isSimple && /^\d+\.\d+$/.test(id)
  }

  /** The argument of `startChild` is the child's own `args`. Its id is not used again, nor by a later supervisor. */
  #fromTemplate(args: unknown): ChildSpec {
    const template = this.#spec.children[0]!
    return {
      ...template,
      id: `${this.#context.self.id}.${this.#nextId++}`,
      ...(args === undefined ? {} : { args }),
    }
  }

  #terminateChild(id: string): ChildResult | Promise<ChildResult> | Deferred<ChildResult> {
    const child = this.#children.get(id)
    // As in OTP, where a child of a simple_one_for_one that has ended already is no error.
    if (child === undefined) return this.#wasChild(id) ? { ok: true } : { ok: false, error: 'not_found' }
    if (!this.#isBeside(child.spec)) {
      return this.#stop(child).then(() => ({ ok: true }) as const)
    }
    const answer = new Deferred<ChildResult>()
    this.#stopping(child, () => answer.resolve({ ok: true }))
    return answer
  }

  #restartChild(id: string): StartChildResult | Promise<StartChildResult> {
    const child = this.#children.get(id)
    const error = this.#notStopped(child)
    if (error !== undefined || child === undefined) return { ok: false, error: error ?? 'not_found' }
    return this.#start(child).then((reason) => {
      if (reason === undefined && child.ref !== undefined) return { ok: true, ref: child.ref } as const
      if (reason !== undefined && isIgnored(reason)) return { ok: false, error: 'ignored' } as const
      return { ok: false, error: 'failed', ...(reason === undefined ? {} : { reason }) } as const
    })
  }

  #deleteChild(id: string): ChildResult {
    const child = this.#children.get(id)
    const error = this.#notStopped(child)
    if (error !== undefined) return { ok: false, error }
    this.#children.delete(id)
    return { ok: true }
  }

  #notStopped(child: Child | undefined) {
    if (this.#isSimple) return 'simple_one_for_one'
    if (child === undefined) return 'not_found'
    if (child.state === 'stopped') return undefined
    return child.state === 'restarting' ? 'restarting' : 'running'
  }

  #whichChildren(): ChildInfo[] {
    return Array.from(this.#children.values(), ({ spec, ref, state, restarts, lastExit, crashes }) => ({
      id: spec.id,
      ref: ref ?? null,
      state: state === 'stopped' || state === 'restarting' ? state : 'running',
      type: spec.actor.type ?? 'worker',
      name: spec.actor.name,
      restarts,
      lastExit,
      crashes,
    }))
  }

  #countChildren(): ChildCounts {
    let supervisors = 0
    let active = 0
    for (const { spec, ref } of this.#children.values()) {
      if (spec.actor.type === 'supervisor') supervisors++
      if (ref !== undefined) active++
    }
    const all = this.#children.size
    return { specs: this.#isSimple ? 1 : all, active, supervisors, workers: all - supervisors }
  }

  // --- Ends and restarts

  #childEnded(ref: AnyRef, reason: ExitReason): void | Promise<void> {
    const child = this.#byRef.get(ref.id)
    if (child === undefined) return undefined
    this.#byRef.delete(ref.id)
    child.ref = undefined
    this.#ended(child, reason)
    child.state = 'stopped'
    const { restart = 'permanent', significant = false } = child.spec
    if (restart === 'permanent' || (restart === 'transient' && !isExpected(reason))) {
      return this.#restart(child, reason)
    }
    if (restart === 'temporary' || this.#isSimple) this.#children.delete(child.spec.id)
    if (significant) this.#significantEnded()
    return undefined
  }

  #significantEnded(): void {
    const { autoShutdown = 'never' } = this.#spec
    if (autoShutdown === 'never') return
    if (autoShutdown === 'all_significant') {
      for (const { spec, ref, state } of this.#children.values()) {
        if (spec.significant && (ref !== undefined || state === 'restarting')) return
      }
    }
    this.#context.stop({ kind: 'shutdown', message: 'significant children ended' })
  }

  /** One restart after the strategy. A failure goes back through the message queue, so that a stop gets in between. */
  async #restart(child: Child, reason: ExitReason): Promise<void> {
    child.state = 'restarting'
    if (this.#isTooOften()) {
      this.#isEnding = true
      this.#context.log.error(
        {
          event: 'supervisor.gave-up',
          childId: child.spec.id,
          intensity: this.#intensity,
          periodMs: this.#periodMs,
        },
        'too many restarts',
      )
      this.#context.stop({
        kind: 'shutdown',
        message: `too many restarts: ${this.#intensity} in ${this.#periodMs} ms`,
      })
      return
    }
    const delay = this.#delay(child)
    if (delay === undefined) return await this.#restartNow(child, reason)
    // Those that restart with it do not run on without it.
    await this.#stopAffected(child)
    if (this.#isEnding) return
    child.state = 'restarting'
    this.#sendAfter(delay, waited, child.spec.id, child.attempts)
  }

  async #restartNow(child: Child, reason: ExitReason): Promise<void> {
    const failed = await this.#restartAffected(child, reason)
    if (failed === undefined || this.#isEnding) return
    failed.child.state = 'restarting'
    this.#context.runtime.remind(tryAgain, failed.child.spec.id)
  }

  #tryAgain(id: string): void | Promise<void> {
    const child = this.#children.get(id)
    // It may have been terminated or restarted by request meanwhile.
    if (child?.state !== 'restarting') return undefined
    return this.#restart(child, child.lastExit ?? normal)
  }

  /**
   * The thread of a child drains: it stops in order, with those the strategy restarts together with it, and starts on
   * another thread. That is no failure, so it does not count as one. Temporary children may stay until they end.
   */
  async #move(id: string, actorId: number): Promise<void> {
    const child = this.#children.get(id)
    if (child === undefined || child.ref?.id !== actorId || child.state !== 'running') return
    if (this.#isEnding || this.#isSimple || child.spec.restart === 'temporary') return
    for (const other of this.#affected(child).reverse()) await this.#stop(other)
    if (!this.#isEnding) await this.#restartNow(child, { kind: 'shutdown', message: 'its thread drains' })
  }

  /** Milliseconds to wait before its next restart. */
  #delay(child: Child): number | undefined {
    const backoff = child.spec.backoff ?? this.#spec.backoff
    if (backoff === undefined) return undefined
    const { resetMs = backoff.maxMs } = backoff
    const now = this.#context.clock.monotonic()
    if (now - child.startedAt >= resetMs) child.attempts = 0
    return backoffMs(backoff, child.attempts++, this.#context.runtime.random())
  }

  #sendAfter(ms: number, type: string, ...body: unknown[]): void {
    const { sendAfter } = this.#context as unknown as {
      sendAfter(ms: number, type: string, ...body: unknown[]): number
    }
    sendAfter.call(this.#context, ms, type, ...body)
  }

  #waited(id: string, attempts: number): void | Promise<void> {
    const child = this.#children.get(id)
    if (child?.state !== 'restarting' || child.attempts !== attempts) return undefined
    return this.#restartNow(child, child.lastExit ?? normal)
  }

  async #stopAffected(child: Child): Promise<readonly Child[]> {
    const affected = this.#affected(child)
    for (const other of affected.toReversed()) if (other !== child) await this.#stop(other)
    return affected
  }

  async #restartAffected(
    child: Child,
    reason: ExitReason,
  ): Promise<{ child: Child; reason: ExitReason } | undefined> {
    for (const other of await this.#stopAffected(child)) {
      // Temporary children among them were forgotten when they were stopped.
      if (this.#children.get(other.spec.id) !== other) continue
      other.restarts++
      const failure = await this.#start(other)
      if (failure !== undefined) {
        if (!isIgnored(failure)) return { child: other, reason: failure }
        this.#ignored(other)
        continue
      }
      const cause: ExitReason = other === child ? reason : { kind: 'shutdown' }
      this.#context.runtime.restarted({
        childId: other.spec.id,
        name: other.spec.actor.name,
        actorId: other.ref?.id ?? 0,
        reason: cause,
        restarts: other.restarts,
      })
    }
    return undefined
  }

  /** The children that restart together with `child`, in start order. */
  #affected(child: Child): Child[] {
    switch (this.#spec.strategy) {
      case 'one_for_all':
        return [...this.#children.values()]
      case 'rest_for_one': {
        const all = [...this.#children.values()]
        return all.slice(all.indexOf(child))
      }
      default:
        return [child]
    }
  }

  #isTooOften(): boolean {
    const now = this.#context.clock.monotonic()
    this.#restarts = this.#restarts.filter((at) => now - at <= this.#periodMs)
    this.#restarts.push(now)
    return this.#restarts.length > this.#intensity
  }

  // --- One child

  #add(spec: ChildSpec): Child {
    const child: Child = {
      spec,
      ref: undefined,
      state: 'stopped',
      restarts: 0,
      lastExit: null,
      crashes: noCrashes,
      attempts: 0,
      startedAt: 0,
      waiters: [],
    }
    this.#children.set(spec.id, child)
    return child
  }

  /** Remembers how it ended. */
  #ended(child: Child, reason: ExitReason): void {
    child.lastExit = reason
    if (isExpected(reason)) return
    const { stack: _, ...rest } = reason
    child.crashes = [...child.crashes, { atMs: this.#context.clock.now(), reason: rest }].slice(-crashesKept)
  }

  #forget(child: Child): void {
    if (this.#children.get(child.spec.id) === child) this.#children.delete(child.spec.id)
  }

  #start(child: Child): Promise<ExitReason | undefined> {
    return new Promise((resolve) => this.#spawn(child, resolve))
  }

  #spawn(child: Child, started: (reason: ExitReason | undefined) => void): void {
    const { spec } = child
    const { placement, registerAs, socket } = spec
    child.state = 'starting'
    if ((spec.backoff ?? this.#spec.backoff) !== undefined) child.startedAt = this.#context.clock.monotonic()
    // The socket goes with its child; the spec must not keep it.
    if (socket !== undefined) child.spec = { ...spec, socket: undefined } as unknown as ChildSpec
    let ref: ActorRef
    try {
      ref = this.#context.runtime.spawnChild(
        spec.actor,
        spec.args,
        {
          childId: spec.id,
          restarts: child.restarts,
          crashes: child.crashes,
          ...(placement === undefined ? {} : { placement }),
          ...(registerAs === undefined ? {} : { registerAs }),
          ...(socket === undefined ? {} : { socket }),
        },
        (reason) => {
          if (reason !== undefined) this.#startFailed(child, ref, reason)
          else if (child.state === 'starting') child.state = 'running'
          started(reason)
        },
      )
    } catch (error) {
      const reason = errorReason(error)
      child.state = 'stopped'
      this.#ended(child, reason)
      started(reason)
      return
    }
    child.ref = ref
    this.#byRef.set(ref.id, child)
  }

  #startFailed(child: Child, ref: ActorRef, reason: ExitReason): void {
    this.#byRef.delete(ref.id)
    this.#ended(child, reason)
    // A stop that was under way tells for itself.
    if (child.state === 'stopping') return
    child.ref = undefined
    child.state = 'stopped'
  }

  #stop(child: Child): Promise<void> {
    return new Promise((resolve) => this.#stopping(child, resolve))
  }

  #stopping(child: Child, stopped: () => void): void {
    const { ref, spec } = child
    const { restart = 'permanent', shutdown = spec.actor.type === 'supervisor' ? 'infinity' : 5_000 } = spec
    child.waiters.push(stopped)
    if (child.state === 'stopping') return
    const finish = (): void => {
      child.ref = undefined
      child.state = 'stopped'
      if (restart === 'temporary' || this.#isSimple) this.#forget(child)
      for (const waiter of child.waiters.splice(0)) waiter()
    }
    if (ref === undefined) {
      finish()
      return
    }
    child.state = 'stopping'
    this.#byRef.delete(ref.id)
    // No time at all is a kill; its goodbye would not even begin.
    this.#context.runtime.stopChild(ref, shutdown === 0 ? 'brutal_kill' : shutdown, (reason) => {
      child.lastExit = reason
      finish()
    })
  }

  /** In reverse start order; the children of a simple_one_for_one, and neighbours that are beside others, together. */
  async #stopAll(): Promise<void> {
    this.#isEnding = true
    let together: Promise<void>[] = []
    for (const child of [...this.#children.values()].reverse()) {
      if (this.#isSimple || this.#isBeside(child.spec)) {
        together.push(this.#stop(child))
        continue
      }
      await Promise.all(together)
      together = []
      await this.#stop(child)
    }
    await Promise.all(together)
  }
}
