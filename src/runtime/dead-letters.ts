import type { Logger } from '../actors/index.ts'
import type { DeadLetterReport } from './observer.ts'
import type { Ref } from './ref.ts'
import type { Alarm, Time } from './time.ts'

/** A burst is one line: it is reported a second after it began, and not before ten seconds have passed since the last. */
const gatherMs = 1_000
const periodMs = 10_000
/** Kinds of messages that are told apart; a flood of made-up names must not fill the memory. */
const maxKinds = 64
/** Kinds named in one line. */
const shownKinds = 3

interface Kind {
  readonly to: string
  readonly type: string
  count: number
}

/** Counts the messages of one thread that nobody will handle, and reports them in one line now and then. */
export class DeadLetters {
  /** Since the thread started. */
  total = 0
  readonly #time: Time
  readonly #log: Logger
  readonly #report: (report: DeadLetterReport) => void
  #kinds = new Map<string, Kind>()
  #count = 0
  #overloaded = 0
  #reportedAt = -Infinity
  #alarm: Alarm | undefined

  constructor(time: Time, log: Logger, report: (report: DeadLetterReport) => void) {
    this.#time = time
    this.#log = log
    this.#report = report
  }

  /** `overloaded`: its receiver lives, but its message queue is full. */
  note(ref: Ref, type: string, overloaded: boolean): void {
    this.total++
    this.#count++
    if (overloaded) this.#overloaded++
    const { definition } = ref.cell ?? {}
    const to = definition?.name ?? 'actor'
    const kind = this.#kinds.get(`${to}\n${type}`)
    if (kind !== undefined) kind.count++
    else if (this.#kinds.size < maxKinds) this.#kinds.set(`${to}\n${type}`, { to, type, count: 1 })
    if (this.#alarm !== undefined) return
    const sinceLast = this.#time.monotonic() - this.#reportedAt
    this.#alarm = this.#time.schedule(this.#ring, Math.max(gatherMs, periodMs - sinceLast))
  }

  readonly #ring = (): void => {
    this.#alarm = undefined
    this.#reportedAt = this.#time.monotonic()
    const kinds = [...this.#kinds.values()].sort((a, b) => b.count - a.count).slice(0, shownKinds)
    const report: DeadLetterReport = {
      count: this.#count,
      overloaded: this.#overloaded,
      total: this.total,
      most: kinds.map(({ to, type, count }) => ({ to, type, count })),
    }
    this.#kinds = new Map()
    this.#count = this.#overloaded = 0
    this.#report(report)
    // Messages to those who just ended are part of life; those to the living are lost work.
    const level = report.overloaded > 0 ? 'warn' : 'info'
    if (!this.#log.isLevelEnabled(level)) return
    const most = report.most.map(({ to, type, count }) => `${to}.${type} ${count}`).join(', ')
    const { count, overloaded, total } = report
    this.#log[level]({ event: 'actor.dead-letter', count, overloaded, total, most }, 'messages were dropped')
  }

  /** Reports what is left. */
  close(): void {
    if (this.#alarm === undefined) return
    this.#alarm.cancel()
    this.#ring()
  }
}
