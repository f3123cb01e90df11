/**
 * Takes responsibility for one received mail: stores it for each local recipient and puts the rest on the queue.
 * The reply goes out when everything is on stable storage, and not before (RFC 5321 section 6.1).
 *
 * Order: local mailboxes first, then the queue. The queue may send the mail at once, and what has left this
 * machine cannot be taken back, so it is asked last. When something fails, SMTP has one reply for all recipients,
 * and it is a temporary failure: the client tries again, and recipients whose copy was stored already get a second
 * one. A duplicate is the price; a mail that was acknowledged but lost is not payable. LMTP has a reply for each
 * recipient (RFC 2033 section 4.2) and so no duplicates.
 */
import type { Account } from '../../../auth/contract.ts'
import type { deliver } from '../../../mailbox/deliver.ts'
import type {
  ClientInfo,
  Content,
  EnqueueResult,
  EnvelopeRecipient,
  NewMail,
} from '../../../queue/contract.ts'
import * as replies from './replies.ts'
import type { AcceptedRecipient, MailTransaction } from './state.ts'

export interface ReceivedMail {
  readonly queueId: string
  readonly transaction: MailTransaction
  readonly content: Content
  readonly client: ClientInfo
  /** Milliseconds since the epoch: when the client sent DATA. */
  readonly arrivedAt: number
}

/** What storing needs from the outside. */
export interface StoreServices {
  readonly hostname: string
  readonly saveCrlf: boolean
  readonly fsync: boolean
  readonly deliver: typeof deliver
  /** Rejects with an AskError. */
  enqueue(mail: NewMail): Promise<EnqueueResult>
  /** Told once per mailbox, after the mail is in it. */
  arrived(account: Account): void
  /** One call per local recipient. */
  delivered(recipient: EnvelopeRecipient, outcome: LocalOutcome): void
}

export type LocalOutcome =
  | { readonly status: 'sent' }
  | {
      readonly status: 'deferred'
      readonly dsn: string
      /** Reply to the client. */
      readonly reply: string
      /** For the log. */
      readonly reason: string
    }

export interface StoreResult {
  /** One per recipient, in their order. */
  readonly replies: readonly string[]
  /** At least one recipient has the mail, or the queue has it. */
  readonly wasAccepted: boolean
  /** The queue has the content, or may have it: a content file must stay. */
  readonly isWithQueue: boolean
}

/** Local mailboxes written at the same time for one mail. */
const parallelDeliveries = 8

/** Answers for SMTP with the same reply for all recipients, for LMTP with each one's own. */
export async function storeMail(
  mail: ReceivedMail,
  perRecipient: boolean,
  services: StoreServices,
): Promise<StoreResult> {
  const { recipients } = mail.transaction
  const queued = `250 2.0.0 Ok: queued as ${mail.queueId}\r\n`
  const outcomes = await deliverLocally(mail, perRecipient, services)
  if (perRecipient) {
    const own = recipients.map((recipient) => {
      const outcome = outcomes.get(recipient.account!.user)!
      return outcome.status === 'sent' ? queued : outcome.reply
    })
    return {
      replies: own,
      wasAccepted: own.some((reply) => reply === queued),
      isWithQueue: false,
    }
  }
  const all = (reply: string, isWithQueue: boolean): StoreResult => ({
    replies: recipients.map(() => reply),
    wasAccepted: reply === queued,
    isWithQueue,
  })
  for (const outcome of outcomes.values()) {
    if (outcome.status === 'deferred') return all(outcome.reply, false)
  }
  const remote = remoteRecipients(recipients)
  if (remote.length === 0) return all(queued, false)
  const answer = await enqueue(mail, remote, services)
  return all(answer.reply ?? queued, answer.isWithQueue)
}

