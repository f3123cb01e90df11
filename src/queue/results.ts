/**
 * Writes what became of recipients, inside one transaction: a recipient leaves the queue in the same commit in
 * which the notice about it enters. Changes nothing in memory: if the commit fails the same attempts are written
 * again later.
 */
import type { ActiveMail, Ended } from './active.ts'
import type { Attempt } from './attempt.ts'
import { expiresAt, nextAttempt } from './backoff.ts'
import type { Notify, RecipientResult } from './contract.ts'
import {
  delayNotices,
  endNotices,
  isRecording,
  mayWarn,
  type Notice,
  type NoticeSettings,
  owesSuccess,
} from './notices/compose.ts'
import { toActive } from './refill.ts'
import type { MailState, Outcome, QueueStore, StoredMail } from './store.ts'

/** What the log says of a recipient. */
export type Status = RecipientResult['status'] | 'expired' | 'force-expired' | 'SOFTBOUNCE'

/** Changes of one mail in this commit. */
export interface MailChange {
  readonly mail: ActiveMail
  /** Recipients with results in this commit. */
  readonly done: number[]
  /** Recorded in the store, to be told at the end of the pass. */
  readonly ended: Ended[]
  readonly delayed: ActiveMail['delayed']
  /** Recipients that wait for another attempt. */
  deferred: number
  /** `more`: recipients are left in memory. `removed`, `deferred`, `reload`: the pass is over. */
  end: 'more' | 'removed' | 'deferred' | 'reload'
  /** State of the mail in the store before it was removed. */
  state: MailState
  notices: readonly { readonly notice: Notice; readonly id: number }[]
  /** A notice about a notice failed: nobody is told. */
  isDropped: boolean
}

export interface WriteContext {
  readonly store: QueueStore
  readonly settings: NoticeSettings
  readonly now: number
  original(stored: StoredMail, limit: number): Uint8Array | undefined
  newQueueId(): string
}

/** What is logged: the result as it was judged. */
export interface JudgedAttempt {
  readonly attempt: Attempt
  readonly statuses: readonly Status[]
}

export interface Written {
  readonly changes: readonly MailChange[]
  readonly judged: readonly JudgedAttempt[]
}

/** To be called within a transaction of `context.store`. */
export function writeAttempts(attempts: readonly Attempt[], context: WriteContext): Written {
  const changes = new Map<ActiveMail, MailChange>()
  const judged: JudgedAttempt[] = []
  for (const attempt of attempts) {
    let change = changes.get(attempt.mail)
    if (change === undefined) {
      change = {
        mail: attempt.mail,
        done: [],
        ended: [],
        delayed: [],
        deferred: 0,
        end: 'more',
        notices: [],
        isDropped: false,
        state: attempt.mail.stored.state,
      }
      changes.set(attempt.mail, change)
    }
    judged.push({ attempt, statuses: writeAttempt(attempt, change, context) })
  }
  for (const change of changes.values()) {
    if (change.mail.withdrawn) endWithdrawn(change, context.store)
    else if (change.mail.outstanding === change.done.length && change.mail.unread === 0)
      endPass(change, context)
  }
  return { changes: [...changes.values()], judged }
}

function writeAttempt(attempt: Attempt, change: MailChange, context: WriteContext): Status[] {
  const { mail, recipients, results } = attempt
  const { store, settings, now } = context
  // The end of its pass removes the rows of a mail with one recipient together.
  const isOnly = mail.stored.recipients === 1 && !mail.withdrawn
  return recipients.map((recipient, index) => {
    const found = results[index]!
    change.done.push(recipient.id)
    const status = judge(found, mail, context)
    const result = status === 'SOFTBOUNCE' ? { ...found, dsn: `4${found.dsn.slice(1)}` } : found
    if (status === 'deferred' || status === 'SOFTBOUNCE') {
      const next = nextAttempt(now, mail.stored.arrivedAt, settings.queue)
      change.deferred += 1
      store.defer(recipient.id, next, attempt.site, `${result.dsn} ${result.reply}`, {
        at: now,
        relay: result.relay,
        ...(result.remoteMta === undefined ? {} : { remoteMta: result.remoteMta }),
      })
      if (settings.queue.delay_warning_time > 0 || isRecording(mail.stored)) {
        change.delayed.push({ recipient, outcome: result })
      }
    } else if (recorded.has(status) || isTold(result, mail, recipient.notify, settings)) {
      const outcome = toOutcome(result, recorded.get(status) ?? 'sent')
      change.ended.push({ recipient, outcome })
      if (!isOnly) store.recordOutcome(recipient.id, outcome)
    } else if (!isOnly) store.removeRecipient(recipient.id)
    return status
  })
}

