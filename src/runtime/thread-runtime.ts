/**
 * Everything the actors of one thread have in common: the table of actors, run queue, timers, names, pending asks,
 * and the relations between actors, which work the same whether the other one is here or on another thread.
 */
import type { ChildStart, RestartedChild } from '../actors/context.ts'
import {
  type AnyActorDefinition,
  type AskOptions,
  type ExitReason,
  type Logger,
  type Placement,
  type SpawnOptions,
  type StreamOptions,
  type StreamReader,
  UsageError,
} from '../actors/index.ts'
import { moveChild } from '../actors/supervisor.ts'
import { checkAsk, PendingAsk } from './asks.ts'
import { ActorCell, currentActor } from './cell.ts'
import type { Cluster, RemoteSpawn } from './cluster.ts'
import { DeadLetters } from './dead-letters.ts'
import { Early } from './early.ts'
import type { Heartbeat } from './heartbeat.ts'
import type { Ids } from './ids.ts'
import { rowOf } from './inspect.ts'
import { checkPlace, kindOf, Quarantines, solitaryName } from './kinds.ts'
import { logEnd, logLateError, logRestart } from './lifecycle-log.ts'
import type { Asker } from './message.ts'
import type { ActorRow, RuntimeObserver } from './observer.ts'
import { Ref } from './ref.ts'
import { Registry } from './registry.ts'
import { RemoteAsk } from './remote-side.ts'
import { type RunQueue, Scheduler } from './scheduler.ts'
import { Scopes } from './scopes.ts'
import { CountedAsk, ForwardedAsk, PendingStream, Streams } from './streams.ts'
import { Successors } from './successors.ts'
import { Ties } from './ties.ts'
import type { Time } from './time.ts'
import { Timers } from './timers.ts'

/** OTP's default for a call. */
const defaultAskTimeoutMs = 5_000

export interface ThreadRuntimeOptions {
  readonly thread: number
  readonly ids: Ids
  readonly time: Time
  readonly log: Logger
  readonly settings: Readonly<Record<string, unknown>>
  readonly observer: RuntimeObserver
  /** Default: turns in the order of asking. */
  readonly scheduler?: RunQueue
  /** Look at each message and reply of this thread for what could not cross to another, and throw. Default false. */
  readonly checkMessages?: boolean
  /** For jitter: from 0, less than 1. Default `Math.random`. */
  readonly random?: () => number
}

export interface SpawnRequest {
  readonly definition: AnyActorDefinition
  readonly args: unknown
  readonly options: SpawnOptions | ChildStart
  readonly parent?: ActorCell
  readonly link?: boolean
  readonly started?: (reason: ExitReason | undefined) => void
}

export class ThreadRuntime {
  readonly thread: number
  readonly time: Time
  readonly log: Logger
  /** Replaced as a whole when it changes. */
  settings: Readonly<Record<string, unknown>>
  readonly scheduler: RunQueue
  readonly scopes = new Scopes()
  readonly timers: Timers
  readonly registry = new Registry()
  readonly checkMessages: boolean
  readonly deadLetters: DeadLetters
  readonly streams = new Streams((thread, id) => this.askOf(thread, id))
  #cluster: Cluster | undefined
  readonly random: () => number
  /** Signs of life for main's watchdog; main itself has none. */
  #heartbeat: Heartbeat | undefined
  /** The hook `preAccept`, with the name of the definition. */
  beforeStart: ((kind: string) => void) | undefined
  /** It takes no new actors; those that are here finish or move. */
  isDraining = false
  readonly successors = new Successors(this)
  readonly ties: Ties
  readonly #quarantines = new Quarantines()
  /** Actors that count for nobody, see `ActorOptions.resident`. */
  readonly #residents = new Set<ActorCell>()
  /** Actors ever started here. */
  spawned = 0

  /** Tells the systems of one process apart: the same object for all of one system that this thread can see. */
  readonly home: object
  readonly #ids: Ids
  readonly #early = new Early()
  readonly #observer: RuntimeObserver
  readonly #cells = new Map<number, ActorCell>()
  readonly #shared = new Map<string, unknown>()
  /** Asks to other threads, by number, for each thread. */
  readonly #remoteAsks = new Map<number, Map<number, PendingAsk>>()
  #number = 0

