/** One mail from DATA to its reply: content, trace fields, storing. Used by one session, for one transaction. */
import { type ActorContext, AskError } from '../../../actors/index.ts'
import type { Account } from '../../../auth/contract.ts'
import { type MailboxesContract, placeName } from '../../../mailbox/contract.ts'
import { deliver } from '../../../mailbox/deliver.ts'
import { deliveryQuota } from '../../../mailbox/quota.ts'
import type { ClientInfo, EnvelopeRecipient, NewMail, QueueContract } from '../../../queue/contract.ts'
import { deliveryDelays } from '../../../queue/delays.ts'
import { newQueueId } from '../../../queue/queue-id.ts'
import type { ClientFacts } from './client-facts.ts'
import { DataReader } from './data-reader.ts'
import { FieldLimit } from './field-limit.ts'
import {
  commentText,
  completeField,
  composeHead,
  deliveredToField,
  originalAddress,
  protocolWord,
  receivedField,
} from './header.ts'
import * as replies from './replies.ts'
import { Spool } from './spool.ts'
import type { Environment, MailTransaction, SessionState } from './state.ts'
import { type LocalOutcome, type StoreResult, type StoreServices, storeMail } from './store.ts'

/** Room for a commit behind many others on a slow disk. */
const enqueueTimeoutMs = 60_000

export interface IncomingOptions {
  readonly context: Pick<ActorContext, 'clock' | 'local' | 'log' | 'self' | 'whereis'>
  /** Id of the session in the log. */
  readonly session: string
  readonly environment: Environment
  /** As it was when the client said DATA. */
  readonly state: SessionState
  /** How the content comes: after DATA, or in chunks. */
  readonly form: 'data' | 'chunks'
  /** Protocol and cipher of TLS; undefined without. */
  readonly tls: { readonly version: string; readonly cipher: string } | undefined
  /** Content was written to the disk: there is room again. */
  readonly onRoom: () => void
}

/** What became of a mail: one reply per recipient, in their order. */
export interface Stored {
  readonly replies: readonly string[]
  readonly wasAccepted: boolean
}

export class IncomingMail {
  readonly queueId: string
  readonly transaction: MailTransaction
  readonly #options: IncomingOptions
  readonly #arrivedAt: number
  readonly #client: ClientInfo
  readonly #reader: DataReader
  readonly #spool: Spool
  readonly #sink: (slice: Buffer) => void
  #hops = 0
  #isEightBit = false
  #messageId = ''

