import type { Socket } from 'node:net'
import type { ChildStart, ContextRuntime, RestartedChild } from '../actors/context.ts'
import { checkReason } from '../actors/exit-reason.ts'
import {
  type ActorContext,
  type ActorDefinition,
  type ActorRef,
  type AnyActorDefinition,
  type AnyContract,
  type AnyRef,
  type AskFailure,
  type Clock,
  Deferred,
  type ExitReason,
  type Logger,
  normal,
  type SpawnOptions,
  UsageError,
} from '../actors/index.ts'
import { ActorLog } from './actor-log.ts'
import type { ActorCell } from './cell.ts'
import { ownRef, type Ref, refuseType } from './ref.ts'
import { Timer } from './timers.ts'

class MessageTimer extends Timer {
  readonly id: number
  readonly #cell: ActorCell
  readonly #type: string
  readonly #body: readonly unknown[]

  constructor(cell: ActorCell, id: number, type: string, body: readonly unknown[]) {
    super()
    this.id = id
    this.#cell = cell
    this.#type = type
    this.#body = body
  }

  override ring(): void {
    this.#cell.relations.removeTimer(this.id)
    this.#cell.acceptAlways(this.#type, this.#body)
  }
}

/** What a handler returns when its message is answered by someone else or another time. */
// biome-ignore lint/suspicious/noExplicitAny: it is never resolved
const elsewhere = new Deferred<any>()

/** The context given to `init`. Thin: what it does is done by the cell and the thread's runtime. */
export class CellContext implements ActorContext, ContextRuntime {
  readonly #cell: ActorCell
  #log: Logger | undefined

  constructor(cell: ActorCell) {
    this.#cell = cell
  }

  get self(): ActorRef {
    return this.#cell.ref
  }

  get parent(): AnyRef | undefined {
    return this.#cell.parent
  }

  get log(): Logger {
    const { definition, id, runtime } = this.#cell
    this.#log ??= new ActorLog(runtime.log, { component: definition.name, actor: id })
    return this.#log
  }

  get clock(): Clock {
    return this.#cell.runtime.time
  }

  get runtime(): ContextRuntime {
    return this
  }

  spawnLink<D extends AnyContract, A>(
    definition: ActorDefinition<D, A>,
    args: A,
    options?: SpawnOptions,
  ): ActorRef<D> {
    const parent = this.#living()
    return parent.runtime.spawn({
      definition,
      args,
      options: options ?? {},
      parent,
      link: true,
    }) as ActorRef<D>
  }

  stop(reason: ExitReason = normal): void {
    checkReason(reason)
    this.#cell.stop(reason)
  }

  exit(ref: AnyRef, reason: ExitReason): void {
    checkReason(reason)
    this.#cell.runtime.ties.exit(this.#cell.ref, this.#own(ref), reason)
  }

  monitor(ref: AnyRef): number {
    return this.#cell.runtime.ties.watch(this.#living(), this.#own(ref))
  }

  demonitor(monitor: number): void {
    const target = this.#cell.relations.removeMonitor(monitor)
    if (target !== undefined) this.#cell.runtime.ties.unwatch(this.#cell, target, monitor)
    else this.#cell.dropDown(monitor)
  }

  link(ref: AnyRef): void {
    this.#cell.runtime.ties.link(this.#living(), this.#own(ref))
  }

  unlink(ref: AnyRef): void {
    const { childId, parent } = this.#cell
    if (childId !== undefined && ref.id === parent?.id) {
      throw new UsageError('a child cannot unlink from its supervisor', { child: childId })
    }
    this.#cell.runtime.ties.unlink(this.#cell, this.#own(ref))
  }

  trapExit(on = true): void {
    this.#cell.traps = on
  }

  stash(): typeof elsewhere {
    this.#cell.stash()
    return elsewhere
  }

  unstashAll(): void {
    this.#cell.unstashAll()
  }

  forward(to: AnyRef, type: string, ...body: unknown[]): typeof elsewhere {
    return this.passOn(to, type, body)
  }