  constructor(options: ThreadRuntimeOptions) {
    this.thread = options.thread
    this.time = options.time
    this.log = options.log
    this.settings = options.settings
    this.random = options.random ?? Math.random
    this.checkMessages = options.checkMessages ?? false
    this.timers = new Timers(options.time)
    this.scheduler = options.scheduler ?? new Scheduler()
    this.#ids = options.ids
    this.home = options.ids.shared
    this.ties = new Ties(this)
    this.#observer = options.observer
    this.deadLetters = new DeadLetters(this.time, this.log, (report) =>
      this.#observer.deadLetters?.({ ...report, thread: this.thread }),
    )
  }

  get cluster(): Cluster | undefined {
    return this.#cluster
  }

  set cluster(cluster: Cluster | undefined) {
    this.#cluster = this.streams.cluster = cluster
  }

  get heartbeat(): Heartbeat | undefined {
    return this.#heartbeat
  }

  set heartbeat(heartbeat: Heartbeat | undefined) {
    this.#heartbeat = heartbeat
    if (heartbeat !== undefined && this.scheduler instanceof Scheduler) {
      this.scheduler.afterTurn = () => heartbeat.leave()
    }
  }

  /** A number no other timer, monitor or remote ask of this thread has. */
  nextNumber(): number {
    return ++this.#number
  }

  get actorCount(): number {
    return this.#cells.size
  }

  cell(id: number): ActorCell | undefined {
    return this.#cells.get(id)
  }

  local<T>(key: string, create: () => T): T {
    // Shared things outlive the actor that happens to make them: they are not to run on its behalf.
    if (!this.#shared.has(key)) this.#shared.set(key, currentActor.exit(create))
    return this.#shared.get(key) as T
  }

  /** The ref of an actor known by its numbers, as refs arrive from other threads. */
  refOf(id: number, thread: number): Ref {
    if (thread === this.thread) return this.#cells.get(id)?.ref ?? new Ref(this, id, thread, undefined)
    return this.ties.find(thread, id)?.ref ?? new Ref(this, id, thread, undefined)
  }

  // --- Starting

  /** Starts an actor where its placement says; the ref is good at once. @throws UsageError */
  spawn(request: SpawnRequest): Ref {
    const { definition, options, parent } = request
    if (definition?.kind !== 'actor') {
      options.socket?.destroy()
      throw new UsageError('spawn needs an actor definition, as actor() returns it')
    }
    const thread = this.#place(options, definition)
    const id = this.#ids.next()
    if (thread !== this.thread) return this.#spawnRemote(thread, id, request)
    this.cluster?.count(1)
    const started = this.#startedInParent(id, request)
    const child = options as Partial<ChildStart>
    const cell = this.#spawnHere(
      {
        id,
        definition,
        args: request.args,
        parent: parent?.ref,
        childId: child.childId,
        restarts: child.restarts ?? 0,
        socket: options.socket,
        started,
      },
      options.registerAs,
    )
    if (parent !== undefined && request.link === true) {
      parent.relations.linkTo(cell.ref)
      cell.relations.linkTo(parent.ref)
    }
    if (child.crashes !== undefined && child.crashes.length > 0) cell.relations.setCrashes(child.crashes)
    return cell.ref
  }

  /** Decides on the thread; what cannot work fails here, before anything has happened. */
  #place({ placement = 'here', registerAs, socket }: SpawnOptions, definition: AnyActorDefinition): number {
    try {
      if (!this.#quarantines.areNone) this.#quarantines.check(definition, this.time.monotonic())
      if (definition.limit !== undefined) this.#checkKind(definition, placement)
      if (registerAs !== undefined) this.registry.mustBeFree(registerAs)
      if (placement === 'here' || this.cluster === undefined) return this.thread
      return this.cluster.place(placement, socket)
    } catch (error) {
      socket?.destroy()
      throw error
    }
  }

