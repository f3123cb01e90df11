/**
 * The threads of a simulated system: what `runtime/threads.ts` does with workers, done with lists. Each has a runtime
 * and peers as a real thread has, so names, links, monitors and asks between them go the ways they really go. What a thread
 * learns of others comes to it as a notice, sooner or later, and so does to main the end of one.
 */

import type { AnyActorDefinition, ExitReason, Logger } from '../actors/index.ts'
import { Ids } from '../runtime/ids.ts'
import { LoadTable } from '../runtime/load-table.ts'
import type { ActorRow, RuntimeObserver } from '../runtime/observer.ts'
import { Peers } from '../runtime/peers.ts'
import type { ThreadStatistics } from '../runtime/pool-events.ts'
import type { SimulationParts, ThreadHost } from '../runtime/system.ts'
import { ThreadRuntime } from '../runtime/thread-runtime.ts'
import { Placer, type PoolPlaces, type ThreadPlace, type Topology } from '../runtime/topology.ts'
import { createDoorbell } from '../runtime/transport/index.ts'
import { SimulatedLink, simulatedTransport } from './simulated-link.ts'
import type { SimulatedThread, SimulationSteps } from './simulation.ts'
import type { VirtualTime } from './virtual-time.ts'

/** A frame that was lost with its thread. */
export interface LostFrame {
  readonly from: number
  readonly to: number
  /** Message or kind of frame, and to whom. */
  readonly what: string
}

interface Entry {
  readonly steps: SimulatedThread
  readonly pool: string
  readonly slot: number
  readonly runtime: ThreadRuntime
  readonly peers: Peers
  readonly placer: Placer
}

export class SimulatedThreads {
  readonly lost: LostFrame[] = []
  readonly main: Peers
  readonly #steps: SimulationSteps
  readonly #time: VirtualTime
  readonly #log: Logger
  readonly #parts: SimulationParts
  readonly #capacity: number
  readonly #load = new LoadTable()
  readonly #mainPlacer: Placer
  readonly #definitions = new Map<string, AnyActorDefinition>()
  /** Those main believes to live. */
  readonly #entries = new Map<number, Entry>()
  #newest = 0
  #isStopping = false

  constructor(
    steps: SimulationSteps,
    time: VirtualTime,
    log: Logger,
    parts: SimulationParts,
    capacity: number,
  ) {
    this.#steps = steps
    this.#time = time
    this.#log = log
    this.#parts = parts
    this.#capacity = capacity
    this.#mainPlacer = new Placer(0, this.#load)
    const main = steps.threads[0]!
    this.main = this.#peers(main, parts.runtime, this.#mainPlacer, 0)
  }

