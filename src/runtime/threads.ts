/**
 * Main's view of the actor threads: starts, links, replaces, drains and stops them. Piscina hosts each as one task that
 * never ends by itself; a task that settles is a thread that is gone.
 */
import { MessageChannel } from 'node:worker_threads'
import { type ExitReason, type Logger, UsageError } from '../actors/index.ts'
import { type ActorThread, beatMs, exitMessage, isActive, join, messageOf, portsOf } from './actor-thread.ts'
import {
  hangUp,
  type MainControl,
  offer,
  reach,
  type ThreadControl,
  type ThreadTask,
  withPorts,
} from './control.ts'
import { GrowthTable } from './growth-table.ts'
import type { Host, HostOptions } from './host.ts'
import type { Ids } from './ids.ts'
import { type LoadTable, maxSlots } from './load-table.ts'
import type { ActorRow } from './observer.ts'
import type { Peers } from './peers.ts'
import { Pool } from './pool.ts'
import type {
  PoolQuarantinedEvent,
  PoolResizedEvent,
  PoolStatistics,
  ThreadEvent,
  ThreadExitEvent,
  ThreadRecycledEvent,
  ThreadStalledEvent,
  ThreadStatistics,
} from './pool-events.ts'
import { loadHooks, type PoolHooks } from './pool-hooks.ts'
import { type PoolChange, type PoolOptions, poolLimits } from './pool-options.ts'
import type { Recycling } from './pools.ts'
import { StallWatch } from './stall-watch.ts'
import { StartError } from './start-error.ts'
import { Tending } from './tending.ts'
import { poolStatistics, threadStatistics, topologyOf } from './thread-report.ts'
import type { Placer } from './topology.ts'
import { createDoorbell } from './transport/index.ts'
import { Pulse } from './watchdog.ts'

export interface ThreadsOptions {
  readonly pools: Readonly<Record<string, PoolOptions>>
  readonly peers: Peers
  readonly placer: Placer
  readonly load: LoadTable
  readonly ids: Ids
  readonly log: Logger
  readonly threadLog: ThreadTask['log']
  readonly mainDoorbell: SharedArrayBuffer
  readonly mainControl: Pick<MainControl, 'terminated' | 'restarted' | 'deadLetters' | 'log'>
  readonly settings: () => Readonly<Record<string, unknown>>
  readonly checkMessages: boolean
  readonly spinUs: number
  /** Of a bundle, see `SystemOptions`. */
  readonly entry?: string | undefined
  readonly onStarted: (event: ThreadEvent) => void
  readonly onExit: (event: ThreadExitEvent) => void
  readonly onResized: (event: PoolResizedEvent) => void
  readonly onRecycled: (event: ThreadRecycledEvent) => void
  readonly onStalled: (event: ThreadStalledEvent) => void
  readonly onQuarantined: (event: PoolQuarantinedEvent) => void
  readonly onKindQuarantined: (kind: string, ms: number) => void
}

/** Threads that end before they are ready are started again after so long, doubled each time. */
const firstRetryMs = 100
const longestRetryMs = 10_000
/** A thread that does not answer is too busy to be asked. */
const answerMs = 2_000

export class Threads {
  readonly #options: ThreadsOptions
  readonly #pools = new Map<string, Pool>()
  readonly #threads = new Map<number, ActorThread>()
  readonly #freeSlots = Array.from({ length: maxSlots - 1 }, (_, i) => i + 1)
  readonly #growth = new GrowthTable()
  readonly #hooks = new Map<Pool, PoolHooks>()
  /** Settles when all threads know the last topology. */
  #published: Promise<unknown> = Promise.resolve()
  #isStopping = false
  readonly #tending: Tending
  readonly #stalls: StallWatch
  readonly #retries = new Set<NodeJS.Timeout>()
  readonly #recycling = new Map<Pool, Promise<Recycling>>()

