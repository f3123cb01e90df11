/**
 * Brings recipients from disk into memory, as many as there is room for. Three sources, looked at in turn: the rest of
 * large mails that are in memory in part, mail never tried in order of arrival, and recipients whose time has come.
 * New mail that finds room does not pass here at all.
 */
import type { ActiveMail, ActiveRecipient, ActiveSet } from './active.ts'
import type { DueCursor, QueueStore, StoredMail, StoredRecipient } from './store.ts'

/** Recipients read at once; what is more waits for another turn. */
const batch = 500
/** Ids looked through at once: a long run of deferred mail must not hold up the thread. */
const smallestSpan = 1024
const largestSpan = 128 * 1024

export interface RefillHooks {
  /** A recipient is in memory now. */
  admit(mail: ActiveMail, recipient: ActiveRecipient, reason: string | undefined): void
  /** All recipients of a large mail have come into memory. */
  complete(mail: ActiveMail): void
  /** A mail of which all recipients are done; only its notices are missing. */
  finish(mail: ActiveMail): void
  /** A recipient without its mail: what a damaged database may hold. */
  orphan(recipient: StoredRecipient): void
  /** A row that cannot be understood. */
  damaged(mail: number): void
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
  /** Mails in memory with more recipients on disk. */
  readonly #partial = new Set<ActiveMail>()

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
    return this.#backlog || this.#starved || this.#partial.size > 0
  }

  /** When the rest of a large mail is looked at again at the latest; undefined: there is none. */
  nextSlice(): number | undefined {
    let next: number | undefined
    for (const mail of this.#partial) {
      const time = mail.readAt + this.#refillDelay(mail)
      if (next === undefined || time < next) next = time
    }
    return next
  }

  /** How long until there is something to look at, `most` at most; undefined: nothing waits for a time. */
  wait(now: number, monotonic: number, most: number): number | undefined {
    const due = this.nextDue()
    const slice = this.nextSlice()
    if (due === undefined && slice === undefined) return undefined
    const never = Number.POSITIVE_INFINITY
    return Math.max(1, Math.min((due ?? never) - now, (slice ?? never) - monotonic, most))
  }

  /** New mail went to memory directly; `lastId` is its last recipient. */
  passed(lastId: number): void {
    this.#arrived = lastId
  }

  /** New mail did not find room. */
  missed(): void {
    this.#backlog = true
  }

  /** Recipients of a mail that is about to come in which may be in memory at first. */
  allowance(recipients: number): number {
    return Math.min(recipients, Math.max(this.#active.minimum, this.#active.roomForRecipients))
  }

  /** The recipients from the id `cursor` on stay on disk for now. */
  keepRest(mail: ActiveMail, cursor: number, now: number): void {
    const { id, recipients } = mail.stored
    mail.cursor = cursor
    mail.unread = id + recipients - cursor
    mail.readAt = now
    if (mail.unread > 0) this.#partial.add(mail)
  }

  /** A mail left memory. */
  forget(mail: ActiveMail): void {
    mail.unread = 0
    this.#partial.delete(mail)
  }

  /** Looks through all deferred recipients again: their times were changed. */
  rewind(): void {
    this.#due = { time: 0, id: 0 }
  }

  /** Reads a batch. True: there may be more, and room for it. `monotonic`: the clock that never jumps. */
  step(now: number, monotonic: number): boolean {
    // The clock was set back: times that were in the past are ahead again.
    if (now < this.#lastNow) this.rewind()
    this.#lastNow = now
    const more = this.#stepPartial(now, monotonic)
    if (this.#backlog) this.#stepArrived(now, monotonic)
    const room = Math.min(batch, this.#active.roomForMails, this.#active.roomForRecipients)
    this.#starved = room === 0
    if (room === 0) return more || (this.#backlog && this.#active.roomForMails > 0)
    const rows = this.#store.due(this.#due, now, room)
    const last = rows.at(-1)
    if (last !== undefined) this.#due = { time: last.nextAttempt, id: last.id }
    this.#load(rows, now)
    return more || this.#backlog || rows.length === room
  }

  /** When the next deferred recipient is due, milliseconds since the epoch; undefined: none waits. */
  nextDue(): number | undefined {
    // Without room its time does not matter: when something leaves, there is another look.
    if (this.#starved) return undefined
    return this.#store.nextDue(this.#due)
  }

  // --- Large mails

  #stepPartial(now: number, monotonic: number): boolean {
    let left = batch
    for (const mail of this.#partial) {
      const wanted = Math.min(mail.unread, this.#slice(mail, monotonic), left)
      if (wanted === 0) continue
      left -= wanted
      const { id, recipients } = mail.stored
      const rows = this.#store.incoming(mail.cursor - 1, id + recipients - 1, wanted)
      // Fewer: the others were tried before a restart.
      const cursor = rows.length < wanted ? id + recipients : rows.at(-1)!.id + 1
      // Those that came last in a round come first in the next.
      this.#partial.delete(mail)
      this.keepRest(mail, cursor, monotonic)
      this.#load(rows, now)
      if (mail.unread === 0) {
        this.#hooks.complete(mail)
        if (mail.outstanding === 0) this.#hooks.finish(mail)
      }
      if (left === 0) return true
    }
    return false
  }

  /** How many recipients of a large mail may come in now. */
  #slice(mail: ActiveMail, monotonic: number): number {
    let room = this.#active.roomForRecipients
    let least = 1
    for (const { transport, below } of mail.jobs) {
      const { memoryLimit, extraMemory, refillLimit } = transport.settings
      const limit = memoryLimit + (below === undefined ? 0 : extraMemory)
      room = Math.min(room, limit - transport.recipients)
      least = Math.max(least, refillLimit)
    }
    if (mail.outstanding === 0) return Math.max(room, this.#active.minimum)
    if (room < 1) return 0
    const isLate = monotonic - mail.readAt >= this.#refillDelay(mail)
    return isLate || room >= Math.min(least, mail.unread) ? room : 0
  }

  #refillDelay(mail: ActiveMail): number {
    if (mail.jobs.length === 0) return 5_000
    return Math.min(...mail.jobs.map(({ transport }) => transport.settings.refillDelay))
  }

  // --- New mail

  #stepArrived(now: number, monotonic: number): void {
    const room = Math.min(batch, this.#active.roomForMails)
    if (room === 0) return
    const { lastId } = this.#store
    const until = Math.min(this.#arrived + this.#span, lastId)
    const rows = this.#store.incoming(this.#arrived, until, batch)
    this.#span = rows.length > 0 ? smallestSpan : Math.min(this.#span * 2, largestSpan)
    let at = 0
    while (at < rows.length && this.#active.roomForMails > 0) {
      const first = rows[at]!
      const stored = this.#read(first)
      if (stored === undefined) {
        this.#arrived = first.id
        at += 1
        continue
      }
      const end = stored.id + stored.recipients
      const isThere = this.#active.mail(stored.id)
      const rest = isThere === undefined ? this.allowance(end - first.id) : isThere.unread > 0 ? 0 : end
      const group: StoredRecipient[] = []
      while (at < rows.length && rows[at]!.mail === stored.id) {
        if (group.length < rest) group.push(rows[at]!)
        at += 1
      }
      const mail = isThere ?? this.#active.addMail(stored, now)
      this.#load(group, now)
      // The rest of it is read with the large mails, so that those behind it are not held up.
      if (isThere === undefined) this.keepRest(mail, (group.at(-1)?.id ?? first.id - 1) + 1, monotonic)
      this.#arrived = end - 1
    }
    if (at === rows.length && rows.length < batch) this.#arrived = Math.max(this.#arrived, until)
    if (this.#arrived >= lastId) this.#backlog = false
  }

  /** The mail of a row, unless it is missing or damaged. */
  #read(row: StoredRecipient): StoredMail | undefined {
    const stored = this.#store.mail(row.mail)
    if (stored === undefined) this.#hooks.orphan(row)
    else if (stored === 'damaged') this.#hooks.damaged(row.mail)
    else return stored
    return undefined
  }

  #load(rows: readonly StoredRecipient[], now: number): void {
    const touched = new Set<ActiveMail>()
    for (const row of rows) {
      if (this.#active.hasRecipient(row.id)) continue
      let mail = this.#active.mail(row.mail)
      if (mail === undefined) {
        const stored = this.#read(row)
        if (stored === undefined) continue
        mail = this.#active.addMail(stored, now)
      }
      if (row.isDamaged) this.#hooks.damaged(row.mail)
      else if (row.outcome === undefined) {
        this.#active.addRecipient(mail, row.id)
        this.#hooks.admit(mail, toActive(row), row.reason)
      } else touched.add(mail)
    }
    for (const mail of touched) if (mail.outstanding === 0 && mail.unread === 0) this.#hooks.finish(mail)
  }
}

/** A stored recipient as it is in memory. */
export function toActive(row: StoredRecipient): ActiveRecipient {
  return {
    id: row.id,
    address: row.address,
    attempts: row.attempts,
    ...(row.origTo === undefined ? {} : { origTo: row.origTo }),
    ...(row.orcpt === undefined ? {} : { orcpt: row.orcpt }),
    ...(row.notify === undefined ? {} : { notify: row.notify }),
  }
}
