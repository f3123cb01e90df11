/**
 * What ties the actors of one thread to others, wherever those live: links, monitors, exits, and children that are being
 * stopped. What an actor itself keeps of them is in `relations.ts`.
 */
import { type ExitReason, killed, noActor } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import { Signal } from './message.ts'
import { Ref } from './ref.ts'
import { RemoteRelations } from './remote-side.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import { CallbackTimer, type Timer } from './timers.ts'

export class Ties {
  readonly #runtime: ThreadRuntime
  /** Actors of other threads that actors here are linked to or monitor, by id, for each thread. */
  readonly #remotes = new Map<number, Map<number, RemoteRelations>>()

  constructor(runtime: ThreadRuntime) {
    this.#runtime = runtime
  }

  // --- Actors of other threads

  find(thread: number, id: number): RemoteRelations | undefined {
    return this.#remotes.get(thread)?.get(id)
  }

  /** As `find`, made when there is none. */
  with(thread: number, id: number): RemoteRelations {
    let actors = this.#remotes.get(thread)
    if (actors === undefined) {
      actors = new Map()
      this.#remotes.set(thread, actors)
    }
    let relations = actors.get(id)
    if (relations === undefined) {
      relations = new RemoteRelations(new Ref(this.#runtime, id, thread, undefined))
      actors.set(id, relations)
    }
    return relations
  }

  drop(thread: number, id: number): void {
    this.#remotes.get(thread)?.delete(id)
  }

  /** An actor of this thread ended. */
  forget(cell: ActorCell): void {
    for (const linked of cell.relations.links()) {
      if (linked.thread === this.#runtime.thread) continue
      const relations = this.find(linked.thread, linked.id)
      if (relations === undefined) continue
      relations.linked.delete(cell)
      if (relations.parent === cell) this.#runtime.registry.release(relations.ref)
      this.#forgetIfUnrelated(relations)
    }
  }

  /** The thread is gone. Returns what tells those here that were tied to its actors. */
  takeThread(thread: number): (reason: ExitReason) => void {
    const remotes = this.#remotes.get(thread)
    this.#remotes.delete(thread)
    return (reason) => {
      for (const { ref, started, linked, watching } of remotes?.values() ?? []) {
        started?.(reason)
        for (const cell of linked) cell.signal(new Signal('link', ref, reason))
        for (const [monitor, cell] of watching) cell.signal(new Signal('down', ref, reason, monitor))
      }
    }
  }

  childStarted(thread: number, id: number, reason: ExitReason | undefined): void {
    const relations = this.find(thread, id)
    const started = relations?.started
    if (relations === undefined || started === undefined) return
    relations.started = undefined
    started(reason)
    this.#forgetIfUnrelated(relations)
  }

  /** A signal from another thread for an actor of this one. */
  arrive(
    id: number,
    kind: 'exit' | 'link' | 'down' | 'kill',
    from: Ref,
    reason: ExitReason,
    monitor: number,
  ): void {
    if (kind === 'link' || kind === 'down') this.#remoteEnded(from, id, kind, monitor)
    const cell = this.#runtime.cell(id)
    if (cell === undefined) {
      if (kind === 'exit' || kind === 'kill') {
        this.#runtime.isEarly(id, () => this.arrive(id, kind, from, reason, monitor))
      }
      return
    }
    if (kind === 'kill') cell.kill(reason)
    else cell.signal(new Signal(kind, from, reason, monitor))
  }

  #remoteEnded(from: Ref, id: number, kind: 'link' | 'down', monitor: number): void {
    // Whoever hears of the end may start a successor at once, and the name may still be on its way round.
    this.#runtime.registry.forgetActor(from.id)
    const relations = this.find(from.thread, from.id)
    if (relations === undefined) return
    const cell = this.#runtime.cell(id)
    if (kind === 'down') relations.watching.delete(monitor)
    else if (cell !== undefined) relations.linked.delete(cell)
    this.#forgetIfUnrelated(relations)
  }

  /** The actor, if it is of this thread. In a simulation a ref may come from another one without crossing a link. */
  #here(ref: Ref): ActorCell | undefined {
    return ref.thread === this.#runtime.thread ? (ref.cell ?? this.#runtime.cell(ref.id)) : undefined
  }

  /** Sends a signal to wherever `to` lives. */
  send(to: Ref, signal: Signal): void {
    const cell = this.#here(to)
    if (cell !== undefined) cell.signal(signal)
    else if (to.thread === this.#runtime.thread) this.#runtime.isEarly(to.id, () => this.send(to, signal))
    else this.#runtime.cluster?.signal(to, signal.kind, signal.ref, signal.reason, signal.monitor)
  }

  exit(from: Ref, to: Ref, reason: ExitReason): void {
    const cell = this.#here(to)
    if (reason.kind !== 'killed') this.send(to, new Signal('exit', from, reason))
    else if (cell !== undefined) cell.kill(reason)
    else if (to.thread === this.#runtime.thread)
      this.#runtime.isEarly(to.id, () => this.exit(from, to, reason))
    else this.#runtime.cluster?.signal(to, 'kill', from, reason, 0)
  }

  watch(watcher: ActorCell, target: Ref): number {
    const monitor = this.#runtime.nextNumber()
    watcher.relations.addMonitor(monitor, target)
    this.#watch(watcher, target, monitor)
    return monitor
  }

  #watch(watcher: ActorCell, target: Ref, monitor: number): void {
    const cell = this.#here(target)
    if (cell !== undefined) cell.watchedBy(watcherKey(this.#runtime.thread, monitor), watcher.ref, monitor)
    else if (
      target.thread !== this.#runtime.thread &&
      this.#runtime.cluster?.isAlive(target.thread) === true
    ) {
      this.with(target.thread, target.id).watching.set(monitor, watcher)
      this.#runtime.cluster.relate(target, 'watch', watcher.ref, monitor)
    } else if (
      target.thread !== this.#runtime.thread ||
      !this.#runtime.isEarly(
        target.id,
        () => watcher.relations.hasMonitor(monitor) && this.#watch(watcher, target, monitor),
      )
    ) {
      watcher.signal(new Signal('down', target, noActor, monitor))
    }
  }

  unwatch(watcher: ActorCell, target: Ref, monitor: number): void {
    if (target.thread === this.#runtime.thread) {
      const cell = this.#here(target)
      cell?.relations.removeWatcher(watcherKey(this.#runtime.thread, monitor))
      return
    }
    const relations = this.find(target.thread, target.id)
    if (relations?.watching.delete(monitor) !== true) return
    this.#forgetIfUnrelated(relations)
    this.#runtime.cluster?.relate(target, 'unwatch', watcher.ref, monitor)
  }

  link(one: ActorCell, other: Ref): void {
    if (other.id === one.id || one.relations.isLinkedTo(other.id)) return
    one.relations.linkTo(other)
    this.#link(one, other)
  }

  #link(one: ActorCell, other: Ref): void {
    const cell = this.#here(other)
    if (cell !== undefined && cell.state !== 'ended') cell.relations.linkTo(one.ref)
    else if (other.thread !== this.#runtime.thread && this.#runtime.cluster?.isAlive(other.thread) === true) {
      this.with(other.thread, other.id).linked.add(one)
      this.#runtime.cluster.relate(other, 'link', one.ref, 0)
    } else if (
      other.thread !== this.#runtime.thread ||
      !this.#runtime.isEarly(other.id, () => one.relations.isLinkedTo(other.id) && this.#link(one, other))
    ) {
      one.signal(new Signal('link', other, noActor))
    }
  }

  unlink(one: ActorCell, other: Ref): void {
    if (!one.relations.unlinkFrom(other.id)) return
    const cell = this.#here(other)
    if (cell !== undefined) cell.relations.unlinkFrom(one.id)
    if (other.thread === this.#runtime.thread) return
    const relations = this.find(other.thread, other.id)
    relations?.linked.delete(one)
    if (relations !== undefined) this.#forgetIfUnrelated(relations)
    this.#runtime.cluster?.relate(other, 'unlink', one.ref, 0)
  }

  /** A relation an actor of another thread takes up with, or gives up to, an actor of this one. */
  relateTo(id: number, what: 'link' | 'unlink' | 'watch' | 'unwatch', from: Ref, monitor: number): void {
    const cell = this.#runtime.cell(id)
    if (cell === undefined && this.#runtime.isEarly(id, () => this.relateTo(id, what, from, monitor))) return
    switch (what) {
      case 'watch':
        if (cell !== undefined) cell.watchedBy(watcherKey(from.thread, monitor), from, monitor)
        else
          this.#runtime.cluster?.signal(
            from,
            'down',
            this.#runtime.refOf(id, this.#runtime.thread),
            noActor,
            monitor,
          )
        return
      case 'unwatch':
        cell?.relations.removeWatcher(watcherKey(from.thread, monitor))
        return
      case 'link':
        if (cell === undefined) {
          this.#runtime.cluster?.signal(
            from,
            'link',
            this.#runtime.refOf(id, this.#runtime.thread),
            noActor,
            0,
          )
          return
        }
        cell.relations.linkTo(from)
        this.with(from.thread, from.id).linked.add(cell)
        return
      case 'unlink': {
        cell?.relations.unlinkFrom(from.id)
        const relations = this.find(from.thread, from.id)
        if (relations === undefined || cell === undefined) return
        relations.linked.delete(cell)
        this.#forgetIfUnrelated(relations)
      }
    }
  }

  #forgetIfUnrelated({ ref, linked, watching, started }: RemoteRelations): void {
    if (linked.size > 0 || watching.size > 0 || started !== undefined) return
    this.drop(ref.thread, ref.id)
  }

  stopChild(
    parent: ActorCell,
    child: Ref,
    shutdown: number | 'infinity' | 'brutal_kill',
    ended: (reason: ExitReason) => void,
  ): void {
    let timer: Timer | undefined
    const expecting = parent.expectEndOf(child, (reason) => {
      timer?.cancelTimer()
      ended(reason)
    })
    if (!expecting) return
    if (shutdown === 'brutal_kill') {
      this.exit(parent.ref, child, killed)
      return
    }
    this.exit(parent.ref, child, { kind: 'shutdown' })
    if (shutdown === 'infinity' || !parent.relations.expectsEnd(child.id)) return
    timer = new CallbackTimer(() => this.exit(parent.ref, child, killed))
    this.#runtime.timers.start(timer, shutdown)
  }
}

// Monitors are numbered per thread.
function watcherKey(thread: number, monitor: number): number {
  return thread * 2 ** 32 + monitor
}
