/**
 * The outbound queue as other parts see it. The queue manager is registered as `queue`.
 *
 * Duty: once `enqueue` answered `queued`, the mail is on stable storage and the queue delivers it, or tells its
 * sender why not. Before that answer the duty is the caller's.
 */

import type { Contract } from '../actors/index.ts'
import type { Lease } from '../cache/contract.ts'

export type Notify = 'NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY'

export interface EnvelopeRecipient {
  /** Address as it will be sent in RCPT TO, without angle brackets. */
  readonly address: string
  /** Address before rewriting, when it differs. */
  readonly origTo?: string
  /** RFC 3461 ORCPT as received, `rfc822;user@example.org`. */
  readonly orcpt?: string
  /** RFC 3461 NOTIFY; absent: not given. */
  readonly notify?: readonly Notify[]
}

export interface Envelope {
  /** Reverse-path without angle brackets; empty: the null reverse-path. */
  readonly sender: string
  readonly recipients: readonly EnvelopeRecipient[]
  /** RFC 3461 ENVID, xtext decoded. */
  readonly envid?: string
  readonly ret?: 'FULL' | 'HDRS'
  readonly body?: '7BIT' | '8BITMIME'
  readonly smtputf8?: boolean
  /** RFC 8689: the mail must not travel without TLS to a server that is the right one. */
  readonly requiretls?: boolean
  readonly trace?: Trace
}

/**
 * A report that the sender asked for beside the mail. `verify`: nothing is delivered, the report says what became of
 * asking for each recipient (`sendmail -bv`). `record`: the report is about the first attempt (`sendmail -v`).
 */
export type Trace = 'verify' | 'record'

/** Who handed the mail to us; for the log, Received and XFORWARD. */
export interface ClientInfo {
  readonly address: string
  readonly port: number
  readonly name?: string
  readonly helo?: string
  /** SMTP, ESMTP, ESMTPA, LMTP, …: the word of the Received field. `local`: submitted by `mailactors send`. */
  readonly protocol: string
  readonly user?: string
  /** As XFORWARD told: the id of the mail at the client, and whether it came to it from elsewhere. */
  readonly ident?: string
  readonly source?: 'LOCAL' | 'REMOTE'
}

/**
 * Where the content is: inline, or a file under `queue/content/` named after the queue id that its writer has
 * synced already. Lines end in CRLF, nothing is dot-stuffed, a Received field is already in front.
 */
export type Content = { readonly bytes: Uint8Array } | ContentFile

export interface ContentFile {
  readonly file: string
  readonly size: number
  /** CRC-32 of all octets; undefined: not known. */
  readonly crc?: number
}

export interface NewMail {
  /** From `newQueueId`: the id is in the Received field already. */
  readonly queueId: string
  readonly envelope: Envelope
  readonly content: Content
  readonly client: ClientInfo
  /** Milliseconds since the epoch. */
  readonly arrivedAt: number
}

/** `refused`: nothing was stored. `temporary` failures may be tried again later. */
export type EnqueueResult =
  | { readonly status: 'queued' }
  | { readonly status: 'refused'; readonly temporary: boolean; readonly dsn: string; readonly reason: string }

/** One delivery request: one mail, one next hop, 1..n recipients. What a delivery actor is started with. */
export interface DeliveryRequest {
  readonly queueId: string
  /** Name of the transport, whose settings apply: `smtp`, `lmtp`. */
  readonly transport: string
  readonly nexthop: string
  readonly sender: string
  readonly envid?: string
  readonly ret?: 'FULL' | 'HDRS'
  readonly body?: '7BIT' | '8BITMIME'
  readonly smtputf8?: boolean
  /** RFC 8689, see `Envelope`. */
  readonly requiretls?: boolean
  readonly size: number
  readonly content: Content
  readonly arrivedAt: number
  /** When it became due and was picked up by the scheduler. */
  readonly activeAt: number
  readonly client: ClientInfo
  readonly recipients: readonly DeliveryRecipient[]
  /** An idle connection lent to this delivery; it lives on the delivery's own thread. */
  readonly lease?: ConnectionLease
  /** Nobody is sent anything: only whether the recipients could be delivered to is asked. */
  readonly probe?: boolean
  /** Whether to look for idle connections to the servers of the next hop. */
  readonly reuseConnection?: boolean
  /** Whether to keep the connection for the next delivery instead of closing it. */
  readonly cacheConnection: boolean
  /** More waits for the same next hop: a delivery that still has its connection at the end stays for what comes next. */
  readonly stays?: boolean
}

/** A delivery that is done with a request, still has its connection, and goes on with it. */
export interface Onward {
  /** Whether it has begun the request it was given ahead of time; else it waits for one. */
  readonly hasBegun: boolean
  /** What it took to make the connection, milliseconds. */
  readonly setupMs: number
}

