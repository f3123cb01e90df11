/**
 * Main's view of the actor threads: starts, links, watches, replaces, drains and stops them. One piscina per pool
 * hosts them, each as one task that never ends by itself; a task that settles is a thread that is gone.
 */
import { MessageChannel, type MessagePort, type ResourceLimits } from 'node:worker_threads'
import { Piscina } from 'piscina'
import type { ExitReason, Logger } from '../actors/index.ts'
import {
  type MainControl,
  offer,
  type Remote,
  reach,
  type ThreadControl,
  type ThreadTask,
  withPorts,
} from './control.ts'
import { entryFile } from './entry-file.ts'
import type { Ids } from './ids.ts'
import { type LoadTable, maxSlots } from './load-table.ts'
import type { ActorRow } from './observer.ts'
import type { PeerHalves, Peers } from './peers.ts'
import type { Placer, ThreadPlace, Topology } from './topology.ts'
import { createDoorbell, createLink, halfPorts } from './transport/index.ts'

/** Limits of one pool of actor threads. */
export interface PoolOptions {
  /** Threads kept running. Default 1. */
  readonly minThreads?: number
  /** Most threads. Default `minThreads`, at least 1. */
  readonly maxThreads?: number
  /** Most actors on one thread; 1 gives each a thread of its own. Default 10 000. */
  readonly actorsPerThread?: number
  /** A thread that has started so many actors is drained and replaced; 0: never. Default 0. */
  readonly maxUse?: number
  /** Milliseconds without an actor after which a thread beyond `minThreads` ends. Default 100 s. */
  readonly maxIdleMs?: number
  /** Limits of V8 for each thread. */
  readonly resourceLimits?: ResourceLimits
}

/** One actor thread, or main, in numbers. */
export interface ThreadStatistics {
  /** Name of the pool; `main` for the main thread. */
  readonly pool: string
  readonly thread: number
  readonly state: 'starting' | 'running' | 'draining'
  readonly actors: number
  /** Actors ever started on it. */
  readonly started: number
  /** Share of the last quarter of a second in which the event loop was busy, 0 to 1. */
  readonly utilization: number
  readonly heapBytes: number
}

export interface ThreadEvent {
  readonly pool: string
  readonly thread: number
}

export interface ThreadExitEvent extends ThreadEvent {
  readonly reason: ExitReason
  /** Actors that were on it. */
  readonly actors: number
  /** Whether it was asked to end. */
  readonly expected: boolean
}

export interface ThreadsOptions {
  readonly pools: Readonly<Record<string, PoolOptions>>
  readonly peers: Peers
  readonly placer: Placer
  readonly load: LoadTable
  readonly ids: Ids
  readonly log: Logger
  readonly threadLog: ThreadTask['log']
  readonly mainDoorbell: SharedArrayBuffer
  readonly mainControl: MainControl
  readonly settings: () => Readonly<Record<string, unknown>>
  readonly checkMessages: boolean
  readonly spinUs: number
  /** Of a bundle, see `SystemOptions`. */
  readonly entry?: string | undefined
  readonly onStarted: (event: ThreadEvent) => void
  readonly onExit: (event: ThreadExitEvent) => void
}

interface Pool {
  readonly name: string
  readonly options: Required<Omit<PoolOptions, 'resourceLimits'>>
  readonly piscina: Piscina
  /** Ends in a row before a thread was ready. */
  failures: number
}

interface ActorThread {
  readonly thread: number
  readonly slot: number
  readonly pool: Pool
  readonly doorbell: SharedArrayBuffer
  readonly control: Remote<ThreadControl>
  readonly ports: readonly MessagePort[]
  readonly abort: AbortController
  /** Settles when it is gone. */
  readonly gone: Promise<void>
  state: 'starting' | 'running' | 'draining'
  idleSince: number
}

/** Threads that end before they are ready are started again after so long, doubled each time. */
const firstRetryMs = 100
const longestRetryMs = 10_000
const tendingPeriodMs = 1_000
/** A thread that does not answer is too busy to be asked. */
const answerMs = 2_000
/** With all its threads busier than this a pool grows. */
const busy = 0.8

export class Threads {
  readonly #options: ThreadsOptions
  readonly #pools = new Map<string, Pool>()
  readonly #threads = new Map<number, ActorThread>()
  readonly #freeSlots = Array.from({ length: maxSlots - 1 }, (_, i) => i + 1)
  #newest = 0
  #isStopping = false
  #tending: NodeJS.Timeout | undefined
  readonly #retries = new Set<NodeJS.Timeout>()