function judge(result: RecipientResult, mail: ActiveMail, { settings, now }: WriteContext): Status {
  if (mail.stored.trace === 'verify') {
    return result.status === 'sent' || result.status === 'deliverable' ? 'deliverable' : 'undeliverable'
  }
  if (result.status === 'bounced') return settings.dsn.soft_bounce ? 'SOFTBOUNCE' : 'bounced'
  if (result.status !== 'deferred') return result.status
  const { sender, arrivedAt, expire } = mail.stored
  // Mail that was put on hold does not expire while its last delivery ends.
  if (mail.withdrawn) return 'deferred'
  if (expire) return 'force-expired'
  return now >= expiresAt(sender, arrivedAt, settings.queue) ? 'expired' : 'deferred'
}

/** The next server takes over what the sender asked for when it can. */
const isTold = (
  result: RecipientResult,
  { stored }: ActiveMail,
  notify: readonly Notify[] | undefined,
  { queue }: NoticeSettings,
): boolean => isRecording(stored) || (result.dsnRelayed !== true && owesSuccess(stored, notify, queue))

/** How a recipient ended of which somebody hears in any case, by what the log calls it. */
const recorded: ReadonlyMap<Status, Outcome['status']> = new Map([
  ['bounced', 'bounced'],
  ['expired', 'expired'],
  ['force-expired', 'expired'],
  ['deliverable', 'deliverable'],
  ['undeliverable', 'undeliverable'],
])

function toOutcome(result: RecipientResult, status: Outcome['status']): Outcome {
  const { id: _, times: __, softBounced: ___, ...rest } = result
  return { ...rest, status }
}

/** All recipients in memory were tried. */
function endPass(change: MailChange, context: WriteContext): void {
  const { mail } = change
  const { stored } = mail
  const { store, settings, now } = context
  const isOnly = stored.recipients === 1
  // Too many for memory at once: the rest is read when there is room, and notices wait for it.
  if (!isOnly && store.hasDue(stored, now)) {
    change.end = 'reload'
    return
  }
  // The database remembers those of earlier commits, and of the time before a crash.
  const ended = isOnly && change.done.length > 0 ? change.ended : endedOf(stored, store)
  const delayed = [...mail.delayed, ...change.delayed]
  const end = {
    mail,
    now,
    ended,
    delayed,
    original: (limit: number) => context.original(stored, limit),
    newQueueId: () => context.newQueueId(),
  }
  const told = endNotices(end, settings)
  const notices: Notice[] = [...told.notices]
  change.isDropped = told.isDropped
  if (delayed.length > 0 && mayWarn(mail, now, settings.queue)) {
    notices.push(...delayNotices(end, settings))
    store.setWarned(stored.id)
  }
  change.notices = notices.map((notice) => ({ notice, id: store.insert(notice.mail) }))
  if (!isOnly) for (const { recipient } of ended) store.removeRecipient(recipient.id)
  const isWaiting = isOnly ? change.deferred > 0 : store.hasRecipients(stored)
  if (isWaiting) {
    change.end = 'deferred'
    if (stored.state !== 'deferred') store.setState(stored, 'deferred')
  } else {
    change.end = 'removed'
    store.removeMail(stored)
  }
}

function endedOf(stored: StoredMail, store: QueueStore): readonly Ended[] {
  return store
    .endedOf(stored)
    .flatMap((row) => (row.outcome === undefined ? [] : [{ recipient: toActive(row), outcome: row.outcome }]))
}

/** A mail that was put on hold or removed while it was delivered. */
function endWithdrawn(change: MailChange, store: QueueStore): void {
  const { stored } = change.mail
  if (store.hasRecipients(stored)) return
  // It may have been released meanwhile.
  const now = store.mail(stored.id)
  if (typeof now === 'object') change.state = now.state
  if (store.removeMail(stored)) change.end = 'removed'
}
