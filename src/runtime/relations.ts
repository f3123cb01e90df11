import type { Crash, ExitReason } from '../actors/index.ts'
import type { PendingAsk } from './asks.ts'
import type { Ref } from './ref.ts'
import type { Timer } from './timers.ts'

/** Someone who monitors an actor. */
export interface Watcher {
  readonly ref: Ref
  readonly monitor: number
}

/** The tables of those few actors that need them. */
class Tables {
  links: Map<number, Ref> | undefined = undefined
  watchers: Map<number, Watcher> | undefined = undefined
  monitors: Map<number, Ref> | undefined = undefined
  asks: Set<PendingAsk> | undefined = undefined
  timers: Map<number, Timer> | undefined = undefined
  names: string[] | undefined = undefined
  /** Children this actor is stopping: their end goes to the callback. */
  stopping: Map<number, (reason: ExitReason) => void> | undefined = undefined
  crashes: readonly Crash[] | undefined = undefined
}

/**
 * What ties one actor to others, and has to be settled when it ends. Kept here, arranged by the runtime. Most actors
 * have one link, to their parent, and nothing else: each table is made when it is needed.
 */
export class Relations {
  #link: Ref | undefined = undefined
  #tables: Tables | undefined = undefined

  // --- Links

  linkTo(ref: Ref): void {
    const others = this.#tables?.links?.size ?? 0
    // In the order they were made: the latest is the first to be ended.
    if (this.#link?.id === ref.id || (this.#link === undefined && others === 0)) {
      this.#link = ref
      return
    }
    const tables = this.#made()
    tables.links ??= new Map()
    tables.links.set(ref.id, ref)
  }

  /** `false`: there was no link. */
  unlinkFrom(id: number): boolean {
    if (this.#link?.id !== id) return this.#tables?.links?.delete(id) === true
    this.#link = undefined
    return true
  }

  isLinkedTo(id: number): boolean {
    return this.#link?.id === id || this.#tables?.links?.has(id) === true
  }

  links(): Iterable<Ref> {
    const others = this.#tables?.links?.values() ?? []
    return this.#link === undefined ? others : [this.#link, ...others]
  }

  // --- Children that are being stopped

  expectEnd(id: number, ended: (reason: ExitReason) => void): void {
    const tables = this.#made()
    tables.stopping ??= new Map()
    tables.stopping.set(id, ended)
  }

  expectsEnd(id: number): boolean {
    return this.#tables?.stopping?.has(id) === true
  }

  /** Who waits for the end of this child, once. */
  takeExpectation(id: number): ((reason: ExitReason) => void) | undefined {
    const ended = this.#tables?.stopping?.get(id)
    this.#tables?.stopping?.delete(id)
    return ended
  }

  // --- What its supervisor remembers of its predecessors

  get crashes(): readonly Crash[] {
    return this.#tables?.crashes ?? []
  }

  setCrashes(crashes: readonly Crash[]): void {
    this.#made().crashes = crashes
  }

  // --- Monitors: those of this actor, and those who monitor it

  addMonitor(monitor: number, target: Ref): void {
    const tables = this.#made()
    tables.monitors ??= new Map()
    tables.monitors.set(monitor, target)
  }

  hasMonitor(monitor: number): boolean {
    return this.#tables?.monitors?.has(monitor) === true
  }

  removeMonitor(monitor: number): Ref | undefined {
    const target = this.#tables?.monitors?.get(monitor)
    this.#tables?.monitors?.delete(monitor)
    return target
  }

  monitors(): Iterable<[number, Ref]> {
    return this.#tables?.monitors ?? []
  }

  addWatcher(key: number, watcher: Watcher): void {
    const tables = this.#made()
    tables.watchers ??= new Map()
    tables.watchers.set(key, watcher)
  }

  removeWatcher(key: number): void {
    this.#tables?.watchers?.delete(key)
  }

  /** Those who watched from a thread that is gone. */
  dropWatchers(thread: number): void {
    const watchers = this.#tables?.watchers
    if (watchers === undefined) return
    for (const [key, watcher] of watchers) if (watcher.ref.thread === thread) watchers.delete(key)
  }

  watchers(): Iterable<Watcher> {
    return this.#tables?.watchers?.values() ?? []
  }

  // --- Asks, timers, names

  addAsk(ask: PendingAsk): void {
    const tables = this.#made()
    tables.asks ??= new Set()
    tables.asks.add(ask)
  }

  removeAsk(ask: PendingAsk): void {
    this.#tables?.asks?.delete(ask)
  }

  takeAsks(): Iterable<PendingAsk> {
    const tables = this.#tables
    const asks = tables?.asks
    if (tables !== undefined) tables.asks = undefined
    return asks ?? []
  }

  addTimer(id: number, timer: Timer): void {
    const tables = this.#made()
    tables.timers ??= new Map()
    tables.timers.set(id, timer)
  }

  removeTimer(id: number): Timer | undefined {
    const timer = this.#tables?.timers?.get(id)
    this.#tables?.timers?.delete(id)
    return timer
  }

  cancelTimers(): void {
    for (const timer of this.#tables?.timers?.values() ?? []) timer.cancelTimer()
  }

  addName(name: string): void {
    const tables = this.#made()
    tables.names ??= []
    tables.names.push(name)
  }

  get names(): readonly string[] {
    return this.#tables?.names ?? []
  }

  /** A ref may live much longer than its actor: drop what hangs on it. */
  clear(): void {
    this.#link = this.#tables = undefined
  }

  #made(): Tables {
    this.#tables ??= new Tables()
    return this.#tables
  }
}
