/**
 * The other threads as one thread reaches them: frames out through one ring each, frames in through one inbox.
 *
 * Messages and asks are refused when a ring is full. Everything else must not get lost, so it waits here until there
 * is room, and messages are refused as long as something waits: they must not overtake it. What waits is bounded by what
 * others wait for: asks, links, monitors and starts.
 */
import type { Socket } from 'node:net'
import type { MessagePort } from 'node:worker_threads'
import {
  type AnyActorDefinition,
  type AskFailure,
  type Crash,
  type ExitReason,
  errorReason,
  type Placement,
  UsageError,
} from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import type { Cluster, RemoteSpawn } from './cluster.ts'
import { Definitions } from './definitions.ts'
import { frame, relationKinds, type StreamFrame, signalKinds } from './frames.ts'
import type { LoadTable } from './load-table.ts'
import { ownRef, type Ref } from './ref.ts'
import type { RegistryObserver } from './registry.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import type { Placer, PoolPlaces } from './topology.ts'
import {
  Codec,
  type Frame,
  framesPerTurn,
  Inbox,
  type InboxHalf,
  type InboxOptions,
  Outbox,
  type OutboxHalf,
} from './transport/index.ts'

/** This thread's ends of its two links with another one. */
export interface PeerHalves {
  readonly thread: number
  readonly outbox: OutboxHalf
  readonly inbox: InboxHalf
}

/** How frames get from thread to thread. Another way than rings is for tests, where all threads are simulated. */
export interface Transport {
  outbox(
    half: OutboxHalf,
    codec: Codec,
  ): Pick<Outbox, 'send' | 'whenRoom' | 'isClosed' | 'flush' | 'flushWith' | 'close'>
  inbox(options: InboxOptions): Pick<Inbox, 'add' | 'drain' | 'sleep' | 'finish' | 'close'>
  reviveDefinition(module: string, name: string): AnyActorDefinition | undefined
}

const rings: Transport = {
  outbox: (half, codec) => new Outbox(half, { codec }),
  inbox: (options) => new Inbox(options),
  reviveDefinition: () => undefined,
}

export interface PeersOptions {
  /** Default: rings of shared memory. */
  readonly transport?: Transport
  readonly runtime: ThreadRuntime
  readonly doorbell: SharedArrayBuffer
  readonly load: LoadTable
  readonly placer: Placer
  readonly slot: number
  /** Look for values that cannot be sent before they are turned into something else. */
  readonly checkMessages: boolean
  readonly spinUs: number
}

/** Starts that may wait for a thread that is not connected yet; more would mean that it never will be. */
const maxWaiting = 100_000

class Peer {
  outbox: ReturnType<Transport['outbox']> | undefined
  sockets: MessagePort | undefined
  /** Frames that wait for room, or for the link. */
  readonly waiting: Frame[] = []
}

export class Peers implements Cluster, RegistryObserver {
  readonly #runtime: ThreadRuntime
  readonly #codec: Codec
  readonly #transport: Transport
  readonly #inbox: ReturnType<Transport['inbox']>
  readonly #load: LoadTable
  readonly #placer: Placer
  readonly #slot: number
  readonly #definitions = new Definitions()
  readonly #peers = new Map<number, Peer>()
  /** Highest thread number connected so far: a higher one is a thread we have not been told of yet. */
  #newest = 0
  /** Sockets and starts that wait for each other. */
  readonly #sockets = new Map<number, Socket>()
  readonly #awaiting = new Map<number, ActorCell>()
  #pumping = false
  #closed = false
  #warned = false
  /** Whether accepted sockets can be moved to other threads. */
  movesSockets = false
  /** Frames sent to nobody, for statistics. */
  dropped = 0

