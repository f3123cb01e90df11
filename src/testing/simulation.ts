/**
 * Who runs next. All threads of a simulated system are lists in this one; a step is the turn of one actor for one
 * message, one frame handed from thread to thread, or one thing a thread learns about the others. Which of those that
 * are possible comes next is drawn from the seed. Microtasks run dry between steps, so the same seed gives the same run as
 * long as nothing waits for the real world.
 */
import { type ActorCell, currentActor } from '../runtime/cell.ts'
import type { RunQueue } from '../runtime/scheduler.ts'
import { outsideActors } from '../runtime/scopes.ts'
import { Random } from './random.ts'
import type { LinkHost, SimulatedInbox, SimulatedLink } from './simulated-link.ts'
import { Trace } from './trace.ts'
import type { VirtualTime } from './virtual-time.ts'

export interface SimulationOptions {
  /** Without one turns come in the order of asking, as in a real system. */
  readonly seed: number | undefined
  /** Most virtual milliseconds a frame between threads is under way. */
  readonly latencyMs: number
}

interface Notice {
  readonly text: string
  readonly run: () => void
}

/** One thread as the steps see it. */
export class SimulatedThread implements RunQueue {
  readonly number: number
  readonly #simulation: SimulationSteps
  /** Actors that want a turn. From `first` on: taking the oldest must not move the others. */
  readonly ready: ActorCell[] = []
  first = 0
  /** What it is going to learn, in order: the calls of its control port. */
  readonly notices: Notice[] = []
  inbox: SimulatedInbox | undefined
  isAlive = true
  /** Before that nothing of it runs. */
  isBooted: boolean
  turn = 0
  priority = 0

  constructor(simulation: SimulationSteps, number: number) {
    this.number = number
    this.#simulation = simulation
    this.isBooted = number === 0
  }

  push(cell: ActorCell): void {
    if (!this.isAlive) return
    this.ready.push(cell)
    this.#simulation.wake()
  }

  /** As its scheduler is asked by the system: for all threads. */
  get isIdle(): boolean {
    return this.#simulation.isIdle
  }

  runNow(): void {}

  get readyCount(): number {
    return this.ready.length - this.first
  }

  /** Takes the one at `index`, counted from the oldest. */
  take(index: number): ActorCell {
    const at = this.first + index
    const cell = this.ready[at]!
    if (index > 0) this.ready[at] = this.ready[this.first]!
    this.first++
    if (this.first === this.ready.length || this.first > 1_000) {
      this.ready.splice(0, this.first)
      this.first = 0
    }
    return cell
  }

  die(): void {
    this.isAlive = false
    this.ready.length = this.first = this.notices.length = 0
  }
}

/** Steps before the event loop gets a turn, when they are not drawn. */
const stepsPerTurn = 256
/** With more actors than that ready on one thread priorities cost too much to compare. */
const manyReady = 200
/** How often what has the highest priority gets a new one: nobody waits for ever. */
const newPriority = 0.06

export class SimulationSteps implements LinkHost {
  readonly trace = new Trace()
  readonly random: Random
  readonly threads: SimulatedThread[] = []
  readonly links = new Set<SimulatedLink>()
  readonly #time: VirtualTime
  readonly #isDrawn: boolean
  readonly #latencyMs: number
  /** Every second seed runs by priorities: some wait very long, which finds what even odds hardly ever do. */
  readonly #byPriority: boolean
  readonly #priorities = new WeakMap<ActorCell, number>()
  #isScheduled = false
  /** Called before each step, for faults that come at random. */
  beforeStep: (() => void) | undefined
  readonly #afterStep = new Set<() => void>()

  constructor(options: SimulationOptions, time: VirtualTime) {
    this.#time = time
    this.#isDrawn = options.seed !== undefined
    this.#latencyMs = options.latencyMs
    this.random = new Random(options.seed ?? 0)
    this.#byPriority = this.#isDrawn && this.random.chance(0.5)
  }

  addThread(number: number): SimulatedThread {
    const thread = new SimulatedThread(this, number)
    thread.priority = this.random.next()
    this.threads[number] = thread
    return thread
  }

