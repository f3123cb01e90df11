/** What operators do with mails: look, hold, release, delete, requeue, expire, try now. Each page is a transaction of its own. */
import type { Logger } from '../actors/index.ts'
import { type ActiveSet, fileOf } from './active.ts'
import type { ContentFolder } from './content.ts'
import type {
  Content,
  NewMail,
  OperationPage,
  OperationResult,
  QueueListing,
  QueueOperation,
  QueueSelection,
} from './contract.ts'
import { listEnvelope, listMail, listPage } from './listing.ts'
import type { MailCounts } from './mail-counts.ts'
import { matcher } from './selection.ts'
import type { QueueStore, StoredMail, StoredRecipient } from './store.ts'
import { traceField } from './trace-field.ts'

/** Mails one request may name, or look at. */
const mailsPerRequest = 1_000

export interface OperatorTools {
  readonly store: QueueStore
  readonly folder: ContentFolder
  readonly active: ActiveSet
  readonly counts: MailCounts
  readonly log: Logger
  now(): number
  hostname(): string
  newQueueId(): string
  /** `transport:nexthop` of an address that was not tried yet. */
  destination(address: string): string
  /** Whether a recipient is being delivered or its result is being written. */
  isUnderWay(recipient: number): boolean
  /** Takes a mail out of memory. */
  forget(mail: StoredMail): void
  /** Mails became due: they are to be looked for. */
  madeDue(): void
  /** A mail was added. */
  arrived(mail: NewMail, id: number, file: string | undefined): void
}

interface Done {
  readonly queueId: string
  readonly newId?: string
}

export class Operators {
  readonly #tools: OperatorTools

  constructor(tools: OperatorTools) {
    this.#tools = tools
  }

