/**
 * Takes responsibility for one received mail: stores it for each local recipient and puts the rest on the queue.
 * The reply goes out when everything is on stable storage, and not before (RFC 5321 section 6.1).
 *
 * Order: local mailboxes first, then the queue. The queue may send the mail at once, and what has left this
 * machine cannot be taken back, so it is asked last. SMTP has one reply for all recipients, so when a mailbox
 * cannot be written but somebody else has the mail already, the queue takes that recipient too, and tries again.
 * Only when it refuses is the reply a temporary failure: the client sends again, and who was stored gets a second
 * copy. A duplicate is the price; a mail that was acknowledged but lost is not payable. LMTP has a reply for each
 * recipient (RFC 2033 section 4.2) and needs none of this.
 */
import type { Account } from '../../../auth/contract.ts'
import type { Delivered, deliver } from '../../../mailbox/deliver.ts'
import type { DeliveryQuota } from '../../../mailbox/quota.ts'
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
  /** `maildir.copy_with_hardlinks`. */
  readonly links: boolean
  readonly deliver: typeof deliver
  readonly quota: (account: Account) => DeliveryQuota
  /** The reply when a mailbox is full. */
  readonly overQuota: string
  /** Flushes a content file, then asks the queue. Rejects with an AskError, or with the system's error of the flush. */
  enqueue(mail: NewMail): Promise<EnqueueResult>
  /** The Delivered-To field of a copy, with its line end; empty: it gets none. */
  deliveredTo(recipient: EnvelopeRecipient): string
  /** Told once per mailbox, after the mail is in it. */
  arrived(account: Account): void
  /** One call per local recipient. */
  delivered(recipient: EnvelopeRecipient, outcome: LocalOutcome): void
}

export type LocalOutcome =
  | { readonly status: 'sent' }
  | {
      /** `bounced`: there is no use in trying again soon. Where others have the mail the queue tells the sender. */
      readonly status: 'deferred' | 'bounced'
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
  const outcomes = await deliverLocally(mail, services)
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
  const queueable = forQueue(recipients, outcomes)
  if (queueable.length === 0) return all(queued, false)
  const failure = failureOfAll(recipients, outcomes)
  if (failure !== undefined) return all(failure, false)
  const answer = await enqueue(mail, queueable, services)
  return all(answer.reply ?? queued, answer.isWithQueue)
}

/** The reply when all recipients are local and none of them has the mail: its sender can keep it as well as our queue. */
function failureOfAll(
  recipients: readonly AcceptedRecipient[],
  outcomes: ReadonlyMap<string, LocalOutcome>,
): string | undefined {
  if (recipients.some((recipient) => recipient.account === undefined)) return undefined
  let reply: string | undefined
  for (const outcome of outcomes.values()) {
    if (outcome.status === 'sent') return undefined
    reply ??= outcome.reply
  }
  return reply
}

/** Outcome by user: who is named twice, or under two addresses, gets one copy. */
async function deliverLocally(
  mail: ReceivedMail,
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
  const prefix = ([recipient]: readonly AcceptedRecipient[]) =>
    `Return-Path: <${mail.transaction.sender}>\r\n${services.deliveredTo(recipient!.envelope)}`
  /** What was stored, by what stands in front of it. */
  const stored = new Map<string, Delivered>()
  const one = async (group: readonly AcceptedRecipient[]) => {
    const { account } = group[0]!
    const outcome = await deliverOne(mail, account!, prefix(group), stored, services)
    outcomes.set(account!.user, outcome)
    for (const recipient of group) services.delivered(recipient.envelope, outcome)
  }
  const groups = [...byUser.values()]
  const [first, second] = groups
  const waiting = groups.values()
  // Then there is a file that the others can be names of.
  if (services.links && second !== undefined && prefix(first!) === prefix(second))
    await one(waiting.next().value!)
  const work = async () => {
    for (const group of waiting) await one(group)
  }
  if (byUser.size === 1) await work()
  else await Promise.all(Array.from({ length: Math.min(parallelDeliveries, byUser.size) }, work))
  return outcomes
}

async function deliverOne(
  mail: ReceivedMail,
  account: Account,
  prefix: string,
  stored: Map<string, Delivered>,
  services: StoreServices,
): Promise<LocalOutcome> {
  const twin = services.links ? stored.get(prefix) : undefined
  try {
    const delivered = await services.deliver(account.maildir, mail.content, {
      hostname: services.hostname,
      prefix: Buffer.from(prefix),
      ...(twin === undefined ? {} : { twin }),
      saveCrlf: services.saveCrlf,
      fsync: services.fsync,
      quota: services.quota(account),
    })
    stored.set(prefix, delivered)
  } catch (error) {
    const { code, message } = error as { code?: unknown; message?: string }
    if (typeof code !== 'string' || !code.startsWith('MA_MAILBOX_')) throw error
    const reply =
      code === 'MA_MAILBOX_QUOTA'
        ? services.overQuota
        : code === 'MA_MAILBOX_FULL'
          ? replies.noRoom
          : replies.notStored
    return {
      status: reply.startsWith('5') ? 'bounced' : 'deferred',
      dsn: reply.slice(4, 9),
      reply,
      reason: message ?? code,
    }
  }
  services.arrived(account)
  return { status: 'sent' }
}

/** Those for the queue: remote ones, and whose mailbox could not be written. Who is named twice in the same way gets one copy. */
function forQueue(
  recipients: readonly AcceptedRecipient[],
  outcomes: ReadonlyMap<string, LocalOutcome>,
): readonly EnvelopeRecipient[] {
  const unique = new Map<string, EnvelopeRecipient>()
  for (const { account, envelope } of recipients) {
    if (account !== undefined && outcomes.get(account.user)?.status === 'sent') continue
    const key =
      account === undefined
        ? `${envelope.address} ${envelope.orcpt ?? ''} ${envelope.notify?.join() ?? ''}`
        : ` ${account.user}`
    if (!unique.has(key)) unique.set(key, envelope)
  }
  return [...unique.values()]
}

async function enqueue(
  mail: ReceivedMail,
  recipients: readonly EnvelopeRecipient[],
  services: StoreServices,
): Promise<{ reply: string | undefined; isWithQueue: boolean }> {
  const { sender, envid, ret, body, smtputf8, requiretls } = mail.transaction
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
        ...(requiretls ? { requiretls } : {}),
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