  /** Whether nothing can be done before the clock moves. */
  get isIdle(): boolean {
    if (this.#isScheduled) return false
    if (this.#choices().total === 0) return true
    // A frame whose time has come, when another alarm of the same time rang first.
    this.wake()
    return false
  }

  /** No step is done any more. */
  halt(): void {
    for (const thread of this.threads) thread?.die()
    this.links.clear()
  }

  /** Calls back after each step until the result is called. */
  onStep(callback: () => void): () => void {
    this.#afterStep.add(callback)
    return () => this.#afterStep.delete(callback)
  }

  // --- LinkHost

  wake(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Steps are nobody's in particular, whoever made them possible.
    currentActor.exit(setImmediate, this.#run)
  }

  dueMs(): number {
    const now = this.#time.monotonic()
    if (this.#latencyMs === 0) return now
    const due = now + this.random.below(this.#latencyMs + 1)
    if (due > now) this.#time.schedule(() => this.wake(), due - now)
    return due
  }

  turnOf(thread: number): number {
    return this.threads[thread]?.turn ?? 0
  }

  later(thread: number, text: string, run: () => void): void {
    const one = this.threads[thread]
    if (one?.isAlive !== true) return
    one.notices.push({ text, run })
    this.wake()
  }

  // --- Steps

  readonly #run = (): void => {
    this.#isScheduled = false
    for (let steps = this.#isDrawn ? 1 : stepsPerTurn; steps > 0; steps--) {
      if (!this.#step()) return
    }
    this.wake()
  }

  #choices() {
    let total = 0
    const threads: SimulatedThread[] = []
    const notified: SimulatedThread[] = []
    const links: SimulatedLink[] = []
    for (const thread of this.threads) {
      if (thread?.isAlive !== true) continue
      if (thread.notices.length > 0) notified.push(thread)
      if (!thread.isBooted || thread.readyCount === 0) continue
      threads.push(thread)
      total += thread.readyCount
    }
    const now = this.#time.monotonic()
    for (const link of this.links) if (this.#canDeliver(link, now)) links.push(link)
    total += notified.length + links.length
    return { total, threads, notified, links }
  }

  #canDeliver(link: SimulatedLink, now: number): boolean {
    const frame = link.frames[0]
    if (frame === undefined || frame.dueMs > now || link.held > 0) return false
    const to = this.threads[link.to]
    return to?.isAlive === true && to.isBooted && to.inbox?.knows(link) === true
  }

  /** `false`: there was none to do. */
  #step(): boolean {
    this.beforeStep?.()
    const { total, threads, notified, links } = this.#choices()
    if (total === 0) return false
    if (!this.#isDrawn) this.#turn(threads[0]!, 0)
    else if (this.#byPriority && total < manyReady) this.#stepByPriority(threads, notified, links)
    else this.#stepByOdds(this.random.below(total), threads, notified, links)
    for (const callback of this.#afterStep) callback()
    return true
  }

  #stepByOdds(
    drawn: number,
    threads: readonly SimulatedThread[],
    notified: readonly SimulatedThread[],
    links: readonly SimulatedLink[],
  ): void {
    let left = drawn
    for (const thread of threads) {
      if (left < thread.readyCount) {
        this.#turn(thread, left)
        return
      }
      left -= thread.readyCount
    }
    if (left < links.length) this.#deliver(links[left]!)
    else this.#notify(notified[left - links.length]!)
  }

  #stepByPriority(
    threads: readonly SimulatedThread[],
    notified: readonly SimulatedThread[],
    links: readonly SimulatedLink[],
  ): void {
    let highest = -1
    let chosen = (): void => {}
    let demote = (): void => {}
    for (const thread of threads) {
      for (let i = 0; i < thread.readyCount; i++) {
        const cell = thread.ready[thread.first + i]!
        const priority = this.#priorityOf(cell)
        if (priority <= highest) continue
        highest = priority
        chosen = () => this.#turn(thread, i)
        demote = () => this.#priorities.set(cell, this.random.next())
      }
    }
    for (const link of links) {
      if (link.priority <= highest) continue
      highest = link.priority
      chosen = () => this.#deliver(link)
      demote = () => {
        link.priority = this.random.next()
      }
    }
    for (const thread of notified) {
      if (thread.priority <= highest) continue
      highest = thread.priority
      chosen = () => this.#notify(thread)
      demote = () => {
        thread.priority = this.random.next()
      }
    }
    chosen()
    if (this.random.chance(newPriority)) demote()
  }

  #priorityOf(cell: ActorCell): number {
    let priority = this.#priorities.get(cell)
    if (priority === undefined) {
      priority = this.random.next()
      this.#priorities.set(cell, priority)
    }
    return priority
  }

  #turn(thread: SimulatedThread, index: number): void {
    const cell = thread.take(index)
    if (cell.state === 'ended') return
    thread.turn++
    this.trace.addTurn(this.#time.monotonic(), cell)
    outsideActors(() => cell.takeTurn(1))
  }

  #deliver(link: SimulatedLink): void {
    const label = link.frames[0]?.label
    const { from, to } = link
    this.trace.add(this.#time.monotonic(), () => `t${from} -> t${to} ${label}`)
    this.threads[to]!.turn++
    this.threads[to]!.inbox!.deliver(link)
  }

  #notify(thread: SimulatedThread): void {
    const notice = thread.notices.shift()!
    this.trace.add(this.#time.monotonic(), () => `t${thread.number} ${notice.text}`)
    thread.turn++
    notice.run()
  }
}