  constructor(options: IncomingOptions) {
    const { context, environment, state } = options
    const { policy } = environment
    this.#options = options
    this.transaction = state.mail!
    this.queueId = newQueueId(context)
    this.#arrivedAt = context.clock.now()
    this.#client = clientOf(environment, state)
    this.#reader = new DataReader(options.form)
    this.#spool = new Spool({
      file: policy.contentFile(this.queueId),
      inMemoryLimit: policy.smtpd.in_memory_limit,
      maxOctets: policy.smtpd.message_size_limit,
      compose: (head, isAll) => this.#compose(head, isAll),
      onRoom: options.onRoom,
    })
    const limit = new FieldLimit(policy.config.content.header_size_limit, (slice) =>
      this.#spool.append(slice),
    )
    this.#sink = (slice) => limit.push(slice)
  }

  /** Content after BDAT is complete. */
  endChunks(): void {
    this.#reader.finish(this.#sink)
  }

  /** Takes octets of the connection. Returns the index after the end of the content, or -1: more is to come. */
  push(chunk: Buffer): number {
    return this.#reader.push(chunk, 0, this.#sink)
  }

  /** Octets that wait for the disk. */
  get backlog(): number {
    return this.#spool.backlog
  }

  /** Why the content, now complete, is not taken: the reply; undefined when nothing is wrong with it. */
  refusal(): string | undefined {
    const { context, session, environment } = this.#options
    if (this.#spool.isTooLarge) return replies.tooLarge
    if (!this.#reader.hasBareNewline) return undefined
    const rule = environment.policy.bareNewlines(environment.peer.address)
    if (rule === 'reject') return replies.bareNewline
    if (rule === 'note') {
      context.log.info(
        { event: 'smtpd.bare-newline', session, queueId: this.queueId },
        'an LF alone was normalized',
      )
    }
    return undefined
  }

  /**
   * Stores the complete mail. When it is fulfilled everything that was acknowledged is on the disk, and nothing else
   * is left there. Rejects for broken invariants only: trouble with disk or queue becomes a reply.
   */
  async store(): Promise<Stored> {
    const { recipients } = this.transaction
    let stored: Stored
    try {
      const content = await this.#spool.finish()
      // Ours is one of them.
      if (this.#hops + 1 >= this.#options.environment.policy.smtpd.hopcount_limit) {
        stored = { replies: recipients.map(() => replies.tooManyHops), wasAccepted: false }
      } else {
        const result = await storeMail(
          {
            queueId: this.queueId,
            transaction: this.#isEightBit ? { ...this.transaction, body: '8BITMIME' } : this.transaction,
            content,
            client: forwardedClient(this.#client, this.#options.state.forwarded),
            arrivedAt: this.#arrivedAt,
          },
          this.#options.environment.peer.service === 'lmtp',
          this.#services(),
        )
        if (result.isWithQueue) this.#spool.release()
        if (result.wasAccepted) this.#logAccepted(result)
        stored = result
      }
    } catch (error) {
      stored = this.#failure(error)
    } finally {
      await this.#spool.discard()
    }
    return stored
  }

  /** Nothing of it stays. */
  discard(): void {
    void this.#spool.discard()
  }

  #compose(head: Buffer, isAll: boolean): readonly Buffer[] {
    const { environment, state } = this.#options
    const { policy, peer } = environment
    const { recipients, sender } = this.transaction
    const isLmtp = peer.service === 'lmtp'
    const trace = {
      queueId: this.queueId,
      hostname: policy.hostname,
      client: this.#client,
      arrivedAt: this.#arrivedAt,
      recipient: recipients.length === 1 ? recipients[0]!.envelope.address : undefined,
    }
    const { slices, hops, isEightBit, messageId } = composeHead(head, isAll, {
      front: isLmtp && !policy.config.lmtp.add_received_header ? '' : receivedField(trace, this.#comments()),
      drops: policy.droppedFields,
      completion: policy.completesMailOf(peer, state.user !== undefined)
        ? (name) => completeField(name, trace, sender)
        : undefined,
    })
    this.#hops = hops
    this.#isEightBit = isEightBit
    this.#messageId = messageId
    return slices
  }

  /** What `Received` says of the session beside the protocol. */
  #comments(): readonly string[] {
    const { environment, state, tls } = this.#options
    const { tls_received_header, sasl_authenticated_header } = environment.policy.smtpd
    const comments: string[] = []
    if (tls_received_header && tls !== undefined) {
      comments.push(`using ${tls.version} with cipher ${tls.cipher}`, 'No client certificate requested')
    }
    if (sasl_authenticated_header && state.user !== undefined) {
      comments.push(`Authenticated sender: ${commentText(state.user)}`)
    }
    return comments
  }

  /** The system said no: the reply for it. Anything else is a mistake of ours, and thrown. */
  #failure(error: unknown): Stored {
    const { context, session } = this.#options
    const { code, message, syscall } = error as NodeJS.ErrnoException
    if (syscall === undefined) throw error
    context.log.error(
      { event: 'smtpd.store-failed', session, queueId: this.queueId, error: message },
      'a mail could not be stored',
    )
    const isFull = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
    const reply = isFull ? replies.noRoom : replies.notStored
    return { replies: this.transaction.recipients.map(() => reply), wasAccepted: false }
  }

  #deliveredTo({ address, orcpt }: EnvelopeRecipient): string {
    const { policy, peer } = this.#options.environment
    if (peer.service !== 'lmtp') return deliveredToField(address)
    const { hdr_delivery_address: which } = policy.config.lmtp
    if (which === 'none' || this.transaction.recipients.length !== 1) return ''
    return deliveredToField(which === 'original' ? (originalAddress(orcpt) ?? address) : address)
  }

  #services(): StoreServices {
    const { context, environment } = this.#options
    const { config } = environment.policy
    return {
      hostname: config.hostname,
      saveCrlf: config.mail.save_crlf,
      fsync: config.mail.fsync !== 'never',
      links: config.maildir.copy_with_hardlinks,
      deliver,
      quota: (account) => deliveryQuota(config, account),
      overQuota: replies.overQuota(config.quota),
      deliveredTo: (recipient) => this.#deliveredTo(recipient),
      enqueue: async (mail: NewMail) => {
        const queue = context.whereis<QueueContract>('queue')
        if (queue === undefined) throw new AskError('no_actor', 'the queue is not running')
        if ('file' in mail.content) await this.#spool.sync()
        return queue.askWith({ timeoutMs: enqueueTimeoutMs }, 'enqueue', mail)
      },
      arrived: (account: Account) => {
        context.whereis<MailboxesContract>('mailboxes')?.tell('arrived', placeName(account))
      },
      delivered: (recipient, outcome) => this.#logDelivery(recipient, outcome),
    }
  }

  // Before the 250: the log then has a line for everything a client may believe was accepted.
  #logAccepted(result: StoreResult): void {
    const { context, session, environment, state } = this.#options
    context.log.info(
      {
        event: 'mail.accepted',
        session,
        queueId: this.queueId,
        from: this.transaction.sender,
        recipients: this.transaction.recipients
          .filter((_, index) => result.replies[index]!.startsWith('2'))
          .map((recipient) => recipient.envelope.address),
        octets: this.#spool.octets,
        client: environment.peer.address,
        ...(environment.peer.name === undefined ? {} : { clientName: environment.peer.name }),
        messageId: this.#messageId,
        helo: state.helo,
        protocol: this.#client.protocol,
        ...(state.user === undefined ? {} : { user: state.user }),
      },
      'mail accepted',
    )
  }

  #logDelivery(recipient: EnvelopeRecipient, outcome: LocalOutcome): void {
    const { context, session } = this.#options
    // Nothing came in between: all of it is transmission.
    const at = this.#arrivedAt
    const doneAt = context.clock.now()
    const times = deliveryDelays({ arrivedAt: at, activeAt: at, startedAt: at, setupAt: at, doneAt })
    context.log.info(
      {
        event: 'delivery',
        session,
        queueId: this.queueId,
        to: recipient.address,
        relay: 'local',
        ...times,
        dsn: outcome.status === 'sent' ? '2.0.0' : outcome.dsn,
        status: outcome.status,
        reply: outcome.status === 'sent' ? 'delivered to the mailbox' : outcome.reason,
      },
      'delivery',
    )
  }
}

