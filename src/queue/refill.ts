/**
 * Brings recipients from disk into memory, as many as there is room for: those never tried in order of arrival,
 * then those whose time has come. New mail that finds room does not pass here at all.
 */
import type { ActiveMail, ActiveRecipient, ActiveSet } from './active.ts'
import type { DueCursor, QueueStore, StoredRecipient } from './store.ts'

/** Recipients read at once; what is more waits for another turn. */
const batch = 500
/** Ids looked through at once: a long run of deferred mail must not hold up the thread. */
const smallestSpan = 1024
const largestSpan = 128 * 1024

export interface RefillHooks {
  /** A recipient is in memory now. */
  admit(mail: ActiveMail, recipient: ActiveRecipient): void
  /** A mail of which all recipients are done; only its notices are missing. */
  finish(mail: ActiveMail): void
  /** A recipient without its mail: what a damaged database may hold. */
  orphan(recipient: StoredRecipient): void
}

export class Refill {
  readonly #store: QueueStore
  readonly #active: ActiveSet
  readonly #hooks: RefillHooks
  #backlog = true
  /** The last look ended for want of room. */
  #starved = false
  #arrived = 0
  #span = smallestSpan
  #due: DueCursor = { time: 0, id: 0 }
  #lastNow = 0

  constructor(store: QueueStore, active: ActiveSet, hooks: RefillHooks) {
    this.#store = store
    this.#active = active
    this.#hooks = hooks
  }

  /** Whether mail that was never tried waits on disk: then new mail waits behind it. */
  get hasBacklog(): boolean {
    return this.#backlog
  }

  /** Whether something on disk could come in if there were room. */
  get isWaiting(): boolean {
    return this.#backlog || this.#starved
  }

  /** New mail went to memory directly; `lastId` is its last recipient. */
  passed(lastId: number): void {
    this.#arrived = lastId
  }

  /** New mail did not find room. */
  missed(): void {
    this.#backlog = true
  }

  /** Looks through all deferred recipients again: their times were changed. */
  rewind(): void {
    this.#due = { time: 0, id: 0 }
  }

  /** Reads a batch. True: there may be more, and room for it. */
  step(now: number): boolean {
    // The clock was set back: times that were in the past are ahead again.
    if (now < this.#lastNow) this.rewind()
    this.#lastNow = now
    if (this.#backlog) this.#stepArrived(now)
    const room = Math.min(batch, this.#active.room)
    this.#starved = room === 0
    if (room === 0) return false
    const rows = this.#store.due(this.#due, now, room)
    const last = rows.at(-1)
    if (last !== undefined) this.#due = { time: last.nextAttempt, id: last.id }
    this.#load(rows, now)
    return this.#backlog || rows.length === room
  }

  /** When the next deferred recipient is due, milliseconds since the epoch; undefined: none waits. */
  nextDue(): number | undefined {
    return this.#store.nextDue(this.#due)
  }

  #stepArrived(now: number): void {
    const room = Math.min(batch, this.#active.room)
    if (room === 0) return
    const { lastId } = this.#store
    const until = Math.min(this.#arrived + this.#span, lastId)
    const rows = this.#store.incoming(this.#arrived, until, room)
    this.#arrived = rows.length === room ? rows.at(-1)!.id : until
    this.#span = rows.length > 0 ? smallestSpan : Math.min(this.#span * 2, largestSpan)
    if (this.#arrived >= lastId) this.#backlog = false
    this.#load(rows, now)
  }

  #load(rows: readonly StoredRecipient[], now: number): void {
    const touched = new Set<ActiveMail>()
    for (const row of rows) {
      if (this.#active.hasRecipient(row.id)) continue
      let mail = this.#active.mail(row.mail)
      if (mail === undefined) {
        const stored = this.#store.mail(row.mail)
        if (stored === undefined) {
          this.#hooks.orphan(row)
          continue
        }
        mail = this.#active.addMail(stored, now)
      }
      if (row.outcome === undefined) {
        this.#active.addRecipient(mail, row.id)
        this.#hooks.admit(mail, toActive(row))
      } else touched.add(mail)
    }
    for (const mail of touched) if (mail.outstanding === 0) this.#hooks.finish(mail)
  }
}

/** A stored recipient as it is in memory. */
export function toActive(row: StoredRecipient): ActiveRecipient {
  return {
    id: row.id,
    address: row.address,
    attempts: row.attempts,
    ...(row.orcpt === undefined ? {} : { orcpt: row.orcpt }),
    ...(row.notify === undefined ? {} : { notify: row.notify }),
  }
}