  constructor(options: PeersOptions) {
    this.#runtime = options.runtime
    this.#transport = options.transport ?? rings
    this.#load = options.load
    this.#placer = options.placer
    this.#slot = options.slot
    const { runtime } = options
    this.#codec = new Codec({
      check: options.checkMessages,
      home: runtime.home,
      hooks: {
        reviveRef: (thread, id) => runtime.refOf(id, thread),
        reviveDefinition: (module, name) =>
          this.#transport.reviveDefinition(module, name) ?? this.#definitions.revive(module, name),
      },
    })
    this.#inbox = this.#transport.inbox({
      doorbell: options.doorbell,
      codec: this.#codec,
      spinUs: options.spinUs,
      beforeSpin: () => this.#flush(),
      onReady: () => this.#pump(),
      onBadFrame: (error, from) =>
        runtime.log.error({ event: 'runtime.bad-frame', from, error: String(error) }, 'frame was dropped'),
    })
    runtime.cluster = this
    runtime.registry.observer = this
    this.#inbox.sleep()
  }

  // --- Threads that come and go

  connect(halves: PeerHalves, sockets?: MessagePort): void {
    const peer = this.#peer(halves.thread)
    this.#newest = Math.max(this.#newest, halves.thread)
    peer.outbox = this.#transport.outbox(halves.outbox, this.#codec)
    peer.sockets = sockets
    sockets?.on('message', ({ id, socket }: { id: number; socket: Socket }) =>
      this.#socketArrived(id, socket),
    )
    // It was the nudge for frames as well.
    sockets?.on('messageerror', () => this.#pump())
    this.#inbox.add(halves.thread, halves.inbox)
    if (peer.waiting.length > 0) this.#resume(peer)
  }

  #peer(thread: number): Peer {
    let peer = this.#peers.get(thread)
    if (peer === undefined) {
      peer = new Peer()
      this.#peers.set(thread, peer)
    }
    return peer
  }

  isAlive(thread: number): boolean {
    return (
      this.#peers.get(thread)?.outbox !== undefined ||
      thread > this.#newest ||
      this.#placer.isPromised(thread)
    )
  }

  /** The thread is dead: what it had sent is handled, then everything that waits for it is told. */
  threadDown(thread: number, reason: ExitReason): void {
    const peer = this.#peers.get(thread)
    this.#newest = Math.max(this.#newest, thread)
    this.#placer.threadDown(thread)
    this.#inbox.finish(thread, this.#handle)
    this.#peers.delete(thread)
    peer?.outbox?.close()
    peer?.sockets?.close()
    this.#runtime.threadDown(thread, reason)
  }

  close(): void {
    this.#closed = true
    this.#inbox.close()
    this.#codec.release()
    for (const peer of this.#peers.values()) {
      peer.outbox?.close()
      peer.sockets?.close()
    }
    this.#peers.clear()
    for (const socket of this.#sockets.values()) socket.destroy()
    this.#sockets.clear()
  }

  // --- Out

  place(placement: Placement, socket: Socket | undefined): number {
    if (typeof placement === 'object' && placement !== null && 'nextTo' in placement) {
      ownRef(placement.nextTo, this.#runtime.home)
    }
    const thread = this.#placer.place(placement)
    const here = this.#runtime.thread
    if (thread === here) return here
    if (!this.isAlive(thread)) throw new UsageError(`thread ${thread} has ended`, { thread })
    if (socket === undefined) return thread
    // Unix sockets cannot move; neither need those that are closed already.
    if (socket.destroyed || !isTcp(socket)) return here
    if (this.movesSockets && this.#peers.get(thread)?.sockets !== undefined) return thread
    this.#warnOfSockets()
    return here
  }

  poolPlaces(pool: string): PoolPlaces | undefined {
    return this.#placer.pool(pool)
  }

  #warnOfSockets(): void {
    if (this.#warned) return
    this.#warned = true
    this.#runtime.log.warn(
      { event: 'runtime.sockets-stay', thread: this.#runtime.thread },
      'sockets cannot be moved from this thread: their actors stay here',
    )
  }

  count(delta: 1 | -1): void {
    if (delta === 1) this.#load.actorStarted(this.#slot)
    else this.#load.actorEnded(this.#slot)
  }

  message(to: Ref, type: string, body: readonly unknown[], withinMs: number): boolean | undefined {
    return this.#offer(to.thread, to.id, 0, type, 0, body, withinMs)
  }

  ask(to: Ref, ask: number, type: string, body: readonly unknown[], window: number): boolean | undefined {
    return this.#offer(to.thread, to.id, window, type, ask, body)
  }

  stream(thread: number, ask: number, what: StreamFrame, items: number, value?: unknown): void {
    this.#post(thread, ask, 0, what, items, what === frame.streamItem ? [value] : [])
  }

  answer(thread: number, ask: number, value: unknown): void {
    try {
      this.#post(thread, ask, 0, frame.answer, 0, [value])
    } catch (error) {
      const reason = errorReason(error)
      this.#runtime.log.error({ event: 'runtime.bad-reply', error: reason.message }, 'reply cannot be sent')
      this.refuse(thread, ask, 'down', 'its reply cannot be sent', reason)
    }
  }

  refuse(
    thread: number,
    ask: number,
    failure: AskFailure,
    why: string,
    reason: ExitReason | undefined,
  ): void {
    this.#post(thread, ask, 0, frame.refuse, 0, [failure, why, reason])
  }

  spawn(thread: number, spawn: RemoteSpawn): void {
    const { id, definition, args, parent, link, childId, restarts, registerAs, socket, report, crashes } =
      spawn
    const rest = [parent, link, childId, restarts, registerAs, socket !== undefined, report, crashes]
    const slot = this.#placer.slot(thread)
    this.#post(thread, id, 0, frame.spawn, slot === undefined ? 0 : 1, [definition, args, ...rest])
    if (slot !== undefined) this.#load.actorStarted(slot)
    if (socket === undefined) return
    const peer = this.#peers.get(thread)
    const move = () => peer?.sockets?.postMessage({ id, socket }, [socket as unknown as MessagePort])
    try {
      // The other thread drains when the socket is there: it is woken once for both.
      if (peer?.outbox === undefined) move()
      else peer.outbox.flushWith(move)
    } catch (error) {
      // It closed in this very moment: the actor over there waits for it in vain.
      socket.destroy()
      this.#post(thread, id, 0, frame.kill, 0, [errorReason(error)])
    }
  }

  started(parent: Ref, child: Ref, reason: ExitReason | undefined): void {
    this.#post(parent.thread, parent.id, child.id, frame.started, 0, [reason])
  }

  signal(
    to: Ref,
    kind: (typeof signalKinds)[number],
    from: Ref | undefined,
    reason: ExitReason,
    monitor: number,
  ): void {
    const code = frame.exit + signalKinds.indexOf(kind)
    this.#post(to.thread, to.id, from?.id ?? 0, code, monitor, [reason])
  }

  relate(to: Ref, what: (typeof relationKinds)[number], from: Ref, monitor: number): void {
    const code = frame.relateLink + relationKinds.indexOf(what)
    this.#post(to.thread, to.id, from.id, code, monitor, [])
  }

  // Main is the one who knows all names: the others tell main, and main tells everyone else.

  registered(name: string, ref: Ref, replaces: number): void {
    this.#tellNames(ref.id, frame.name, ref.thread, [name, replaces])
  }

  unregistered(name: string, ref: Ref): void {
    this.#tellNames(ref.id, frame.noName, ref.thread, [name])
  }

  #tellNames(id: number, type: number, home: number, body: readonly unknown[], except = -1): void {
    if (this.#runtime.thread !== 0) this.#post(0, 0, id, type, home, body)
    else
      for (const thread of this.#peers.keys())
        if (thread !== except) this.#post(thread, 0, id, type, home, body)
  }

  /** Before a thread that takes the place of a dead one is introduced. */
  forgetNames(thread: number): void {
    this.#runtime.forgetNames(thread)
  }

  /** All names, for a thread that is new. */
  introduce(thread: number): void {
    for (const [name, ref] of this.#runtime.registry.entries()) {
      this.#post(thread, 0, ref.id, frame.name, ref.thread, [name, 0])
    }
  }

  #offer(
    thread: number,
    to: number,
    from: number,
    type: string,
    seq: number,
    body: readonly unknown[],
    withinMs = 0,
  ): boolean | undefined {
    const peer = this.#peers.get(thread)
    const outbox = peer?.outbox
    if (outbox !== undefined && peer!.waiting.length === 0) {
      if (!outbox.isClosed) return outbox.send(to, from, type, seq, body, withinMs)
      // It has died, and main is about to say so: a message is lost with it, and an ask is told then.
      this.#codec.encode(to, from, type, seq, body)
      this.dropped++
      return true
    }
    if (outbox !== undefined) return false
    if (!this.isAlive(thread)) return undefined
    // Not connected yet: a few may wait, order kept.
    const waiting = this.#peer(thread).waiting
    if (waiting.length >= maxWaiting) return false
    this.#codec.encode(to, from, type, seq, body)
    waiting.push({ to, from, type, seq, body })
    return true
  }

  #post(thread: number, to: number, from: number, type: number, seq: number, body: readonly unknown[]): void {
    const peer = this.#peers.get(thread)
    const outbox = peer?.outbox
    if (outbox !== undefined && peer!.waiting.length === 0 && outbox.send(to, from, type, seq, body)) return
    if (outbox?.isClosed === true) return
    if (outbox === undefined && !this.isAlive(thread)) {
      this.dropped++
      return
    }
    const { waiting } = peer ?? this.#peer(thread)
    // A frame that cannot be encoded has to be refused now, while there is someone to tell.
    if (waiting.length > 0 || outbox === undefined) this.#codec.encode(to, from, type, seq, body)
    waiting.push({ to, from, type, seq, body })
    if (waiting.length === 1 && outbox !== undefined) outbox.whenRoom(() => this.#resume(peer!))
  }

  #resume(peer: Peer): void {
    const { outbox, waiting } = peer
    if (outbox === undefined) return
    let sent = 0
    for (const { to, from, type, seq, body } of waiting) {
      if (outbox.isClosed || !outbox.send(to, from, type, seq, body)) break
      sent++
    }
    waiting.splice(0, sent)
    if (waiting.length > 0 && !outbox.isClosed) outbox.whenRoom(() => this.#resume(peer))
  }

  #flush(): void {
    for (const peer of this.#peers.values()) peer.outbox?.flush()
  }

  // --- In

  readonly #pump = (): void => {
    if (this.#pumping || this.#closed) return
    this.#pumping = true
    let again = true
    try {
      again = this.#inbox.drain(framesPerTurn, this.#handle) === framesPerTurn || !this.#inbox.sleep()
    } finally {
      this.#pumping = false
      if (again) setImmediate(this.#pump)
    }
    // At once, and not a turn of the event loop later.
    this.#runtime.scheduler.runNow()
  }

  readonly #handle = ({ to, from, type, seq, body }: Frame, link: number): void => {
    if (typeof type === 'string') this.#runtime.deliver(to, link, seq, from, type, body)
    else this.#handleControl(type, to, from, seq, body, link)
  }

  #handleControl(
    type: number,
    to: number,
    from: number,
    seq: number,
    body: readonly unknown[],
    link: number,
  ): void {
    const runtime = this.#runtime
    switch (type) {
      case frame.answer:
        runtime.askOf(link, to)?.answer(body[0])
        return
      case frame.refuse:
        runtime
          .askOf(link, to)
          ?.refuse(body[0] as AskFailure, body[1] as string, body[2] as ExitReason | undefined)
        return
      case frame.spawn:
        this.#startFor(to, seq === 1, body)
        return
      case frame.started:
        runtime.ties.childStarted(link, from, body[0] as ExitReason | undefined)
        return
      case frame.exit:
      case frame.link:
      case frame.down:
      case frame.kill: {
        const kind = signalKinds[type - frame.exit]!
        runtime.ties.arrive(to, kind, runtime.refOf(from, link), body[0] as ExitReason, seq)
        return
      }
      case frame.relateLink:
      case frame.relateUnlink:
      case frame.relateWatch:
      case frame.relateUnwatch:
        runtime.ties.relateTo(to, relationKinds[type - frame.relateLink]!, runtime.refOf(from, link), seq)
        return
      case frame.name:
        this.#learnName(link, runtime.refOf(from, seq), body[0] as string, body[1] as number)
        return
      case frame.noName:
        if (runtime.registry.forget(body[0] as string, from) && runtime.thread === 0) {
          this.#tellNames(from, frame.noName, seq, body, link)
        }
        return
      case frame.streamOpened:
      case frame.streamItem:
      case frame.streamDone:
      case frame.streamGrant:
      case frame.streamCancel:
        runtime.streams.arrived(type, link, to, seq, body[0])
        return
      case frame.conflict:
        runtime.cell(to)?.crash(new Error(`name '${String(body[0])}' is taken`))
    }
  }

  #learnName(link: number, ref: Ref, name: string, replaces: number): void {
    const { registry, thread } = this.#runtime
    if (thread !== 0) {
      // News of a thread whose end we have heard of already, by another way.
      for (const home of [ref.thread, this.#runtime.spawnerOf(ref.id)]) {
        if (home !== thread && !this.isAlive(home)) return
      }
      // Main's latest word counts; if one of our own has the name, it is about to end or to hear of the conflict.
      registry.learn(name, ref, registry.whereis(name)?.id ?? 0)
      return
    }
    const learned = registry.learn(name, ref, replaces)
    if (learned) this.#tellNames(ref.id, frame.name, ref.thread, [name, replaces], link)
    // Two threads gave the same name at the same moment: main's word counts.
    else if (ref.thread === 0) this.#runtime.cell(ref.id)?.crash(new Error(`name '${name}' is taken`))
    else this.#post(ref.thread, ref.id, 0, frame.conflict, 0, [name])
  }

  #startFor(id: number, isCounted: boolean, body: readonly unknown[]): void {
    const start: RemoteSpawn = {
      id,
      definition: body[0] as AnyActorDefinition,
      args: body[1],
      parent: body[2] as Ref | undefined,
      link: body[3] as boolean,
      childId: body[4] as string | undefined,
      restarts: body[5] as number,
      registerAs: body[6] as string | undefined,
      socket: undefined,
      report: body[8] as boolean,
      crashes: body[9] as readonly Crash[] | undefined,
    }
    // Otherwise the spawner could not know our slot, and has not counted it.
    if (!isCounted) this.count(1)
    if (body[7] !== true) {
      this.#runtime.spawnFor(start, false)
      return
    }
    const socket = this.#sockets.get(id)
    this.#sockets.delete(id)
    // There at once in any case, since messages may follow; its `init` waits for the socket.
    const cell = this.#runtime.spawnFor({ ...start, socket }, socket === undefined)
    if (socket === undefined) this.#awaiting.set(id, cell)
  }

  #socketArrived(id: number, socket: Socket): void {
    const cell = this.#awaiting.get(id)
    this.#awaiting.delete(id)
    if (cell === undefined) this.#sockets.set(id, socket)
    else cell.giveSocket(socket)
    this.#pump()
  }
}

/**
 * Whether it is a TCP socket. Its handle knows at once; `remoteFamily` asks the system, 25 us for each connection on the
 * thread that accepts all of them, and what it learns stays behind when the socket moves.
 */
function isTcp(socket: Socket): boolean {
  const { _handle: handle } = socket as { _handle?: object | null }
  if (typeof handle !== 'object' || handle === null) return socket.remoteFamily !== undefined
  return handle.constructor.name === 'TCP'
}