  constructor(options: ThreadsOptions) {
    this.#options = options
    this.#stalls = new StallWatch(this.#pools, this.#threads, options)
    this.#tending = new Tending({
      pools: this.#pools,
      threads: this.#threads,
      load: options.load,
      replace: (one, why) => this.#replaceByAnother(one, why),
      retire: (one) => {
        this.#drain(one, 'idle')
        this.#publishTopology()
        this.#resized(one.pool, 'idle')
      },
      grow: (pool) => this.#tryGrow(pool),
      changed: () => this.#publishTopology(),
      tell: (call) => this.#tell(call),
    })
    for (const [name, pool] of Object.entries(options.pools)) this.#addPool(name, pool)
  }

  #addPool(name: string, options: PoolOptions): void {
    const limits = poolLimits(name, options)
    const index = this.#pools.size
    this.#growth.setLimit(index, limits.maxThreads)
    const host: HostOptions = {
      entry: this.#options.entry,
      resourceLimits: options.resourceLimits,
      onError: (error) =>
        this.#options.log.warn({ event: 'thread.error', pool: name, error: String(error) }, 'thread failed'),
    }
    this.#pools.set(name, new Pool({ name, index, limits, hooks: options.hooks, host }))
  }

  /** Starts the least number of threads of each pool and waits until they run. @throws what ended the first that did not. */
  async start(): Promise<void> {
    for (const pool of this.#pools.values()) {
      if (pool.hooks !== undefined) this.#hooks.set(pool, await loadHooks(pool.hooks))
    }
    this.#options.placer.growth = this.#growth
    const starting: Promise<void>[] = []
    for (const pool of this.#pools.values()) {
      for (let i = 0; i < pool.limits.minThreads; i++) starting.push(this.#addThread(pool).ready)
    }
    this.#publishTopology()
    await Promise.all(starting)
    this.#tending.start()
    this.#stalls.start()
  }

  /** One thread more, whatever the limit. `ready` settles when it runs, or rejects when it ended before. */
  #addThread(pool: Pool): { readonly thread: number; readonly ready: Promise<void> } {
    this.#growth.add(pool.index, 1)
    const thread = this.#growth.nextThread()
    return { thread, ready: this.#startThread(pool, thread) }
  }

  /** Its place in the growth table is taken already. */
  #startThread(pool: Pool, thread: number): Promise<void> {
    const { load, ids, peers, mainDoorbell, settings, threadLog, checkMessages, spinUs } = this.#options
    const slot = this.#freeSlots.shift()
    let host: Host
    try {
      if (slot === undefined) throw new Error(`more than ${maxSlots} threads`)
      this.#hooks.get(pool)?.preInit?.({ pool: pool.name, thread })
      host = pool.takeHost()
    } catch (error) {
      if (slot !== undefined) this.#freeSlots.push(slot)
      return this.#couldNotStart(pool, thread, error)
    }
    load.reset(slot)
    const doorbell = createDoorbell()
    const control = new MessageChannel()
    const main = new MessageChannel()
    const sockets = new MessageChannel()
    offer(this.#surfaceFor(thread), main.port2)

    const mainHalf = join({ thread: 0, doorbell: mainDoorbell }, { thread, doorbell })
    peers.connect(mainHalf.first, sockets.port2)

    const abort = new AbortController()
    const task: ThreadTask = {
      thread,
      slot,
      ids: ids.shared,
      load: load.shared,
      growth: this.#growth.shared,
      doorbell,
      settings: settings(),
      log: threadLog,
      checkMessages,
      spinUs,
      beatMs: beatMs(pool),
      pool: pool.name,
      hooks: pool.hooks,
      control: control.port1,
      main: main.port1,
      sockets: sockets.port1,
      peer: mainHalf.second,
      topology: topologyOf(this.#pools.values(), this.#threads.values()),
    }
    const ports = [control.port1, main.port1, sockets.port1, ...portsOf(mainHalf.second)]
    const running = host.run(task, ports, abort.signal)
    const now = performance.now()
    const actorThread: ActorThread = {
      thread,
      slot,
      pool,
      host,
      doorbell,
      control: reach<ThreadControl>(control.port2),
      ports: [control.port2, main.port2],
      abort,
      gone: running.then(
        () => this.#exited(actorThread, undefined),
        (error: unknown) => this.#exited(actorThread, error),
      ),
      startedAt: now,
      pulse: new Pulse(load, slot, now),
      state: 'starting',
      idleSince: now,
      started: 0,
      hurryAt: Number.POSITIVE_INFINITY,
      heap: [],
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

  /** Nothing of it is there yet, but others may wait for a thread of this number. */
  #couldNotStart(pool: Pool, thread: number, error: unknown): Promise<void> {
    this.#growth.add(pool.index, -1)
    this.#tellDown(thread, { kind: 'thread_exit', message: `it could not be started: ${messageOf(error)}` })
    this.#options.log.error(
      { event: 'thread.start-failed', pool: pool.name, thread, error: messageOf(error) },
      'thread could not be started',
    )
    this.#retryLater(pool)
    return Promise.reject(error)
  }

  /** What the thread can call. */
  #surfaceFor(thread: number): MainControl {
    return {
      ...this.#options.mainControl,
      learn: (code, component, message) => this.#threads.get(thread)?.pulse.learn(code, component, message),
      startThread: (name, wanted) => this.#startFor(name, wanted),
      recycleMe: () => {
        const asking = this.#threads.get(thread)
        if (asking !== undefined && isActive(asking)) this.#replaceByAnother(asking, 'hook')
      },
      quarantineKind: (kind, ms) => this.quarantineKind(kind, ms),
    }
  }

  /** A kind of actors is not to be started for a while, by anyone. */
  quarantineKind(kind: string, ms: number): void {
    this.#options.onKindQuarantined(kind, ms)
    for (const { control } of this.#threads.values()) this.#tell(control.quarantineKind(kind, ms))
  }

  /** Another thread took a place in the pool, and the number of the thread that is to fill it. */
  #startFor(name: string, thread: number): void {
    const pool = this.#pools.get(name)
    if (pool === undefined || this.#isStopping) {
      this.#tellDown(thread, { kind: 'thread_exit', message: 'the system stops' })
      return
    }
    this.#startThread(pool, thread).catch(() => {})
    this.#publishTopology()
    this.#resized(pool, 'busy')
  }

  async #untilReady(actorThread: ActorThread, running: Promise<unknown>): Promise<void> {
    const fail = (cause?: unknown): never => {
      const { thread, pool } = actorThread
      const why = exitMessage(actorThread, cause)
      throw new StartError(`thread ${thread} of pool ${pool.name} did not start: ${why}`, {}, { cause })
    }
    const ended = running.then(() => fail(), fail)
    await Promise.race([actorThread.control.ping(), ended])
    ended.catch(() => {})
    const { pool, thread, pulse } = actorThread
    pool.keepSpares()
    pool.failures = 0
    pulse.forgive(performance.now())
    if (actorThread.state === 'starting') actorThread.state = 'running'
    this.#options.log.debug({ event: 'thread.started', pool: pool.name, thread }, 'thread runs')
    this.#options.onStarted({ pool: pool.name, thread })
  }

  // --- The end of a thread

  #exited(ended: ActorThread, error: unknown): void {
    const { thread, pool, slot, host } = ended
    void host.end()
    const { load, log, onExit } = this.#options
    this.#threads.delete(thread)
    if (isActive(ended)) this.#growth.add(pool.index, -1)
    const message = exitMessage(ended, error)
    const reason: ExitReason = { kind: 'thread_exit', message }
    const expected = error === undefined || this.#isStopping
    const actors = load.actors(slot)
    const facts = { event: 'thread.exit', pool: pool.name, thread, actors, reason: message }
    if (expected) log.debug(facts, 'thread ended')
    else log.error(facts, 'thread died')
    if (!expected) {
      pool.crashes++
      if (!load.hasFinished(slot)) this.#quarantine(pool)
    }
    this.#options.peers.forgetNames(thread)
    // The replacement first: who is told of the end may want to start actors at once.
    if (!this.#isStopping) this.#replace(ended)
    this.#tellDown(thread, reason)
    for (const port of ended.ports) hangUp(port)
    this.#freeSlots.push(slot)
    onExit({ pool: pool.name, thread, reason, actors, expected })
  }

  #tellDown(thread: number, reason: ExitReason): void {
    for (const other of this.#threads.values()) this.#tell(other.control.threadDown(thread, reason))
    this.#options.peers.threadDown(thread, reason)
    this.#options.placer.threadDown(thread)
  }

  /** A thread crashed before it had finished a job: the next one would, too. */
  #quarantine(pool: Pool): void {
    const { throttleMs } = pool.limits
    if (throttleMs === 0) return
    pool.quarantinedUntil = Date.now() + throttleMs
    this.#growth.setLimit(pool.index, 0)
    const timer = setTimeout(() => {
      this.#retries.delete(timer)
      if (pool.isQuarantined) return
      this.#growth.setLimit(pool.index, pool.limits.maxThreads)
      this.#fill(pool)
    }, throttleMs + 1)
    this.#retries.add(timer)
    this.#options.log.error(
      { event: 'pool.quarantined', pool: pool.name, ms: throttleMs },
      'a thread died before its first job: no new one for a while',
    )
    this.#options.onQuarantined({ pool: pool.name, ms: throttleMs })
  }

  #replace({ pool, state }: ActorThread): void {
    if (state === 'starting') this.#retryLater(pool)
    else if (!pool.isQuarantined) this.#fill(pool)
    this.#publishTopology()
  }

  #retryLater(pool: Pool): void {
    if (this.#isStopping || pool.isQuarantined || this.#active(pool).length >= pool.limits.minThreads) return
    const delayMs = Math.min(firstRetryMs * 2 ** pool.failures++, longestRetryMs)
    const timer = setTimeout(() => {
      this.#retries.delete(timer)
      this.#fill(pool)
    }, delayMs)
    this.#retries.add(timer)
  }

  /** Starts what the pool lacks of its least number of threads. */
  #fill(pool: Pool): void {
    const missing = pool.limits.minThreads - this.#active(pool).length
    if (missing <= 0 || pool.isQuarantined) return
    // Their failure is told by `#exited`.
    for (let i = 0; i < missing; i++) this.#addThread(pool).ready.catch(() => {})
    this.#publishTopology()
  }

  /** Ends a thread at once, as a crash would: what was on it is gone. `false`: there is none of that number. */
  kill(thread: number): boolean {
    const actorThread = this.#threads.get(thread)
    actorThread?.abort.abort(new Error('killed'))
    return actorThread !== undefined
  }

  // --- Size

  /** @throws UsageError when there is no such pool. */
  #pool(name: string): Pool {
    const pool = this.#pools.get(name)
    if (pool !== undefined) return pool
    throw new UsageError(`there is no pool ${name}`, {
      pool: name,
      pools: [...this.#pools.keys()].join(', '),
    })
  }

  has(name: string): boolean {
    return this.#pools.has(name)
  }

  /**
   * Changes the limits of a pool. Settles when the threads that it lacks run; those it has too many of take no more actors
   * from then on, and end when their last has.
   *
   * @throws UsageError
   */
  async resize(name: string, change: PoolChange): Promise<void> {
    const pool = this.#pool(name)
    const limits = poolLimits(name, { ...pool.limits, ...change })
    const { minThreads, maxThreads } = limits
    pool.resize(limits)
    if (!pool.isQuarantined) this.#growth.setLimit(pool.index, maxThreads)
    const starting: Promise<void>[] = []
    for (let count = this.#active(pool).length; count < minThreads; count++) {
      starting.push(this.#addThread(pool).ready)
    }
    // First those that have the least to finish.
    const { load } = this.#options
    const active = this.#active(pool).sort((one, other) => load.actors(one.slot) - load.actors(other.slot))
    for (const one of active.slice(0, Math.max(0, active.length - maxThreads))) this.#drain(one, 'resized')
    this.#publishTopology()
    await Promise.all(starting)
    this.#resized(pool, 'requested')
  }

  /**
   * Replaces the threads of a pool: as many new ones are started, and when they run the old ones drain. Settles then with
   * the threads that drain, and a promise that settles when they are gone. Asked again before the new ones run, it is the
   * same: on a machine where that takes long each request would double the pool otherwise.
   *
   * @throws UsageError
   */
  async recycle(name: string): Promise<Recycling> {
    const pool = this.#pool(name)
    let underWay = this.#recycling.get(pool)
    if (underWay === undefined) {
      underWay = this.#recycle(pool).finally(() => this.#recycling.delete(pool))
      this.#recycling.set(pool, underWay)
    }
    return await underWay
  }

  async #recycle(pool: Pool): Promise<Recycling> {
    const old = this.#active(pool)
    const added = old.map(() => this.#addThread(pool))
    try {
      await Promise.all(added.map(({ ready }) => ready))
    } catch (error) {
      for (const { thread } of added) this.#unneeded(thread)
      this.#publishTopology()
      throw error
    }
    for (const one of old) if (isActive(one)) this.#drain(one, 'requested')
    // An old one that was used up meanwhile has been replaced already.
    const wanted = Math.max(old.length, pool.limits.minThreads)
    const surplus = Math.max(0, this.#active(pool).length - wanted)
    for (const { thread } of added.slice(0, surplus)) this.#unneeded(thread)
    this.#publishTopology()
    return {
      threads: old.map(({ thread }) => thread),
      drained: Promise.all(old.map(({ gone }) => gone)).then(() => {}),
    }
  }

  #resized(pool: Pool, why: PoolResizedEvent['why']): void {
    const { minThreads, maxThreads, actorsPerThread } = pool.limits
    const threads = this.#active(pool).length
    const event = { pool: pool.name, minThreads, maxThreads, actorsPerThread, threads, why }
    const facts = { event: 'pool.resized', ...event }
    if (why === 'requested') this.#options.log.info(facts, 'pool has another size')
    else this.#options.log.debug(facts, 'pool has another size')
    this.#options.onResized(event)
  }

  /** A thread that was started in vain. */
  #unneeded(thread: number): void {
    const one = this.#threads.get(thread)
    if (one !== undefined && isActive(one)) this.#drain(one, 'requested')
  }

  /** Takes a thread out of service: no new actors, those with a supervisor elsewhere move, the rest may finish. */
  #drain(one: ActorThread, why: ThreadRecycledEvent['why']): void {
    const { pool, slot, thread } = one
    const { load, log, onRecycled } = this.#options
    const now = performance.now()
    if (isActive(one)) this.#growth.add(pool.index, -1)
    one.state = 'draining'
    one.idleSince = now
    one.hurryAt = now + pool.limits.drainMs
    pool.recycled++
    const actors = load.actors(slot)
    const started = load.started(slot)
    const event = { pool: pool.name, thread, why, actors, started, times: pool.recycled }
    log.info({ event: 'thread.recycled', ...event }, 'thread takes no more actors')
    onRecycled(event)
    // After everyone knows where else actors can go: those that move must not be started here again.
    queueMicrotask(() => this.#published.then(() => this.#tell(one.control.drain())))
  }

  #replaceByAnother(one: ActorThread, why: ThreadRecycledEvent['why']): void {
    this.#addThread(one.pool).ready.catch(() => {})
    this.#drain(one, why)
    this.#publishTopology()
  }

  // --- Growth

  #active(pool: Pool): ActorThread[] {
    return [...this.#threads.values()].filter((one) => one.pool === pool && isActive(one))
  }

  #tryGrow(pool: Pool): boolean {
    if (this.#isStopping || !this.#growth.tryGrow(pool.index)) return false
    this.#startThread(pool, this.#growth.nextThread()).catch(() => {})
    this.#publishTopology()
    this.#resized(pool, 'busy')
    return true
  }

  /** A pool without room for one more actor: starts another thread if it may. */
  makeRoom(name: string): void {
    const pool = this.#pools.get(name)
    if (pool === undefined) return
    const rested = this.#active(pool).filter(({ state }) => state === 'resting')
    for (const one of rested) one.state = 'running'
    if (rested.length > 0) this.#publishTopology()
    else this.#tryGrow(pool)
  }

  // --- Topology

  #publishTopology(): void {
    const topology = topologyOf(this.#pools.values(), this.#threads.values())
    this.#options.placer.topology = topology
    this.#published = Promise.all(
      [...this.#threads.values()].map((one) => this.#answer(one, one.control.setTopology(topology))),
    )
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
      [...this.#threads.values()].map(async (one) =>
        threadStatistics(one, await this.#answer(one, one.control.statistics()), load),
      ),
    )
  }

  pools(): PoolStatistics[] {
    const threads = [...this.#threads.values()]
    return [...this.#pools.values()].map((pool) => poolStatistics(pool, threads, this.#options.load))
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
    this.#tending.stop()
    this.#stalls.stop()
    for (const timer of this.#retries) clearTimeout(timer)
    const threads = [...this.#threads.values()]
    for (const { control } of threads) this.#tell(control.stop())
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, timeoutMs)
    })
    await Promise.race([Promise.all(threads.map(({ gone }) => gone)), late])
    clearTimeout(timer)
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()))
    await Promise.all(threads.map(({ gone }) => gone))
  }
}
