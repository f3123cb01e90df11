/**
 * One actor: its message queue, its state, and who has to be told when it ends. Runs one handler at a time, also
 * while a handler awaits. Everything an actor's code does runs in the actor's async context, so that an error can
 * be traced to the actor even when it is thrown from a callback nobody bound.
 */
import type { Socket } from 'node:net'
import {
  type AnyActorDefinition,
  Deferred,
  type ExitReason,
  errorReason,
  ignore,
  ignored,
  killed,
  noActor,
  normal,
  ReplyStream,
  UsageError,
} from '../actors/index.ts'
import { asPromise } from './as-promise.ts'
import { CellContext } from './cell-context.ts'
import { handOver, reasonOfParent, refuseMessages, tellEnd, whyEnded } from './ending.ts'
import { type AnyHandlers, handlerOf } from './handlers.ts'
import { type Asker, Message, Signal } from './message.ts'
import { MessageQueue } from './message-queue.ts'
import { Rare } from './rare.ts'
import { Ref } from './ref.ts'
import type { Relations } from './relations.ts'
import { answerByStream, answerLater, isSendable, refuseUnknown } from './replies.ts'
import { currentActor, type Scope } from './scopes.ts'
import { waitsForTurn } from './signals.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import { refuseUnsendable } from './transport/unsendable.ts'

export { currentActor } from './scopes.ts'

export type CellState = 'new' | 'starting' | 'idle' | 'running' | 'waiting' | 'stopping' | 'ended'

const defaultMaxQueue = 10_000

/** What the cell is told when it is made. */
export interface CellStart {
  readonly id: number
  readonly definition: AnyActorDefinition
  readonly args: unknown
  readonly parent: Ref | undefined
  readonly childId: string | undefined
  readonly restarts: number
  readonly socket: Socket | undefined
  /** Called once: `init` is done, or the reason why the actor ended before. */
  readonly started: ((reason: ExitReason | undefined) => void) | undefined
}

export class ActorCell extends MessageQueue {
  readonly definition: AnyActorDefinition
  readonly runtime: ThreadRuntime
  readonly ref: Ref
  readonly parent: Ref | undefined
  readonly childId: string | undefined
  readonly restarts: number
  /** Link of the run queue. */
  nextReady: ActorCell | undefined = undefined
  state: CellState = 'new'
  handled = 0
  traps = false
  /** Type of the message in hand, for the tree. */
  currentType: string | undefined = undefined
  socket: Socket | undefined

  #scope: Scope | undefined = undefined
  #maxQueue: number
  /** Until its `init` is done: what it was started with. */
  #origin: CellStart | undefined
  #handlers: AnyHandlers | undefined = undefined
  #isReady = false
  /** The message in hand, until it is answered, put aside or passed on. */
  #current: Message | undefined = undefined
  #rare: Rare | undefined = undefined

  constructor(runtime: ThreadRuntime, start: CellStart) {
    super()
    this.runtime = runtime
    this.definition = start.definition
    this.ref = new Ref(runtime, start.id, runtime.thread, this)
    this.parent = start.parent
    this.childId = start.childId
    this.restarts = start.restarts
    this.socket = start.socket
    this.#origin = start
    this.#maxQueue = start.definition.maxQueue ?? defaultMaxQueue
  }

  get id(): number {
    return this.ref.id
  }

  /** Part of the cell, and no object of its own: there may be very many idle actors. */
  get relations(): Relations {
    return this
  }