  #checkKind(definition: AnyActorDefinition, placement: Placement): void {
    if (definition.limit === 'solitary') this.registry.mustBeFree(solitaryName(definition))
    if (typeof placement !== 'object' || !('pool' in placement)) return
    const places = this.cluster?.poolPlaces(placement.pool)
    if (places !== undefined) checkPlace(definition, placement.pool, places)
  }

  /** @internal Its `init` is done. @throws UsageError when there must not be another of its kind. */
  initialised(cell: ActorCell): void {
    const { definition } = cell
    if (definition.limit === 'solitary') {
      const name = solitaryName(definition)
      this.registry.register(name, cell.ref)
      cell.relations.addName(name)
    }
    if (definition.resident !== true) return
    this.#residents.add(cell)
    this.cluster?.count(-1)
  }

  #spawnHere(
    start: ConstructorParameters<typeof ActorCell>[1],
    registerAs: string | undefined,
    waitsForSocket = false,
  ): ActorCell {
    const cell = new ActorCell(this, start)
    if (registerAs !== undefined) {
      this.registry.register(registerAs, cell.ref)
      cell.relations.addName(registerAs)
    }
    this.#cells.set(start.id, cell)
    this.spawned++
    if (!waitsForSocket) cell.ready()
    return cell
  }

  /** `started` as the spawner's own code; a failed start is told once, not by the link again. */
  #startedInParent(
    id: number,
    request: SpawnRequest,
  ): ((reason: ExitReason | undefined) => void) | undefined {
    const { parent, started } = request
    if (started === undefined) return undefined
    if (parent === undefined) return started
    return (reason) => {
      if (reason !== undefined && !parent.relations.expectsEnd(id)) parent.relations.unlinkFrom(id)
      parent.perform(started, [reason])
    }
  }

  #spawnRemote(thread: number, id: number, request: SpawnRequest): Ref {
    const { parent, options } = request
    const child = options as Partial<ChildStart>
    const relations = this.ties.with(thread, id)
    const ref = relations.ref
    if (parent !== undefined && request.link === true) {
      parent.relations.linkTo(ref)
      relations.linked.add(parent)
      relations.parent = parent
    }
    relations.started = this.#startedInParent(id, request)
    const spawn: RemoteSpawn = {
      id,
      definition: request.definition,
      args: request.args,
      parent: parent?.ref,
      link: request.link === true,
      childId: child.childId,
      restarts: child.restarts ?? 0,
      registerAs: options.registerAs,
      socket: options.socket,
      report: request.started !== undefined,
      crashes: child.crashes?.length === 0 ? undefined : child.crashes,
    }
    if (options.registerAs !== undefined) this.registry.register(options.registerAs, ref)
    try {
      this.cluster?.spawn(thread, spawn)
    } catch (error) {
      // Its arguments cannot be sent.
      if (options.registerAs !== undefined) this.registry.unregister(options.registerAs, ref)
      parent?.relations.unlinkFrom(id)
      this.ties.drop(thread, id)
      options.socket?.destroy()
      throw error
    }
    return ref
  }

  /** Starts what another thread asked for. The name was registered by the spawner. */
  spawnFor(spawn: RemoteSpawn, waitsForSocket: boolean): ActorCell {
    const { parent } = spawn
    let ref: Ref | undefined
    const report = (reason: ExitReason | undefined): void => {
      if (parent !== undefined && ref !== undefined) this.cluster?.started(parent, ref, reason)
    }
    const start = { ...spawn, started: spawn.report ? report : undefined }
    const cell = this.#spawnHere(start, undefined, waitsForSocket)
    ref = cell.ref
    if (spawn.registerAs !== undefined) cell.relations.addName(spawn.registerAs)
    if (spawn.crashes !== undefined) cell.relations.setCrashes(spawn.crashes)
    if (parent !== undefined && spawn.link) {
      cell.relations.linkTo(parent)
      this.ties.with(parent.thread, parent.id).linked.add(cell)
    }
    this.#early.started(spawn.id, this.#ids.ownerOf(spawn.id))
    return cell
  }

  /** Frees the names of the actors of a thread that died. */
  forgetNames(thread: number): void {
    // Those on other threads whose parent was there are about to end, too, and their successors may come first.
    this.registry.forgetAll((ref) => ref.thread === thread || this.spawnerOf(ref.id) === thread)
  }

  /** The thread an actor was started from, which is its parent's. */
  spawnerOf(id: number): number {
    return this.#ids.ownerOf(id)
  }

  /**
   * For an actor that should be here and is not: whether its start may still arrive. `again` is then called when it has,
   * or cannot any more.
   */
  isEarly(id: number, again: () => unknown): boolean {
    const spawner = this.#ids.ownerOf(id)
    if (spawner === this.thread || this.cluster?.isAlive(spawner) !== true) return false
    return this.#early.hold(id, spawner, again)
  }

  // --- Messages

  tellRemote(to: Ref, type: string, body: readonly unknown[], withinMs = 0): boolean {
    const { thread } = to
    if (thread !== this.thread) {
      const taken = this.#cluster?.message(to, type, body, withinMs)
      if (taken !== undefined) return taken
    }
    // Decoded refs have no cell, so an actor of this thread can be here all the same.
    const cell = thread === this.thread ? this.#cells.get(to.id) : undefined
    if (cell !== undefined) return cell.accept(type, body, undefined)
    if (thread === this.thread && this.isEarly(to.id, () => this.tellRemote(to, type, body))) return true
    this.deadLetter(to, type, body)
    return true
  }

  ask(
    to: Ref,
    known: ActorCell | undefined,
    options: AskOptions,
    type: string,
    body: readonly unknown[],
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      checkAsk(options, type)
      const ask = new PendingAsk(to, type, callingActor(), resolve, reject)
      ask.watch(options)
      if (ask.settled) return
      this.#send(to, known, ask, type, body)
      if (!ask.settled) this.timers.start(ask, options.timeoutMs ?? defaultAskTimeoutMs)
    })
  }

  /** Asks for a stream of replies. */
  stream(
    to: Ref,
    known: ActorCell | undefined,
    options: StreamOptions,
    type: string,
    body: readonly unknown[],
  ): StreamReader<unknown> {
    checkAsk(options, type)
    const pending = new PendingStream(to, type, callingActor(), this.timers, options)
    pending.watch(options)
    if (!pending.settled) this.#send(to, known, pending, type, body)
    return pending.reader
  }

  /** Passes a message on; whoever handles it answers `asker`. `settled` is called once nothing more will come of it. */
  forward(
    to: Ref,
    type: string,
    body: readonly unknown[],
    asker: Asker | undefined,
    settled?: () => void,
  ): void {
    const waiting = settled === undefined ? asker : new CountedAsk(this, to, type, body, asker, settled)
    const cell = to.cell ?? (to.thread === this.thread ? this.#cells.get(to.id) : undefined)
    if (cell !== undefined) {
      if (!cell.accept(type, body, waiting) && waiting === undefined) this.deadLetter(to, type, body, true)
    } else if (waiting === undefined) {
      if (!to.tell(type, ...body)) this.deadLetter(to, type, body, true)
    } else this.#send(to, undefined, new ForwardedAsk(to, type, waiting), type, body)
  }

  #send(
    to: Ref,
    known: ActorCell | undefined,
    ask: PendingAsk,
    type: string,
    body: readonly unknown[],
  ): void {
    const cell = known ?? (to.thread === this.thread ? this.#cells.get(to.id) : undefined)
    if (cell !== undefined) {
      try {
        cell.accept(type, body, ask)
      } catch (error) {
        ask.fail(error)
      }
    } else if (to.thread !== this.thread) {
      if (this.#cluster === undefined) ask.refuse('no_actor', 'there is no such actor')
      else this.#askRemote(this.#cluster, to, ask, type, body)
    } else if (!this.isEarly(to.id, () => ask.settled || this.#send(to, known, ask, type, body)))
      ask.refuse('no_actor', 'there is no such actor')
  }

  #askRemote(cluster: Cluster, to: Ref, ask: PendingAsk, type: string, body: readonly unknown[]): void {
    const id = this.nextNumber()
    let asks = this.#remoteAsks.get(to.thread)
    if (asks === undefined) {
      asks = new Map()
      this.#remoteAsks.set(to.thread, asks)
    }
    ask.keepIn(asks, id)
    try {
      const window = ask.stream?.window ?? 0
      const taken = cluster.ask(to, id, type, body, window)
      if (taken === false) ask.refuse('overloaded', 'the way to its thread is full')
      else if (taken === undefined) ask.refuse('no_actor', 'there is no such actor')
    } catch (error) {
      ask.fail(error)
    }
  }

  // --- What arrives from other threads

  deliver(
    id: number,
    thread: number,
    ask: number,
    window: number,
    type: string,
    body: readonly unknown[],
  ): void {
    const cell = this.#cells.get(id)
    if (cell === undefined && this.isEarly(id, () => this.deliver(id, thread, ask, window, type, body)))
      return
    const asker =
      ask === 0 || this.cluster === undefined
        ? undefined
        : new RemoteAsk(this.cluster, thread, ask, this.streams.sink(thread, ask, window))
    if (cell === undefined && this.isDraining && this.successors.accept(id, type, body, asker)) return
    if (cell !== undefined) {
      // An ask has been refused; who told us cannot be.
      if (!cell.accept(type, body, asker) && asker === undefined) this.deadLetter(cell.ref, type, body, true)
    } else {
      if (asker === undefined) this.deadLetter(this.refOf(id, this.thread), type, body)
      else asker.refuse('no_actor', 'there is no such actor')
    }
  }

  askOf(thread: number, id: number): PendingAsk | undefined {
    return this.#remoteAsks.get(thread)?.get(id)
  }

  /** All actors of `thread` are gone: everything here that waits for one of them is told. */
  threadDown(thread: number, reason: ExitReason): void {
    this.forgetNames(thread)
    const asks = this.#remoteAsks.get(thread)
    this.#remoteAsks.delete(thread)
    this.streams.threadDown(thread)
    this.#early.spawnerDown(thread)
    for (const cell of this.#cells.values()) cell.relations.dropWatchers(thread)
    const cutTies = this.ties.takeThread(thread)
    if (asks !== undefined)
      for (const ask of [...asks.values()]) ask.refuse('down', 'its thread ended', reason)
    cutTies(reason)
  }

  // --- The end of actors

  /** @internal The cell takes itself out. */
  forget(cell: ActorCell): void {
    this.#cells.delete(cell.id)
    if (!this.#residents.delete(cell)) this.cluster?.count(-1)
    this.ties.forget(cell)
  }

  /** @internal Once per actor, when everyone concerned has been told. */
  ended(cell: ActorCell, reason: ExitReason): void {
    const { definition, id, restarts } = cell
    const { throttleMs = 0 } = definition
    if (throttleMs > 0 && this.#quarantines.ended(definition, reason.kind === 'error', cell.handled)) {
      this.#observer.quarantined?.(kindOf(definition), throttleMs)
      this.quarantine(kindOf(definition), throttleMs)
    }
    this.#observer.terminated({ name: definition.name, actorId: id, thread: this.thread, reason, restarts })
    logEnd(this.log, cell, reason)
  }

  restarted(child: RestartedChild): void {
    const { childId, name, actorId, reason, restarts } = child
    this.#observer.restarted({ name, actorId, thread: this.thread, reason, restarts, childId })
    logRestart(this.log, child)
  }

  /** A message that is lost: its actor has ended, or takes no more (`overloaded`) and its sender cannot be told. */
  deadLetter(ref: Ref, type: string, body: readonly unknown[], overloaded = false): void {
    this.deadLetters.note(ref, type, overloaded)
    this.#observer.deadLetter?.(ref, type, body)
  }

  quarantine(kind: string, ms: number): void {
    this.#quarantines.add(kind, ms, this.time.monotonic())
  }

  /** The thread takes no new actors. Those that a supervisor elsewhere keeps running are moved by it. */
  drain(): void {
    if (!this.isDraining) {
      this.isDraining = true
      this.registry.onFound = (name, ref) => this.successors.found(name, ref)
    }
    for (const cell of this.#cells.values()) {
      const { parent, childId, state } = cell
      if (childId === undefined || parent === undefined || parent.thread === this.thread) continue
      if (state !== 'stopping') this.tellRemote(parent, moveChild, [childId, cell.id])
    }
  }

  /** Whether nothing is left but what belongs to the thread; that is asked to end. */
  get isDrained(): boolean {
    if (!this.successors.isIdle) return false
    for (const cell of this.#cells.values()) if (!this.#residents.has(cell)) return false
    for (const cell of this.#residents) cell.stop({ kind: 'shutdown' }, true)
    return this.#cells.size === 0
  }

  /** Asks all actors to end. */
  stopAll(): void {
    for (const cell of [...this.#cells.values()].reverse()) cell.stop({ kind: 'shutdown' }, true)
  }

  /** All actors of this thread, for the tree. */
  rows(): ActorRow[] {
    return Array.from(this.#cells.values(), rowOf)
  }

  /** Ends the actor whose code, also asynchronous code, threw. `false`: it was nobody's. */
  attribute(error: unknown): boolean {
    const cell = currentActor.getStore()
    if (cell === undefined || cell.runtime !== this) return false
    if (cell.state === 'ended') logLateError(this.log, cell, error)
    cell.crash(error)
    return true
  }

  /** Ends all that is left, without asking. */
  close(): void {
    for (const cell of [...this.#cells.values()].reverse()) cell.kill()
    for (const asks of this.#remoteAsks.values()) {
      for (const ask of [...asks.values()]) ask.refuse('cancelled', 'the system stopped')
    }
    this.successors.close()
    this.timers.close()
    this.deadLetters.close()
  }
}

/** Whoever asks. What an actor left behind when it ended, a connection that others use now, asks for itself. */
function callingActor(): ActorCell | undefined {
  const caller = currentActor.getStore()
  return caller?.state === 'ended' ? undefined : caller
}