/** What a delivery takes that stays after its first request. */
export type DeliveryContract = Contract<{
  /** What to do when the present request is done, or now. */
  next(request: DeliveryRequest): void
  /** There is nothing more to do. */
  end(): void
}>

export interface DeliveryRecipient {
  /** Key of the recipient in the queue; given back in the result. */
  readonly id: number
  readonly address: string
  /** Address before rewriting, when it differs. */
  readonly origTo?: string
  readonly orcpt?: string
  readonly notify?: readonly Notify[]
}

export interface ConnectionLease {
  /** Number of the connection in its thread's keeper. */
  readonly connection: number
  readonly endpoint: string
  /** What it took to make it, milliseconds. */
  readonly setupMs: number
}

export interface RecipientResult {
  readonly id: number
  /** `deliverable` and `undeliverable` answer a probe. */
  readonly status: 'sent' | 'deferred' | 'bounced' | 'deliverable' | 'undeliverable'
  /** RFC 3463 code, its class agreeing with `status`. */
  readonly dsn: string
  /** Reason in one line: the server's reply word for word, or our own words. */
  readonly reply: string
  /** `name[address]:port`, or `none`. */
  readonly relay: string
  /** Host name of the server when `reply` is its reply: Remote-MTA of RFC 3464. */
  readonly remoteMta?: string
  /** It is `deferred` only because `soft_bounce` is set. */
  readonly softBounced?: boolean
  /** The recipient's mailbox is behind this server: SUCCESS means delivered, not relayed. */
  readonly isFinal?: boolean
  /** Where it differs from the report, because a request took several sessions. */
  readonly times?: ResultTimes
  /** Whether the next server took over the duty of a SUCCESS notification (it offers DSN). */
  readonly dsnRelayed?: boolean
}

export interface ResultTimes {
  readonly setupAt: number
  readonly doneAt: number
  readonly connUse: number
  readonly tls?: string
}

/** What was said in a session that the postmaster is to hear of. */
export interface Transcript {
  /** `name[address]:port`. */
  readonly relay: string
  /** Printable lines, `Out: …` and `In: …`. */
  readonly lines: readonly string[]
}

export interface DeliveryReport {
  readonly queueId: string
  /** Exactly one per recipient of the request. */
  readonly results: readonly RecipientResult[]
  /** The site itself is in trouble: slow down or stop sending there. */
  readonly hopStatus?: { readonly dsn: string; readonly reason: string }
  /** Deliveries made over this connection, this one included. */
  readonly connUse: number
  /** Milliseconds since the epoch: delivery actor started, session ready (MAIL about to be sent). 0: never. */
  readonly startedAt: number
  readonly setupAt: number
  readonly tls?: string
  /** The content is not what was queued: what is left of it must not be thrown away. */
  readonly damaged?: boolean
  readonly transcripts?: readonly Transcript[]
}

export type QueueName = 'incoming' | 'active' | 'deferred' | 'hold' | 'corrupt'

/** One mail as `queue list` and `queue show` print it. */
export interface QueueListing {
  readonly queueId: string
  readonly queueName: QueueName
  readonly arrivedAt: number
  readonly size: number
  readonly sender: string
  /** The next attempt returns it to its sender. */
  readonly forcedExpire: boolean
  readonly recipients: readonly ListedRecipient[]
}

export interface ListedRecipient {
  readonly address: string
  /** Address before rewriting, where it differs. */
  readonly origTo?: string
  readonly destination: string
  readonly attempts: number
  /** Milliseconds since the epoch; 0: now. */
  readonly nextAttempt: number
  /** Why it waits. */
  readonly reason: string | null
  /** Why it failed for good, when its sender has not been told yet. */
  readonly bounceReason: string | null
}

/** What operators do to mails. */
export type QueueOperation = 'hold' | 'release' | 'delete' | 'requeue' | 'expire' | 'flush'

/** Which mails: those with these ids, else all; of them those that fit all the rest. */
export interface QueueSelection {
  readonly ids?: readonly string[]
  readonly queues?: readonly QueueName[]
  /** Next hop, or `transport:nexthop`, of a recipient that waits. */
  readonly site?: string
  /** An address, `@domain`, or either with `*`; `<>`: the null sender. */
  readonly sender?: string
  /** The same, for any recipient that waits. */
  readonly recipient?: string
}

export interface OperationPage {
  /** Queue id after which to go on; '' at the start. Not used with `ids`. */
  readonly after: string
  /** Mails after it are left alone: they came after the operation began, or through it. Default: the last there is. */
  readonly until?: string
  /** Mails looked at in this call. */
  readonly limit: number
  readonly dryRun?: boolean
  /** For `expire`: also make the next attempt now. */
  readonly now?: boolean
}