  get #made(): Rare {
    const rare = this.#rare ?? new Rare()
    this.#rare = rare
    return rare
  }

  get #inScope(): Scope {
    const scope = this.#scope ?? this.runtime.scopes.open(this)
    this.#scope = scope
    return scope
  }

  /** @internal It gets another one when it runs again. */
  closeScope(): void {
    this.#scope = undefined
  }

  // --- Messages

  /** Takes a message into the queue. `false`: the queue is full. An actor that ended takes everything, and does nothing. */
  accept(type: string, body: readonly unknown[], asker: Asker | undefined): boolean {
    if (this.state === 'ended') {
      if (this.runtime.isDraining && this.runtime.successors.accept(this.id, type, body, asker)) return true
      if (asker === undefined) this.runtime.deadLetter(this.ref, type, body)
      else asker.refuse('no_actor', 'it has ended')
      return true
    }
    if (this.queueLength >= this.#maxQueue) {
      asker?.refuse('overloaded', 'its message queue is full')
      return false
    }
    if (this.runtime.checkMessages) this.#check(type, body)
    this.#enqueue(new Message(type, body, asker))
    return true
  }

  /** @throws UsageError for what could not cross a thread. Supervisors get specs, of which not all must. */
  #check(type: string, body: readonly unknown[]): void {
    if (this.definition.type !== 'supervisor') refuseUnsendable(type, body)
  }

  /** As `accept`, for what must not get lost: timers and the actor's messages to itself. */
  acceptAlways(type: string, body: readonly unknown[]): void {
    if (this.state !== 'ended') this.#enqueue(new Message(type, body, undefined))
  }

  /** Messages of the actor to itself, before all that wait. */
  acceptFirst(messages: readonly (readonly [type: string, ...body: unknown[]])[]): void {
    for (const [type, ...body] of messages.toReversed()) {
      const message = new Message(type, body, undefined)
      this.prependMessages({ first: message, last: message })
      this.queueLength++
    }
    this.#rare?.messagesTaken(-messages.length)
    if (this.state === 'idle') this.#ready()
  }

  #enqueue(message: Message): void {
    this.addMessage(message)
    if (this.state === 'idle') this.#ready()
  }

  /** The socket it had to wait for. */
  giveSocket(socket: Socket): void {
    if (this.state === 'ended') {
      socket.destroy()
      return
    }
    this.socket = socket
    this.#ready()
  }

  /** Gets a turn: for a new actor its `init`. */
  ready(): void {
    this.#ready()
  }

  #ready(): void {
    if (this.#isReady) return
    this.#isReady = true
    this.runtime.scheduler.push(this)
  }

  /**
   * Handles up to `limit` messages and signals; returns how many, at least 1. Called by the scheduler alone, inside
   * `outsideActors`.
   */
  takeTurn(limit: number): number {
    this.#isReady = false
    if (this.state === 'ended') return 1
    const handled = this.#inTurn(limit)
    if (this.state === 'idle' && this.#hasWork()) this.#ready()
    return handled > 0 ? handled : 1
  }

  #inTurn(limit: number): number {
    if (this.#scope !== undefined) return this.#scope.runInAsyncScope(this.#run, this, limit)
    // The scope is for those who come back: of very many actors started at once most run their `init` alone.
    if (this.state === 'new') currentActor.enterWith(this)
    else this.#scope = this.runtime.scopes.enter(this)
    return this.#run(limit)
  }

  #hasWork(): boolean {
    if (this.firstMessage !== undefined) return true
    const rare = this.#rare
    return rare !== undefined && (rare.firstSignal !== undefined || rare.stopReason !== undefined)
  }

  #run(limit: number): number {
    let handled = 0
    if (this.state === 'new') {
      this.#start()
      handled++
    }
    while (handled < limit && this.state === 'idle') {
      handled++
      const rare = this.#rare
      if (rare !== undefined) {
        const { stopReason } = rare
        if (stopReason !== undefined && (rare.left === 0 || this.firstMessage === undefined)) {
          this.#finish(stopReason)
          break
        }
        const signal = rare.takeSignal()
        if (signal !== undefined) {
          this.#handleSignal(signal)
          continue
        }
      }
      const message = this.shiftMessage()
      if (message === undefined) break
      if (rare !== undefined) {
        rare.messagesTaken(1)
        if (rare.stopReason !== undefined) rare.left--
      }
      this.#handle(message)
    }
    return handled
  }

  #start(): void {
    this.state = 'starting'
    const context = new CellContext(this)
    const { runtime } = this
    runtime.heartbeat?.enter(this.definition, 'init', this.ref.id)
    try {
      runtime.beforeStart?.(this.definition.name)
      const handlers = this.definition.init(context, this.#origin?.args)
      const promise = asPromise(handlers)
      if (promise === undefined) {
        this.#initialised(handlers)
        return
      }
      promise.then(
        (value: unknown) => this.#initialised(value),
        (error: unknown) => this.#failed(error),
      )
    } catch (error) {
      this.#failed(error)
    }
  }

  #initialised(handlers: unknown): void {
    if (this.state !== 'starting') return
    if (handlers === ignore) {
      this.#end(ignored)
      return
    }
    if (typeof handlers !== 'object' || handlers === null) {
      this.#failed(new TypeError(`init of ${this.definition.name} returned no handlers`))
      return
    }
    this.#handlers = handlers as AnyHandlers
    // It starts anew from its supervisor's copy; ours would only take up memory.
    // A definition that had to be imported first did not know before.
    this.#maxQueue = this.definition.maxQueue ?? defaultMaxQueue
    try {
      this.runtime.initialised(this)
    } catch (error) {
      this.#failed(error)
      return
    }
    this.state = 'idle'
    const { started } = this.#origin ?? {}
    this.#origin = undefined
    started?.(undefined)
    if (this.#hasWork()) this.#ready()
  }

  #handle(message: Message): void {
    const { type } = message
    const handler = handlerOf(this.#handlers, type)
    if (handler === undefined) {
      refuseUnknown(this, message)
      return
    }
    this.handled++
    this.state = 'running'
    this.#current = message
    this.currentType = type
    this.runtime.heartbeat?.enter(this.definition, type, this.ref.id)
    let result: unknown
    try {
      result = handler.apply(this.#handlers, message.body as unknown[])
      if (typeof result === 'object' && result !== null) {
        const promise = asPromise(result)
        if (promise !== undefined) {
          this.#await(promise)
          return
        }
      }
    } catch (error) {
      this.#failed(error)
      return
    }
    this.#done(result)
  }

  /** The handler in hand is done. */
  #done(result: unknown): void {
    // It may have been killed meanwhile, by itself even.
    if (this.state !== 'running' && this.state !== 'waiting') return
    this.state = 'idle'
    this.currentType = undefined
    const message = this.#current
    if (message === undefined) return
    this.#current = undefined
    const { asker } = message
    if (typeof result === 'object' && result !== null) {
      if (result instanceof Deferred) {
        if (asker !== undefined) answerLater(asker, result, this.#promised())
        return
      }
      if (result instanceof ReplyStream) {
        answerByStream(asker, result, this.#promised())
        return
      }
    }
    if (asker === undefined) return
    if (this.runtime.checkMessages && !isSendable(this.runtime, message.type, result, asker)) return
    asker.answer(result)
  }

  /** Those who wait for what this actor has promised. */
  #promised(): Set<Asker> {
    const rare = this.#made
    rare.promised ??= new Set()
    return rare.promised
  }

  #await(result: Promise<unknown>): void {
    if (this.state !== 'running') {
      // Killed by its own handler: nobody waits for what the handler still does.
      result.then(undefined, () => {})
      return
    }
    this.state = 'waiting'
    const rare = this.#made
    rare.waitingSince = this.runtime.time.monotonic()
    this.runtime.heartbeat?.awaits()
    rare.resume ??= (value) => {
      this.#done(value)
      if (this.state === 'idle' && this.#hasWork()) this.#ready()
    }
    rare.crash ??= (error) => {
      if (this.state === 'waiting') this.#failed(error)
    }
    result.then(rare.resume, rare.crash)
  }

  /** Puts the message in hand aside. */
  stash(): void {
    const message = this.#current
    if (message === undefined) throw new UsageError('there is no message in hand to put aside')
    this.#current = undefined
    this.#made.putAside(message)
    this.queueLength++
  }

  /** Those put aside are next, in the order they came. */
  unstashAll(): void {
    const stash = this.#rare?.takeStash()
    if (stash === undefined) return
    this.prependMessages(stash)
    if (this.state === 'idle') this.#ready()
  }

  atEnd(callback: () => void): void {
    this.#made.atEnd = callback
  }

  hearEndsFirst(): void {
    this.#made.signalsFirst = true
  }

  get isInitialised(): boolean {
    return this.#handlers !== undefined
  }

  /** Takes over the message in hand, and the duty to who asked. */
  takeMessage(): Message | undefined {
    const message = this.#current
    this.#current = undefined
    return message
  }

  // --- Signals

  signal(signal: Signal): void {
    if (this.state === 'ended') return
    const perform = (ended: (reason: ExitReason) => void): void =>
      this.#inScope.runInAsyncScope(ended, undefined, signal.reason)
    if (!waitsForTurn(this, signal, perform)) return
    const rare = this.#made
    rare.addSignal(signal, this.queueLength - rare.stashed)
    if (this.state === 'idle') this.#ready()
  }

  #handleSignal(signal: Signal): void {
    if (signal.kind !== 'down' && signal.ref.id === this.parent?.id) {
      // As in OTP: who traps exits handles what came before the word of its parent, and that word ends it all the same.
      this.#finish(reasonOfParent(signal))
      return
    }
    const handlers = this.#handlers as {
      handleDown?(down: object): unknown
      handleExit?(ref: Ref, reason: ExitReason): unknown
    }
    this.state = 'running'
    let promise: Promise<unknown> | undefined
    try {
      if (signal.kind === 'down') {
        this.currentType = 'handleDown'
        this.runtime.heartbeat?.enter(this.definition, 'handleDown', this.ref.id)
        const { monitor, ref, reason } = signal
        promise = asPromise(handlers.handleDown?.({ monitor, ref, reason }))
      } else {
        this.currentType = 'handleExit'
        this.runtime.heartbeat?.enter(this.definition, 'handleExit', this.ref.id)
        promise = asPromise(handlers.handleExit?.(signal.ref, signal.reason))
      }
    } catch (error) {
      this.#failed(error)
      return
    }
    if (promise === undefined) this.#done(undefined)
    else this.#await(promise)
  }

  // --- The end

  /**
   * Ends the actor after the handler in hand. `asked`: by someone else, who need not wait for an `init`, unless the
   * actor traps exits, as one that has to clean up does: supervisors for instance.
   */
  stop(reason: ExitReason, asked = false): void {
    if (this.state === 'ended' || this.state === 'stopping') return
    const rare = this.#made
    if (rare.stopReason === undefined && asked && this.runtime.isDraining && reason.kind === 'shutdown') {
      rare.left = this.queueLength
    }
    rare.stopReason ??= reason
    if (this.state === 'idle') this.#ready()
    else if (asked && !this.traps && (this.state === 'new' || this.state === 'starting')) {
      this.#end(rare.stopReason)
    }
  }

  /** Ends the actor at once, without asking it. */
  kill(reason: ExitReason = killed): void {
    if (this.state === 'ended') return
    const rare = this.#rare
    // What ends it already, and only waits for its turn, was first.
    const before = this.state === 'idle' && rare?.left === 0 ? rare.stopReason : undefined
    this.#end(before ?? reason)
  }

  /** Code that ran on the actor's behalf threw: the actor ends, also when a handler of it is waiting. */
  crash(error: unknown): void {
    switch (this.state) {
      case 'idle':
      case 'waiting':
        this.#inScope.runInAsyncScope(this.#failed, this, error)
        return
      case 'running':
        // Its handler is on the stack: it ends when that is done.
        this.#made.stopReason = errorReason(error)
        this.#made.left = 0
        return
      case 'new':
      case 'starting':
      case 'stopping':
        this.#end(errorReason(error))
    }
  }

  #failed(error: unknown): void {
    if (this.state === 'ended') return
    const reason = errorReason(error)
    if (this.#handlers === undefined || this.state === 'stopping') this.#end(reason)
    else this.#finish(reason)
  }

  /** Says goodbye, then ends. */
  #finish(reason: ExitReason): void {
    this.state = 'stopping'
    this.currentType = 'terminate'
    this.runtime.heartbeat?.enter(this.definition, 'terminate', this.ref.id)
    const handlers = this.#handlers as { terminate?(reason: ExitReason): unknown } | undefined
    if (handlers?.terminate === undefined) {
      this.#end(reason)
      return
    }
    let promise: Promise<unknown> | undefined
    try {
      promise = asPromise(handlers.terminate(reason))
    } catch (error) {
      this.#end(errorReason(error))
      return
    }
    if (promise === undefined) {
      this.#end(reason)
      return
    }
    promise.then(
      () => this.#end(reason),
      (error: unknown) => this.#end(errorReason(error)),
    )
  }

  #end(reason: ExitReason): void {
    if (this.state === 'ended') return
    this.state = 'ended'
    this.currentType = undefined
    const { runtime, ref } = this
    runtime.forget(this)
    const { relations } = this
    // The names first: whoever learns of the end may start a successor under the same name at once.
    for (const name of relations.names) runtime.registry.unregister(name, ref)
    handOver(this, reason)
    this.#refuseAll(reason)
    this.socket?.destroy()
    this.#rare?.atEnd?.()
    relations.cancelTimers()
    for (const [monitor, target] of relations.monitors()) runtime.ties.unwatch(this, target, monitor)
    this.#origin?.started?.(reason)
    tellEnd(this, reason)
    runtime.ended(this, reason)
    this.#handlers = this.#origin = undefined
    if (this.#scope !== undefined) runtime.scopes.close(this.#scope)
    this.#scope = undefined
    relations.clear()
    this.socket = undefined
  }

  /** Settles everything others wait for from this actor, and everything it waits for. */
  #refuseAll(reason: ExitReason): void {
    const why = whyEnded(reason)
    this.#current?.asker?.refuse('down', why, reason)
    this.#current = undefined
    this.unstashAll()
    refuseMessages(this, reason)
    this.#rare?.dropSignals()
    this.#rare?.refusePromised(why, reason)
    for (const ask of this.relations.takeAsks()) ask.refuse('cancelled', 'the caller ended')
  }

  // --- What the runtime needs to know

  watchedBy(key: number, ref: Ref, monitor: number): void {
    if (this.state === 'ended') this.runtime.ties.send(ref, new Signal('down', this.ref, noActor, monitor))
    else this.relations.addWatcher(key, { ref, monitor })
  }

  /** What its next turn begins with, for those who draw the turns. */
  get next(): 'init' | ExitReason | Signal | Message | undefined {
    if (this.state === 'new') return 'init'
    if (this.state !== 'idle') return undefined
    return this.#rare?.stopReason ?? this.#rare?.dueSignal ?? this.firstMessage
  }

  /** Another bound of the queue than the definition's; without one that again. For tests. */
  limitQueue(messages = this.definition.maxQueue ?? defaultMaxQueue): void {
    this.#maxQueue = messages
  }

  /** For how long the handler in hand has been awaiting. */
  get awaitsMs(): number | undefined {
    if (this.state !== 'waiting') return undefined
    return Math.round(this.runtime.time.monotonic() - this.#made.waitingSince)
  }

  /** Calls `ended` instead of `handleExit` when the linked child ends; `false`: it had ended already, and is told. */
  expectEndOf(ref: Ref, ended: (reason: ExitReason) => void): boolean {
    if (!this.relations.isLinkedTo(ref.id)) {
      ended(this.#rare?.takeEndOf(ref.id)?.reason ?? normal)
      return false
    }
    this.relations.expectEnd(ref.id, ended)
    return true
  }

  /** Takes back the word of an end that waits for its turn. */
  dropDown(monitor: number): void {
    this.#rare?.takeDown(monitor)
  }

  /** Runs `callback` as this actor; what it throws ends the actor. */
  perform<A extends unknown[]>(callback: (...args: A) => unknown, args: A): void {
    if (this.state === 'ended') return
    this.runtime.heartbeat?.enter(this.definition, 'callback', this.ref.id)
    try {
      const promise = asPromise(this.#inScope.runInAsyncScope(callback, undefined, ...args))
      promise?.then(undefined, (error: unknown) => this.crash(error))
    } catch (error) {
      this.crash(error)
    }
  }
}