  /** What the system calls. Other questions than these a simulation cannot answer. */
  get host(): ThreadHost {
    const host: Partial<ThreadHost> = {
      start: () => this.#start(),
      stop: () => this.#stop(),
      kill: (thread) => this.kill(thread),
      makeRoom() {},
      configure: (settings) => {
        for (const { runtime } of this.#entries.values()) runtime.settings = settings
        return Promise.resolve()
      },
      rows: () => Promise.resolve(this.#rows()),
      statistics: () => Promise.resolve(this.#statistics()),
    }
    return host as ThreadHost
  }

  // --- Start

  async #start(): Promise<void> {
    for (const [name, { minThreads = 1 }] of Object.entries(this.#parts.pools)) {
      for (let i = 0; i < minThreads; i++) this.#startThread(name)
    }
    this.#publishTopology()
  }

  #peers(steps: SimulatedThread, runtime: ThreadRuntime, placer: Placer, slot: number): Peers {
    return new Peers({
      runtime,
      doorbell: createDoorbell(),
      load: this.#load,
      placer,
      slot,
      checkMessages: true,
      spinUs: 0,
      transport: simulatedTransport(this.#definitions, (inbox) => {
        steps.inbox = inbox
      }),
    })
  }

  #startThread(pool: string): void {
    const thread = ++this.#newest
    const steps = this.#steps.addThread(thread)
    const { ids, runtime: main, onStarted } = this.#parts
    const runtime = new ThreadRuntime({
      thread,
      ids: new Ids(thread, ids.shared),
      time: this.#time,
      log: this.#log,
      settings: main.settings,
      scheduler: steps,
      observer: this.#observer(steps),
    })
    const placer = new Placer(thread, this.#load)
    const entry: Entry = {
      steps,
      pool,
      slot: thread,
      runtime,
      peers: this.#peers(steps, runtime, placer, thread),
      placer,
    }
    this.#load.reset(thread)
    // A thread takes a while to start; what is sent to it waits.
    steps.notices.push({
      text: 'runs',
      run: () => {
        steps.isBooted = true
        onStarted({ pool, thread })
      },
    })
    this.#connect(0, this.main, thread, entry.peers)
    for (const [number, other] of this.#entries) this.#connectLater(number, other, thread, entry)
    this.#entries.set(thread, entry)
    this.main.introduce(thread)
    this.#steps.wake()
  }

  #link(from: number, to: number): SimulatedLink {
    const link = new SimulatedLink(this.#steps, from, to, this.#capacity)
    link.priority = this.#steps.random.next()
    this.#steps.links.add(link)
    return link
  }

  #connect(one: number, onePeers: Peers, other: number, otherPeers: Peers): void {
    const there = this.#link(one, other) as never
    const back = this.#link(other, one) as never
    onePeers.connect({ thread: other, outbox: there, inbox: back })
    otherPeers.connect({ thread: one, outbox: back, inbox: there })
  }

  #connectLater(one: number, oneEntry: Entry, other: number, otherEntry: Entry): void {
    const there = this.#link(one, other) as never
    const back = this.#link(other, one) as never
    this.#steps.later(one, `is connected with t${other}`, () =>
      oneEntry.peers.connect({ thread: other, outbox: there, inbox: back }),
    )
    this.#steps.later(other, `is connected with t${one}`, () =>
      otherEntry.peers.connect({ thread: one, outbox: back, inbox: there }),
    )
  }

  /** What a thread does after its death is seen by nobody. */
  #observer(steps: SimulatedThread): RuntimeObserver {
    const { observer } = this.#parts
    return {
      terminated: (event) => steps.isAlive && observer.terminated(event),
      restarted: (event) => steps.isAlive && observer.restarted(event),
      deadLetter: (ref, type, body) => steps.isAlive && observer.deadLetter?.(ref, type, body),
    } as RuntimeObserver
  }

  // --- Places

  #topology(): Topology {
    const slots: ThreadPlace[] = [{ thread: 0, slot: 0 }]
    const pools: Record<string, PoolPlaces & { threads: ThreadPlace[] }> = {}
    for (const [name, options] of Object.entries(this.#parts.pools)) {
      const { actorsPerThread = 10_000, minThreads = 1, maxThreads = Math.max(minThreads, 1) } = options
      pools[name] = { index: 0, threads: [], actorsPerThread, maxThreads, quarantinedUntil: 0 }
    }
    for (const [thread, { slot, pool }] of this.#entries) {
      slots.push({ thread, slot })
      pools[pool]?.threads.push({ thread, slot })
    }
    return { slots, pools }
  }

  #publishTopology(): void {
    const topology = this.#topology()
    this.#mainPlacer.topology = topology
    for (const [thread, { placer, steps }] of this.#entries) {
      const learn = (): void => {
        placer.topology = topology
      }
      if (steps.isBooted) this.#steps.later(thread, 'learns of the threads there are', learn)
      else learn()
    }
  }

  // --- Death

  /** The thread runs no further. What it sent in its last turn may be lost with it. `false`: there is none. */
  kill(thread: number): boolean {
    const entry = this.#entries.get(thread)
    if (entry === undefined || !entry.steps.isAlive) return false
    this.#end(entry)
    const { random, trace } = this.#steps
    trace.add(this.#time.monotonic(), () => `t${thread} dies`)
    for (const link of this.#steps.links) {
      if (link.from === thread) this.#loseLastTurn(link, entry.steps.turn, random.next())
      else if (link.to === thread) {
        for (const { label } of link.frames.splice(0))
          this.lost.push({ from: link.from, to: thread, what: label })
        this.#steps.later(link.from, `finds the way to t${thread} closed`, () => link.close())
      }
    }
    this.#steps.later(0, `learns of the end of t${thread}`, () =>
      this.#exited(entry, { kind: 'thread_exit', message: 'it was killed' }),
    )
    return true
  }

  #end({ steps, runtime, peers }: Entry): void {
    steps.die()
    runtime.cluster = undefined
    runtime.registry.observer = undefined
    runtime.timers.close()
    for (const link of this.#steps.links) if (link.from === steps.number) link.isClosed = true
    peers.close()
  }

  /** Frames are published once a turn: of the turn that was cut short all, some or none may be seen. */
  #loseLastTurn(link: SimulatedLink, turn: number, share: number): void {
    const first = link.frames.findIndex((frame) => frame.turn === turn)
    if (first < 0) return
    const kept = first + Math.round((link.frames.length - first) * share)
    for (const { label } of link.frames.splice(kept))
      this.lost.push({ from: link.from, to: link.to, what: label })
  }

  #exited(entry: Entry, reason: ExitReason): void {
    const { pool, slot } = entry
    const thread = entry.steps.number
    const { onExit, pools } = this.#parts
    const actors = this.#load.actors(slot)
    this.#entries.delete(thread)
    const living = [...this.#entries.values()].filter((other) => other.pool === pool).length
    this.main.forgetNames(thread)
    if (!this.#isStopping) {
      if (living < (pools[pool]?.minThreads ?? 1)) this.#startThread(pool)
      this.#publishTopology()
      for (const [number, { peers }] of this.#entries) {
        this.#steps.later(number, `learns of the end of t${thread}`, () => peers.threadDown(thread, reason))
      }
    }
    this.main.threadDown(thread, reason)
    this.#dropLinks(thread)
    onExit({ pool, thread, reason, actors, expected: this.#isStopping })
  }

  /** Those between it and threads that have not learned of its end yet are still read by them. */
  #dropLinks(thread: number): void {
    for (const link of this.#steps.links) {
      const isWithMain = link.from === 0 || link.to === 0
      if (isWithMain && (link.from === thread || link.to === thread)) this.#steps.links.delete(link)
      else if (link.to === thread) this.#steps.links.delete(link)
    }
  }

  async #stop(): Promise<void> {
    this.#isStopping = true
    for (const entry of [...this.#entries.values()]) {
      // As on a real thread: what is left is killed, and the others hear of it.
      if (entry.steps.isAlive) entry.runtime.close()
      this.#end(entry)
      this.#exited(entry, { kind: 'thread_exit', message: 'it was asked to end' })
    }
  }

  /** The runtimes of the threads that live. */
  runtimes(): ThreadRuntime[] {
    return Array.from(this.#entries.values())
      .filter(({ steps }) => steps.isAlive)
      .map(({ runtime }) => runtime)
  }

  // --- Questions

  #rows(): ActorRow[] {
    return [...this.#entries.values()].flatMap(({ runtime, steps }) => (steps.isAlive ? runtime.rows() : []))
  }

  #statistics(): ThreadStatistics[] {
    return Array.from(this.#entries, ([thread, { pool, slot, runtime }]) => ({
      pool,
      thread,
      state: 'running' as const,
      actors: runtime.actorCount,
      started: this.#load.started(slot),
      utilization: 0,
      heapBytes: 0,
      uptimeMs: 0,
      stalls: 0,
      stalledMs: 0,
    }))
  }
}