/** The client's own client, as far as it told: for XFORWARD to the next server. What it left out is as it was. */
function forwardedClient(client: ClientInfo, facts: ClientFacts | undefined): ClientInfo {
  if (facts === undefined) return client
  const { name: ownName, helo: ownHelo, ...own } = client
  const name = facts.name === undefined ? ownName : facts.name
  const helo = facts.helo === undefined ? ownHelo : facts.helo
  return {
    ...own,
    ...(name == null ? {} : { name }),
    ...(helo == null ? {} : { helo }),
    ...(facts.address === undefined ? {} : { address: facts.address ?? 'unknown' }),
    ...(facts.port === undefined ? {} : { port: facts.port ?? 0 }),
    ...(facts.protocol == null ? {} : { protocol: facts.protocol }),
    ...(facts.ident == null ? {} : { ident: facts.ident }),
    ...(facts.source === undefined ? {} : { source: facts.source }),
  }
}

function clientOf({ peer }: Environment, state: SessionState): ClientInfo {
  return {
    address: peer.address,
    port: peer.port,
    ...(peer.name === undefined ? {} : { name: peer.name }),
    ...(state.helo === '' ? {} : { helo: state.helo }),
    protocol: protocolWord({
      service: peer.service,
      greeting: state.greeting,
      smtputf8: state.mail?.smtputf8 === true,
      isSecured: state.isSecured,
      isAuthenticated: state.user !== undefined,
    }),
    ...(state.user === undefined ? {} : { user: state.user }),
  }
}