/** Outcome by user: who is named twice, or under two addresses, gets one copy. */
async function deliverLocally(
  mail: ReceivedMail,
  evenAfterFailure: boolean,
  services: StoreServices,
): Promise<ReadonlyMap<string, LocalOutcome>> {
  const outcomes = new Map<string, LocalOutcome>()
  const byUser = new Map<string, AcceptedRecipient[]>()
  for (const recipient of mail.transaction.recipients) {
    if (recipient.account === undefined) continue
    const same = byUser.get(recipient.account.user)
    if (same === undefined) byUser.set(recipient.account.user, [recipient])
    else same.push(recipient)
  }
  if (byUser.size === 0) return outcomes
  const waiting = byUser.values()
  let hasFailed = false
  const work = async () => {
    for (const group of waiting) {
      if (hasFailed && !evenAfterFailure) return
      const { account, envelope } = group[0]!
      const outcome = await deliverOne(mail, account!, envelope, services)
      outcomes.set(account!.user, outcome)
      if (outcome.status === 'deferred') hasFailed = true
      for (const recipient of group) services.delivered(recipient.envelope, outcome)
    }
  }
  if (byUser.size === 1) await work()
  else await Promise.all(Array.from({ length: Math.min(parallelDeliveries, byUser.size) }, work))
  return outcomes
}

async function deliverOne(
  mail: ReceivedMail,
  account: Account,
  recipient: EnvelopeRecipient,
  services: StoreServices,
): Promise<LocalOutcome> {
  const prefix = Buffer.from(
    `Return-Path: <${mail.transaction.sender}>\r\nDelivered-To: ${recipient.address}\r\n`,
  )
  try {
    await services.deliver(account.maildir, mail.content, {
      hostname: services.hostname,
      prefix,
      saveCrlf: services.saveCrlf,
      fsync: services.fsync,
    })
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: string }
    if (typeof code !== 'string' || !code.startsWith('MA_MAILBOX_')) throw error
    const reply = code === 'MA_MAILBOX_FULL' ? replies.noRoom : replies.notStored
    return { status: 'deferred', dsn: reply.slice(4, 9), reply, reason: message ?? code }
  }
  services.arrived(account)
  return { status: 'sent' }
}

/** Those for the queue. Who is named twice in the same way gets one copy. */
function remoteRecipients(recipients: readonly AcceptedRecipient[]): readonly EnvelopeRecipient[] {
  if (recipients.length === 1) {
    const only = recipients[0]!
    return only.account === undefined ? [only.envelope] : []
  }
  const unique = new Map<string, EnvelopeRecipient>()
  for (const { account, envelope } of recipients) {
    if (account !== undefined) continue
    const key = `${envelope.address} ${envelope.orcpt ?? ''} ${envelope.notify?.join() ?? ''}`
    if (!unique.has(key)) unique.set(key, envelope)
  }
  return [...unique.values()]
}

async function enqueue(
  mail: ReceivedMail,
  recipients: readonly EnvelopeRecipient[],
  services: StoreServices,
): Promise<{ reply: string | undefined; isWithQueue: boolean }> {
  const { sender, envid, ret, body, smtputf8 } = mail.transaction
  let result: EnqueueResult
  try {
    result = await services.enqueue({
      queueId: mail.queueId,
      envelope: {
        sender,
        recipients,
        ...(envid === undefined ? {} : { envid }),
        ...(ret === undefined ? {} : { ret }),
        ...(body === undefined ? {} : { body }),
        ...(smtputf8 ? { smtputf8 } : {}),
      },
      content: mail.content,
      client: mail.client,
      arrivedAt: mail.arrivedAt,
    })
  } catch (error) {
    const { code } = error as { code?: unknown }
    if (typeof code !== 'string' || !code.startsWith('MA_')) throw error
    if (code === 'MA_OVERLOADED') return { reply: replies.noRoom, isWithQueue: false }
    // After MA_DOWN and MA_TIMEOUT it may have been stored all the same: the client's next try makes a duplicate.
    return { reply: replies.notStored, isWithQueue: code !== 'MA_NO_ACTOR' }
  }
  if (result.status === 'queued') return { reply: undefined, isWithQueue: true }
  return { reply: refusal(result.temporary, result.dsn), isWithQueue: false }
}

/** The queue's reason is for the log: it may name paths. */
function refusal(temporary: boolean, dsn: string): string {
  if (!temporary) return `554 ${dsn} The mail cannot be queued\r\n`
  return dsn === '4.3.1' ? replies.noRoom : `451 ${dsn} The mail cannot be queued now\r\n`
}