  sendAfter(delayMs: number, type: string, ...body: unknown[]): number {
    const cell = this.#living()
    if (typeof type !== 'string') refuseType(type)
    if (typeof delayMs !== 'number' || Number.isNaN(delayMs)) {
      throw new UsageError(`sendAfter ${type}: ${String(delayMs)} is no delay in milliseconds`)
    }
    const id = cell.runtime.nextNumber()
    const timer = new MessageTimer(cell, id, type, body)
    cell.relations.addTimer(id, timer)
    cell.runtime.timers.start(timer, delayMs)
    return id
  }

  cancelTimer(timer: number): void {
    this.#cell.relations.removeTimer(timer)?.cancelTimer()
  }

  // biome-ignore lint/suspicious/noExplicitAny: any callback
  bind<F extends (...args: any[]) => void>(callback: F): (...args: Parameters<F>) => void {
    const cell = this.#cell
    return (...args) => cell.perform(callback, args)
  }

  whereis<D extends AnyContract = AnyContract>(name: string): ActorRef<D> | undefined {
    return this.#cell.runtime.registry.whereis(name) as ActorRef<D> | undefined
  }

  register(name: string): void {
    const cell = this.#living()
    cell.runtime.registry.register(name, cell.ref)
    cell.relations.addName(name)
  }

  takeSocket(): Socket | undefined {
    const socket = this.#cell.socket
    this.#cell.socket = undefined
    return socket
  }

  setting<T>(key: string): T | undefined {
    return this.#cell.runtime.settings[key] as T | undefined
  }

  local<T>(key: string, create: () => T): T {
    return this.#cell.runtime.local(key, create)
  }

  // --- ContextRuntime

  spawnChild(
    definition: AnyActorDefinition,
    args: unknown,
    options: ChildStart,
    started: (reason: ExitReason | undefined) => void,
  ): ActorRef {
    return this.#cell.runtime.spawn({
      definition,
      args,
      options,
      parent: this.#living(),
      link: true,
      started,
    })
  }

  stopChild(
    ref: AnyRef,
    shutdown: number | 'infinity' | 'brutal_kill',
    ended: (reason: ExitReason) => void,
  ): void {
    this.#cell.runtime.ties.stopChild(this.#cell, ref as Ref, shutdown, ended)
  }

  continue(type: string, ...body: readonly unknown[]): void {
    this.#living().acceptFirst([[type, ...body]])
  }

  remind(type: string, ...body: readonly unknown[]): void {
    this.#cell.acceptAlways(type, body)
  }

  hearEndsFirst(): void {
    this.#cell.hearEndsFirst()
  }

  insert(messages: readonly (readonly [type: string, ...body: unknown[]])[]): void {
    this.#cell.acceptFirst(messages)
  }

  atEnd(callback: () => void): void {
    this.#cell.atEnd(callback)
  }

  random(): number {
    return this.#cell.runtime.random()
  }

  passOn(to: AnyRef, type: string, body: readonly unknown[], settled?: () => void): typeof elsewhere {
    const cell = this.#living()
    const own = this.#own(to)
    if (typeof type !== 'string') refuseType(type)
    const asker = cell.takeMessage()?.asker
    cell.runtime.forward(own, type, body, asker, settled)
    return elsewhere
  }

  refuse(failure: AskFailure, why: string, reason?: ExitReason): typeof elsewhere {
    const cell = this.#living()
    const message = cell.takeMessage()
    if (message?.asker !== undefined) message.asker.refuse(failure, why, reason)
    else if (message !== undefined) {
      cell.runtime.deadLetter(cell.ref, message.type, message.body, failure === 'overloaded')
    }
    return elsewhere
  }

  restarted(child: RestartedChild): void {
    this.#cell.runtime.restarted(child)
  }

  #own(ref: AnyRef): Ref {
    return ownRef(ref, this.#cell.runtime.home)
  }

  /** An actor that ended must not get what nobody would ever take back. */
  #living(): ActorCell {
    if (this.#cell.state === 'ended') throw new UsageError('the actor has ended')
    return this.#cell
  }
}