  constructor(options: ThreadsOptions) {
    this.#options = options
    for (const [name, pool] of Object.entries(options.pools)) this.#addPool(name, pool)
  }

  #addPool(name: string, options: PoolOptions): void {
    const minThreads = options.minThreads ?? 1
    const maxThreads = Math.max(options.maxThreads ?? minThreads, minThreads, 1)
    const piscina = new Piscina({
      ...entryFile(this.#options.entry),
      minThreads: 0,
      // Threads that drain run beside their replacements.
      maxThreads: 2 * maxThreads + 2,
      concurrentTasksPerWorker: 1,
      // Its waiting would stop every socket and timer of the thread.
      atomics: 'disabled',
      idleTimeout: 0,
      // Flags of this process, a test runner's for instance, are not meant for our threads.
      execArgv: [],
      recordTiming: false,
      ...(options.resourceLimits === undefined ? {} : { resourceLimits: options.resourceLimits }),
    })
    // A worker that fails between tasks; its task, if any, is rejected as well.
    piscina.on('error', (error: unknown) =>
      this.#options.log.warn({ event: 'thread.error', pool: name, error: String(error) }, 'thread failed'),
    )
    this.#pools.set(name, {
      name,
      options: {
        minThreads,
        maxThreads,
        actorsPerThread: options.actorsPerThread ?? 10_000,
        maxUse: options.maxUse ?? 0,
        maxIdleMs: options.maxIdleMs ?? 100_000,
      },
      piscina,
      failures: 0,
    })
  }

  /** Starts the least number of threads of each pool and waits until they run. @throws what ended the first that did not. */
  async start(): Promise<void> {
    const starting: Promise<void>[] = []
    for (const pool of this.#pools.values()) {
      for (let i = 0; i < pool.options.minThreads; i++) starting.push(this.#startThread(pool))
    }
    this.#publishTopology()
    await Promise.all(starting)
    this.#tending = setInterval(() => this.#tend(), tendingPeriodMs)
    this.#tending.unref()
  }

  /** The promise settles when the thread runs, or rejects when it ended before. */
  #startThread(pool: Pool): Promise<void> {
    const { load, ids, peers, mainDoorbell, mainControl, settings, threadLog, checkMessages, spinUs } =
      this.#options
    const slot = this.#freeSlots.shift()
    if (slot === undefined) return Promise.reject(new Error(`more than ${maxSlots} threads`))
    load.reset(slot)
    const thread = ++this.#newest
    const doorbell = createDoorbell()
    const control = new MessageChannel()
    const main = new MessageChannel()
    const sockets = new MessageChannel()
    offer(mainControl, main.port2)

    const mainHalf = join({ thread: 0, doorbell: mainDoorbell }, { thread, doorbell })
    peers.connect(mainHalf.first, sockets.port2)

    const abort = new AbortController()
    const task: ThreadTask = {
      thread,
      slot,
      ids: ids.shared,
      load: load.shared,
      doorbell,
      settings: settings(),
      log: threadLog,
      checkMessages,
      spinUs,
      control: control.port1,
      main: main.port1,
      sockets: sockets.port1,
      peer: mainHalf.second,
      topology: this.#topology(),
    }
    const transferList = [control.port1, main.port1, sockets.port1, ...portsOf(mainHalf.second)]
    const running = pool.piscina.run(task, {
      transferList: transferList as unknown as NonNullable<Parameters<Piscina['run']>[1]>['transferList'],
      signal: abort.signal,
    })
    const actorThread: ActorThread = {
      thread,
      slot,
      pool,
      doorbell,
      control: reach<ThreadControl>(control.port2),
      ports: [control.port2, main.port2],
      abort,
      gone: running.then(
        () => this.#exited(actorThread, undefined),
        (error: unknown) => this.#exited(actorThread, error),
      ),
      state: 'starting',
      idleSince: performance.now(),
    }
    // By calls and not in the task: the task waits for its worker, and a port whose other end died meanwhile would
    // spoil it.
    for (const other of this.#threads.values()) {
      const { first, second } = join(other, actorThread)
      this.#tell(other.control.connect(withPorts(first, portsOf(first))))
      this.#tell(actorThread.control.connect(withPorts(second, portsOf(second))))
    }
    this.#threads.set(thread, actorThread)
    peers.introduce(thread)
    return this.#untilReady(actorThread, running)
  }

  async #untilReady(actorThread: ActorThread, running: Promise<unknown>): Promise<void> {
    const ended = running.then(() => {
      throw new Error(`thread ${actorThread.thread} ended before it ran`)
    })
    await Promise.race([actorThread.control.ping(), ended])
    ended.catch(() => {})
    const { pool, thread } = actorThread
    pool.failures = 0
    if (actorThread.state === 'starting') actorThread.state = 'running'
    this.#options.log.debug({ event: 'thread.started', pool: pool.name, thread }, 'thread runs')
    this.#options.onStarted({ pool: pool.name, thread })
  }

  // --- The end of a thread

  #exited(ended: ActorThread, error: unknown): void {
    const { thread, pool, slot } = ended
    const { load, log, peers, onExit } = this.#options
    this.#threads.delete(thread)
    const message = exitMessage(ended, error)
    const reason: ExitReason = { kind: 'thread_exit', message }
    const expected = error === undefined || this.#isStopping
    const actors = load.actors(slot)
    const facts = { event: 'thread.exit', pool: pool.name, thread, actors, reason: message }
    if (expected) log.debug(facts, 'thread ended')
    else log.error(facts, 'thread died')
    // The replacement first: who is told of the end may want to start actors at once.
    if (!this.#isStopping) this.#replace(ended)
    for (const other of this.#threads.values()) this.#tell(other.control.threadDown(thread, reason))
    peers.threadDown(thread, reason)
    for (const port of ended.ports) port.close()
    this.#freeSlots.push(slot)
    onExit({ pool: pool.name, thread, reason, actors, expected })
  }

  #replace({ pool, state }: ActorThread): void {
    const missing = this.#active(pool).length < pool.options.minThreads
    if (missing && state === 'starting') {
      const delayMs = Math.min(firstRetryMs * 2 ** pool.failures++, longestRetryMs)
      const timer = setTimeout(() => {
        this.#retries.delete(timer)
        if (this.#active(pool).length < pool.options.minThreads) this.#grow(pool)
      }, delayMs)
      this.#retries.add(timer)
    } else if (missing) {
      this.#grow(pool)
      return
    }
    this.#publishTopology()
  }

  #grow(pool: Pool): void {
    // Its failure is told by `#exited`.
    this.#startThread(pool).catch(() => {})
    this.#publishTopology()
  }

  /** Ends a thread at once, as a crash would: what was on it is gone. `false`: there is none of that number. */
  kill(thread: number): boolean {
    const actorThread = this.#threads.get(thread)
    actorThread?.abort.abort(new Error('killed'))
    return actorThread !== undefined
  }

  // --- Tending

  #active(pool: Pool): ActorThread[] {
    return [...this.#threads.values()].filter((one) => one.pool === pool && one.state !== 'draining')
  }

  /** Once a second: threads that are used up or not needed end, pools that are full grow. */
  #tend(): void {
    const { load } = this.#options
    const now = performance.now()
    for (const actorThread of [...this.#threads.values()]) {
      const { pool, slot, state } = actorThread
      const actors = load.actors(slot)
      if (actors > 0) actorThread.idleSince = now
      if (state === 'draining') {
        // Those that start actors may have learned late that it takes no more: a whole period without one is needed.
        if (now - actorThread.idleSince >= tendingPeriodMs) this.#tell(actorThread.control.stop())
        continue
      }
      const { maxUse, maxIdleMs, minThreads } = pool.options
      const active = this.#active(pool).length
      if (maxUse > 0 && load.started(slot) >= maxUse) {
        this.#options.log.info(
          {
            event: 'thread.recycled',
            pool: pool.name,
            thread: actorThread.thread,
            started: load.started(slot),
          },
          'thread is used up and drains',
        )
        actorThread.state = 'draining'
        actorThread.idleSince = now
        if (active <= minThreads) this.#grow(pool)
        else this.#publishTopology()
      } else if (active > minThreads && now - actorThread.idleSince > maxIdleMs) {
        actorThread.state = 'draining'
        actorThread.idleSince = now
        this.#publishTopology()
      }
    }
    for (const pool of this.#pools.values()) if (this.#isShort(pool)) this.#grow(pool)
  }

  #isShort(pool: Pool): boolean {
    const { load } = this.#options
    const { actorsPerThread, maxThreads } = pool.options
    const active = this.#active(pool)
    if (active.length >= maxThreads || active.some(({ state }) => state === 'starting')) return false
    return active.every(
      ({ slot }) => load.actors(slot) >= actorsPerThread * busy || load.utilisation(slot) >= busy,
    )
  }

  /** A pool without room for one more actor: starts another thread if it may. */
  makeRoom(name: string): void {
    const pool = this.#pools.get(name)
    if (pool === undefined || this.#isStopping) return
    if (this.#active(pool).length < pool.options.maxThreads) this.#grow(pool)
  }

  #topology(): Topology {
    const slots: ThreadPlace[] = [{ thread: 0, slot: 0 }]
    const pools: Record<string, { threads: ThreadPlace[]; actorsPerThread: number }> = {}
    for (const { name, options } of this.#pools.values()) {
      pools[name] = { threads: [], actorsPerThread: options.actorsPerThread }
    }
    for (const { thread, slot, pool, state } of this.#threads.values()) {
      slots.push({ thread, slot })
      if (state !== 'draining') pools[pool.name]?.threads.push({ thread, slot })
    }
    return { slots, pools }
  }

  #publishTopology(): void {
    const topology = this.#topology()
    this.#options.placer.topology = topology
    for (const { control } of this.#threads.values()) this.#tell(control.setTopology(topology))
  }

  // --- Questions

  configure(settings: Readonly<Record<string, unknown>>): Promise<unknown> {
    return Promise.all(
      [...this.#threads.values()].map((one) => this.#answer(one, one.control.configure(settings))),
    )
  }

  async rows(): Promise<ActorRow[]> {
    const rows = await Promise.all(
      [...this.#threads.values()].map((one) => this.#answer(one, one.control.rows())),
    )
    return rows.flatMap((some) => some ?? [])
  }

  async statistics(): Promise<ThreadStatistics[]> {
    const { load } = this.#options
    return await Promise.all(
      [...this.#threads.values()].map(async (one): Promise<ThreadStatistics> => {
        const { thread, slot, pool, state } = one
        const answer = await this.#answer(one, one.control.statistics())
        return {
          pool: pool.name,
          thread,
          state,
          actors: answer?.actors ?? load.actors(slot),
          started: load.started(slot),
          utilization: load.utilisation(slot),
          heapBytes: answer?.heapBytes ?? 0,
        }
      }),
    )
  }

  /** `undefined` when the thread ends, or is too busy to answer. */
  async #answer<T>({ gone }: ActorThread, asking: Promise<T>): Promise<T | undefined> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), answerMs)
    })
    try {
      return await Promise.race([asking, gone.then(() => undefined), late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** A call nobody waits for. */
  #tell(call: Promise<unknown>): void {
    call.catch((error: unknown) =>
      this.#options.log.error(
        { event: 'thread.control-failed', error: String(error) },
        'call of a thread failed',
      ),
    )
  }

  /** Ends all threads; those that take longer than `timeoutMs` are terminated. */
  async stop(timeoutMs: number): Promise<void> {
    this.#isStopping = true
    clearInterval(this.#tending)
    for (const timer of this.#retries) clearTimeout(timer)
    const threads = [...this.#threads.values()]
    for (const { control } of threads) this.#tell(control.stop())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    await Promise.race([Promise.all(threads.map(({ gone }) => gone)), late])
    clearTimeout(timer)
    await Promise.all([...this.#pools.values()].map(({ piscina }) => piscina.destroy()))
    await Promise.all(threads.map(({ gone }) => gone))
  }
}

function exitMessage({ abort }: ActorThread, error: unknown): string {
  if (abort.signal.aborted) return 'it was killed'
  if (error === undefined) return 'it was asked to end'
  return error instanceof Error ? error.message : String(error)
}

interface Joint {
  readonly thread: number
  readonly doorbell: SharedArrayBuffer
}

/** Two links between two threads: the halves for the first, and those for the second. */
function join(first: Joint, second: Joint): { readonly first: PeerHalves; readonly second: PeerHalves } {
  const there = createLink(second.doorbell)
  const back = createLink(first.doorbell)
  return {
    first: { thread: second.thread, outbox: there.outbox, inbox: back.inbox },
    second: { thread: first.thread, outbox: back.outbox, inbox: there.inbox },
  }
}

function portsOf({ outbox, inbox }: PeerHalves): MessagePort[] {
  return [...halfPorts(outbox), ...halfPorts(inbox)]
}