  list(after: string, limit: number): readonly QueueListing[] {
    return listPage(after, limit, this.#tools)
  }

  show(queueId: string): QueueListing | null {
    const mail = this.#tools.store.mailByQueueId(queueId)
    return mail === undefined ? null : listMail(mail, this.#tools)
  }

  /** The first `limit` octets; null when there is no such mail, or its content is missing. */
  content(queueId: string, limit: number): Uint8Array | null {
    const mail = this.#tools.store.mailByQueueId(queueId)
    return mail === undefined ? null : (this.#tools.active.beginning(mail, Math.max(0, limit)) ?? null)
  }

  operate(operation: QueueOperation, selection: QueueSelection, page: OperationPage): OperationResult {
    const { store } = this.#tools
    const limit = Math.max(1, Math.min(page.limit, mailsPerRequest))
    const ids =
      selection.ids === undefined ? undefined : [...new Set(selection.ids)].slice(0, mailsPerRequest)
    const until = page.until ?? store.lastQueueId
    const mails =
      ids === undefined
        ? store.mailsAfter(page.after, limit, until)
        : ids.flatMap((queueId) => store.mailByQueueId(queueId) ?? [])
    const fits = matcher(selection)
    // A mail may have thousands of recipients, which are read only for a pattern that needs them.
    const list = selection.site === undefined && selection.recipient === undefined ? listEnvelope : listMail
    const chosen = mails.filter((mail) => isFor(operation, mail) && fits(list(mail, this.#tools)))
    const done = page.dryRun === true ? chosen : this.#perform(operation, chosen, page)
    const there = new Set(done.map(({ queueId }) => queueId))
    return {
      done: done.map(({ queueId, newId }: Done) => (newId === undefined ? { queueId } : { queueId, newId })),
      missing: ids?.filter((queueId) => !there.has(queueId)) ?? [],
      until,
      next: ids === undefined && mails.length === limit ? (mails.at(-1)?.queueId ?? '') : '',
    }
  }

  #perform(operation: QueueOperation, mails: readonly StoredMail[], page: OperationPage): readonly Done[] {
    if (mails.length === 0) return []
    switch (operation) {
      case 'delete':
        return this.#remove(mails)
      case 'hold':
        for (const mail of mails) this.park(mail, 'hold')
        return mails
      case 'release':
      case 'flush':
        this.#makeDue(mails)
        return mails
      case 'expire':
        return this.#expire(mails, page.now === true)
      case 'requeue':
        return mails.flatMap((mail) => this.#requeue(mail) ?? [])
    }
  }

  #remove(mails: readonly StoredMail[]): readonly Done[] {
    const { store, folder, counts } = this.#tools
    store.transaction(() => {
      for (const mail of mails) store.removeMail(mail)
    })
    for (const mail of mails) {
      counts.take(mail.state)
      this.#tools.forget(mail)
      if (mail.file !== undefined) folder.remove(mail.file)
      this.#log('mail.removed', mail, 'mail removed from the queue')
    }
    return mails
  }

  /** Puts a mail aside; deliveries of it that run are let finish. */
  park(mail: StoredMail, state: 'hold' | 'corrupt'): void {
    const { store, counts } = this.#tools
    store.transaction(() => store.setState(mail, state))
    counts.move(mail.state, state)
    this.#tools.forget(mail)
  }

  /** Held and corrupt mail too. What is in memory keeps its place there. */
  #makeDue(mails: readonly StoredMail[]): void {
    const { store, counts, active } = this.#tools
    const now = this.#tools.now()
    const resting = mails.filter(({ id }) => active.mail(id) === undefined)
    store.transaction(() => {
      for (const mail of resting) {
        if (mail.state !== 'deferred') store.setState(mail, 'deferred')
        store.setDue(mail, now)
      }
    })
    for (const { state } of resting) if (state !== 'deferred') counts.move(state, 'deferred')
    this.#tools.madeDue()
  }

  #expire(mails: readonly StoredMail[], now: boolean): readonly Done[] {
    const { store } = this.#tools
    store.transaction(() => {
      for (const mail of mails) store.setExpire(mail.id)
    })
    for (const mail of mails) this.#log('mail.expire-forced', mail, 'the next attempt returns the mail')
    // What is in memory waits for an attempt that would not know of it.
    const due = mails.filter(
      ({ id, state }) => now || (state !== 'hold' && this.#tools.active.mail(id) !== undefined),
    )
    for (const mail of due) this.#tools.forget(mail)
    if (due.length > 0) this.#makeDue(due)
    return mails
  }

  /** The recipients that are not done go through the intake again, as a mail with another id. */
  #requeue(mail: StoredMail): Done | undefined {
    const { store, folder, counts } = this.#tools
    const recipients = store
      .recipientsOf(mail)
      .filter(({ id, outcome }) => outcome === undefined && !this.#tools.isUnderWay(id))
    const newId = this.#tools.newQueueId()
    if (recipients.length === 0) return undefined
    const content = this.#renewedContent(mail, newId)
    if (content === undefined) return undefined
    const fresh = renewed(mail, newId, recipients, content)
    const file = 'file' in content ? content.file : undefined
    const { id, left } = store.transaction(() => {
      const added = store.insert(fresh, file)
      for (const recipient of recipients) store.removeRecipient(recipient.id)
      const isLeft = store.hasRecipients(mail)
      if (!isLeft) store.removeMail(mail)
      return { id: added, left: isLeft }
    })
    this.#tools.forget(mail)
    if (!left) {
      counts.take(mail.state)
      if (mail.file !== undefined) folder.remove(mail.file)
    }
    this.#log('mail.requeued', mail, 'mail queued again under another id', newId)
    this.#tools.arrived(fresh, id, file)
    this.#tools.madeDue()
    return { queueId: mail.queueId, newId }
  }

  /** As any mail that comes in it says that it was here. */
  #renewedContent(mail: StoredMail, newId: string): Content | undefined {
    const { folder, active } = this.#tools
    const field = Buffer.from(`${traceField(this.#tools.hostname(), newId, this.#tools.now())}\r\n`)
    if (mail.file !== undefined) {
      try {
        return folder.copy(fileOf(mail, mail.file), newId, field)
      } catch (error) {
        const { syscall, message } = error as NodeJS.ErrnoException
        if (syscall === undefined) throw error
        const facts = { event: 'queue.write-failed', queueId: mail.queueId, error: message }
        this.#tools.log.error(facts, 'the content of a mail cannot be copied: it stays as it is')
        return undefined
      }
    }
    const bytes = active.beginning(mail, mail.size)
    return bytes === undefined ? undefined : { bytes: Buffer.concat([field, bytes]) }
  }

  #log(event: string, { queueId }: StoredMail, text: string, newId?: string): void {
    this.#tools.log.info({ event, queueId, by: 'operator', ...(newId === undefined ? {} : { newId }) }, text)
  }
}

/** Whether a mail is in a state that the operation is for. */
function isFor(operation: QueueOperation, { state, expire }: StoredMail): boolean {
  switch (operation) {
    case 'hold':
      return state === 'active' || state === 'deferred'
    case 'release':
      return state === 'hold' || state === 'corrupt'
    case 'flush':
      return state === 'active' || state === 'deferred'
    case 'expire':
      return state !== 'corrupt' && !expire
    case 'requeue':
    case 'delete':
      return true
  }
}

/** As it would come in now: addresses as they were before rewriting. It is as old as it was. */
function renewed(
  mail: StoredMail,
  queueId: string,
  recipients: readonly StoredRecipient[],
  content: Content,
): NewMail {
  const { sender, envid, ret, body, smtputf8, requiretls, trace } = mail
  return {
    queueId,
    envelope: {
      sender,
      recipients: recipients.map(({ address, origTo, orcpt, notify }) => ({
        address: origTo ?? address,
        ...(orcpt === undefined ? {} : { orcpt }),
        ...(notify === undefined ? {} : { notify }),
      })),
      ...(envid === undefined ? {} : { envid }),
      ...(ret === undefined ? {} : { ret }),
      ...(body === undefined ? {} : { body }),
      ...(smtputf8 === undefined ? {} : { smtputf8 }),
      ...(requiretls === undefined ? {} : { requiretls }),
      ...(trace === undefined ? {} : { trace }),
    },
    content,
    client: mail.client,
    arrivedAt: mail.arrivedAt,
  }
}