export interface OperationResult {
  /** What was done, or (`dryRun`) would be; `newId` for `requeue`. */
  readonly done: readonly { readonly queueId: string; readonly newId?: string }[]
  /** Named mails that are not there, or not in the state the operation is for. */
  readonly missing: readonly string[]
  /** Where to go on, and up to where; '' when all were looked at. */
  readonly next: string
  readonly until: string
}

/** What new mail waits for before it is acknowledged. */
export interface IntakeState {
  /** Why it is refused for now; null: it is taken. */
  readonly refusal: string | null
  /** Acknowledgements that are held up, each for `delayMs`, because their mail found no room in memory. */
  readonly heldUp: number
  readonly delayMs: number
  /** Mails on disk that were never tried. */
  readonly incoming: number
  /** In memory, and how many may be. */
  readonly mails: number
  readonly mailLimit: number
  readonly recipients: number
  readonly recipientLimit: number
}

/** What a recipient waits for. Times in milliseconds since the epoch. */
export type WaitsFor =
  | { readonly kind: 'delivery'; readonly since: number }
  | { readonly kind: 'commit' | 'hold' | 'corrupt' | 'notice' | 'stop' | 'service' }
  | ({ readonly kind: 'memory' } & Pick<IntakeState, 'mails' | 'mailLimit' | 'recipients' | 'recipientLimit'>)
  | { readonly kind: 'window'; readonly running: number; readonly width: number }
  | { readonly kind: 'processes'; readonly running: number; readonly limit: number }
  | { readonly kind: 'turn'; readonly ahead: number }
  | { readonly kind: 'destination-pause' | 'transport-pause'; readonly until: number }
  | { readonly kind: 'backoff'; readonly until: number }
  | { readonly kind: 'dead-site' | 'dead-transport'; readonly until: number; readonly reason: string }
  | { readonly kind: 'defer-transports'; readonly until: number; readonly transport: string }

export interface ExplainedRecipient extends ListedRecipient {
  readonly waitsFor: WaitsFor
  /** The last attempt; null: there was none. */
  readonly last: {
    readonly at: number
    readonly relay: string
    /** Word for word. */
    readonly reply: string
    readonly remoteMta?: string
  } | null
  /** When it goes back to its sender if nothing changes; null: not as long as it is held. */
  readonly returnedAt: number | null
}

/** One mail as `queue why` explains it. */
export interface QueueExplanation extends Omit<QueueListing, 'recipients'> {
  /** Who sent it was not told yet that it is safe: see `IntakeState`. */
  readonly isHeldUp: boolean
  readonly recipients: readonly ExplainedRecipient[]
}

export interface QueueStatistics {
  /** Recipients by what became of them, since the queue manager started. */
  readonly results: Readonly<Record<string, number>>
  readonly accepted: number
  readonly refused: number
  /** Notices by kind. */
  readonly notices: Readonly<Record<string, number>>
  readonly recipientsInMemory: number
  readonly running: number
  readonly waiting: number
  readonly sites: number
  readonly deadSites: number
  readonly commits: number
  readonly heldUp: number
}

export type QueueContract = Contract<{
  /** Answers after the commit. */
  enqueue(mail: NewMail): EnqueueResult
  /** A delivery actor says how it went; the actor ends after this, unless it goes on. */
  delivered(report: DeliveryReport, onward?: Onward): void
  /**
   * A delivery gives back a request it was given ahead of time, or (`key`: which delivery) did not get it at all. Names
   * one of its recipients; nothing was done.
   */
  returned(recipient: number, key?: number): void
  /** A delivery that found a connection on another thread asks to be done there. Names one of its recipients. */
  relocate(recipient: number, lease: Lease): void
  /** A delivery that cannot be done by its transport asks for another one, of the same recipients. */
  reroute(recipient: number, transport: string, nexthop: string): void
  /** In order of arrival, from after `after` (a queue id, '' for the start). */
  list(after: string, limit: number): readonly QueueListing[]
  show(queueId: string): QueueListing | null
  /** The first `limit` octets of the content. */
  content(queueId: string, limit: number): Uint8Array | null
  /** Tries deferred mail for a domain or next hop now; '' for all. Returns how many recipients became due. */
  flush(site: string): number
  /** Does something to the next mails of a selection. With `ids` to all of those, 1000 at most. */
  operate(operation: QueueOperation, selection: QueueSelection, page: OperationPage): OperationResult
  /** What each recipient waits for, and until when. */
  why(queueId: string): QueueExplanation | null
  intake(): IntakeState
  stats(): QueueStatistics
  counts(): QueueCounts
  /** The configuration has changed: it counts from now on. What is on its way to a destination goes on as it was. */
  reload(): void
  /** Starts no more deliveries; answers when those that run have reported. Mail is still accepted and kept. */
  drain(): void
}>

export interface QueueCounts {
  readonly incoming: number
  readonly active: number
  readonly deferred: number
  readonly hold: number
  readonly corrupt: number
}
