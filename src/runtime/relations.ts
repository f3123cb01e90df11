import type { ExitReason } from '../actors/index.ts'
import type { PendingAsk } from './asks.ts'
import type { Ref } from './ref.ts'
import type { Timer } from './timers.ts'

/** Someone who monitors an actor. */
export interface Watcher {
  readonly ref: Ref
  readonly monitor: number
}

/**
 * What ties one actor to others, and has to be settled when it ends. Kept here, arranged by the runtime. Most actors
 * have few of these, so each table is made when it is needed.
 */
export class Relations {
  #links: Map<number, Ref> | undefined = undefined
  #watchers: Map<number, Watcher> | undefined = undefined
  #monitors: Map<number, Ref> | undefined = undefined
  #asks: Set<PendingAsk> | undefined = undefined
  #timers: Map<number, Timer> | undefined = undefined
  #names: string[] | undefined = undefined
  /** Children this actor is stopping: their end goes to the callback. */
  #stopping: Map<number, (reason: ExitReason) => void> | undefined = undefined

  // --- Links

  linkTo(ref: Ref): void {
    this.#links ??= new Map()
    this.#links.set(ref.id, ref)
  }

  /** `false`: there was no link. */
  unlinkFrom(id: number): boolean {
    return this.#links?.delete(id) === true
  }

  isLinkedTo(id: number): boolean {
    return this.#links?.has(id) === true
  }

  links(): Iterable<Ref> {
    return this.#links?.values() ?? []
  }

  // --- Children that are being stopped

  expectEnd(id: number, ended: (reason: ExitReason) => void): void {
    this.#stopping ??= new Map()
    this.#stopping.set(id, ended)
  }

  expectsEnd(id: number): boolean {
    return this.#stopping?.has(id) === true
  }

  /** Who waits for the end of this child, once. */
  takeExpectation(id: number): ((reason: ExitReason) => void) | undefined {
    const ended = this.#stopping?.get(id)
    this.#stopping?.delete(id)
    return ended
  }

  // --- Monitors: those of this actor, and those who monitor it

  addMonitor(monitor: number, target: Ref): void {
    this.#monitors ??= new Map()
    this.#monitors.set(monitor, target)
  }

  hasMonitor(monitor: number): boolean {
    return this.#monitors?.has(monitor) === true
  }

  removeMonitor(monitor: number): Ref | undefined {
    const target = this.#monitors?.get(monitor)
    this.#monitors?.delete(monitor)
    return target
  }

  monitors(): Iterable<[number, Ref]> {
    return this.#monitors ?? []
  }

  addWatcher(key: number, watcher: Watcher): void {
    this.#watchers ??= new Map()
    this.#watchers.set(key, watcher)
  }

  removeWatcher(key: number): void {
    this.#watchers?.delete(key)
  }

  /** Those who watched from a thread that is gone. */
  dropWatchers(thread: number): void {
    if (this.#watchers === undefined) return
    for (const [key, watcher] of this.#watchers) if (watcher.ref.thread === thread) this.#watchers.delete(key)
  }

  watchers(): Iterable<Watcher> {
    return this.#watchers?.values() ?? []
  }

  // --- Asks, timers, names

  addAsk(ask: PendingAsk): void {
    this.#asks ??= new Set()
    this.#asks.add(ask)
  }

  removeAsk(ask: PendingAsk): void {
    this.#asks?.delete(ask)
  }

  takeAsks(): Iterable<PendingAsk> {
    const asks = this.#asks
    this.#asks = undefined
    return asks ?? []
  }

  addTimer(id: number, timer: Timer): void {
    this.#timers ??= new Map()
    this.#timers.set(id, timer)
  }

  removeTimer(id: number): Timer | undefined {
    const timer = this.#timers?.get(id)
    this.#timers?.delete(id)
    return timer
  }

  cancelTimers(): void {
    if (this.#timers !== undefined) for (const timer of this.#timers.values()) timer.cancelTimer()
  }

  addName(name: string): void {
    this.#names ??= []
    this.#names.push(name)
  }

  get names(): readonly string[] {
    return this.#names ?? []
  }

  /** A ref may live much longer than its actor: drop what hangs on it. */
  clear(): void {
    this.#links = this.#watchers = this.#monitors = this.#timers = this.#names = this.#stopping = undefined
  }
}
