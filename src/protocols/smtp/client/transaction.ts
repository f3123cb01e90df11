/**
 * One mail transaction over a session, RFC 5321 section 3.3, pipelined where the server offers it (RFC 2920), LMTP
 * with a reply per recipient after the content (RFC 2033 section 4.2).
 *
 * Two cursors walk over the same list of steps: the sender's says which command comes next, the receiver's which
 * reply is awaited.
 *
 *     PROBE  MAIL  RCPT 1..n  DATA  DOT  end        or, when it cannot succeed:  …  ABORT  end
 *
 * The sender goes ahead of the receiver only with PIPELINING, at most one output buffer of commands, and never past
 * DATA: content goes out when DATA was accepted. It waits for nobody else, so what it decided to do at the end
 * (keep the connection or leave) holds from the start.
 */
import type { DeliveryRecipient, DeliveryRequest } from '../../../queue/contract.ts'
import { type CommandOptions, mailCommand, rcptCommand } from './commands.ts'
import type { ClientSettings } from './config.ts'
import { type ContentResult, sendContent } from './content-sender.ts'
import { type Failure, localFailure, replyFailure } from './failure.ts'
import { enhancedCode, oneLine, type Reply } from './reply-parser.ts'
import type { Bind, EndCause, Session, SessionListener } from './session.ts'

/** What became of one recipient. */
export type Mark =
  | { readonly kind: 'sent'; readonly dsn: string; readonly reason: string }
  | { readonly kind: 'failed'; readonly failure: Failure }

export interface TransactionOptions {
  readonly protocol: 'smtp' | 'lmtp'
  readonly settings: ClientSettings
  readonly request: DeliveryRequest
  readonly recipients: readonly DeliveryRecipient[]
  /** Whether the connection is kept afterwards; otherwise QUIT travels with the final dot. */
  readonly keep: boolean
  /** The connection was idle: ask with RSET whether the server still listens. */
  readonly probe: boolean
  /** Pause before the final dot, in milliseconds; 0: none. */
  readonly dotDelayMs: number
  /** Folder of content files. */
  readonly contentDir: string
  /** Runs callbacks of files on behalf of the delivery. */
  readonly bind: Bind
}

export interface TransactionResult {
  /** One per recipient given; undefined: nothing was decided, the failure of the session applies. */
  readonly marks: readonly (Mark | undefined)[]
  /** The connection failed. */
  readonly failure: Failure | undefined
  /** The probe was not answered well: nothing was tried, and nothing is to be held against anybody. */
  readonly probeFailed: boolean
  /** The connection is between two transactions and can be used again. */
  readonly reusable: boolean
  /** What is left to say when it is not used again. */
  readonly farewell: 'none' | 'quit' | 'rset-quit' | 'quit-sent'
  /** The final dot was sent, and no reply to it came: the mail may arrive twice. */
  readonly inDoubt: boolean
  readonly folded: boolean
}

/** Most octets of commands in flight. */
const pipelineBuffer = 4_096

// Steps in the order they are taken; the numbers are compared.
const PROBE = 0
const MAIL = 1
const RCPT = 2
const DATA = 3
const DOT = 4
const ABORT = 5
const END = 6

const stages = [
  'probing an idle connection',
  'waiting for the reply to MAIL FROM',
  'waiting for the reply to RCPT TO',
  'waiting for the reply to DATA',
  'waiting for the reply to the end of the content',
  'waiting for the reply to RSET',
  '',
] as const

/** Performs the transaction; never rejects. The session is detached afterwards. */
export function transact(session: Session, options: TransactionOptions): Promise<TransactionResult> {
  return new Promise((resolve) => new Transaction(session, options, resolve).start())
}

class Transaction implements SessionListener {
  readonly #session: Session
  readonly #options: TransactionOptions
  readonly #commands: CommandOptions
  readonly #resolve: (result: TransactionResult) => void
  readonly #marks: (Mark | undefined)[]
  readonly #lmtp: boolean

  #sending: number
  #sendingRcpt = 0
  #awaited: number
  #awaitedRcpt = 0
  /** Commands whose reply is still to come, written or not. */
  #outstanding = 0
  #output = ''

  #senderRejected = false
  #good = 0
  #dataRejected = false
  /** LMTP: recipients accepted, in order; each gets a reply after the content. */
  readonly #accepted: number[] = []
  #nextAccepted = 0
  #content: 'before' | 'under-way' | 'sent' = 'before'
  #quitSent = false
  /** A reply that came before the content was out: taken as the reply to it. */
  #early: Reply | undefined
  #folded = false
  #settled = false

  constructor(session: Session, options: TransactionOptions, resolve: (result: TransactionResult) => void) {
    this.#session = session
    this.#options = options
    this.#resolve = resolve
    this.#lmtp = options.protocol === 'lmtp'
    this.#marks = new Array(options.recipients.length).fill(undefined)
    this.#commands = { features: session.features, quote: options.settings.quote_rfc821_envelope }
    this.#sending = this.#awaited = options.probe ? PROBE : MAIL
  }

  start(): void {
    // First: replies nobody asked for would be taken for ours.
    this.#session.attach(this)
    if (!this.#settled) this.#advance()
  }

  onReply(reply: Reply): void {
    if (this.#settled) return
    if (this.#outstanding === 0) {
      if (this.#content === 'under-way') this.#early ??= reply
      else this.#session.poisoned = true
      return
    }
    this.#received(reply)
  }

  onEnd(cause: EndCause): void {
    if (this.#settled) return
    if (this.#awaited === PROBE) {
      this.#finish({ probeFailed: true, farewell: 'none' })
      return
    }
    if (this.#content === 'under-way' && this.#early !== undefined) {
      // The server said why before it hung up.
      this.#dotAnswered(this.#early)
      const open = this.#marks.includes(undefined)
      const failure = open ? this.#session.endFailure(cause, 'sending the content') : undefined
      this.#finish({ failure, farewell: 'none' })
      return
    }
    if (this.#awaited === ABORT) {
      this.#finish({ farewell: 'none' })
      return
    }
    const stage = this.#content === 'under-way' ? 'sending the content' : stages[this.#awaited]!
    const inDoubt = this.#awaited === DOT && this.#content === 'sent' && this.#good > 0
    const failure = this.#session.endFailure(cause, stage)
    this.#finish({ failure, farewell: 'none', inDoubt })
  }

  /** Writes commands until something has to be awaited. */
  #advance(): void {
    for (;;) {
      const synchronised = this.#outstanding === 0
      if (synchronised) {
        this.#correctCourse()
        if (this.#sending === DOT) {
          this.#sendContent()
          return
        }
      } else if (this.#sending >= DOT || !this.#session.features.pipelining) {
        this.#flush()
        return
      }
      if (this.#sending === ABORT) {
        if (!this.#options.keep) {
          this.#finish({ farewell: 'rset-quit' })
          return
        }
        this.#output = 'RSET\r\n'
        this.#outstanding = 1
        this.#awaited = ABORT
        this.#sending = END
        this.#flush()
        return
      }
      const command = this.#command()
      if (
        !synchronised &&
        Buffer.byteLength(this.#output) + Buffer.byteLength(command) + 2 > pipelineBuffer
      ) {
        this.#flush()
        return
      }
      this.#output += `${command}\r\n`
      this.#outstanding++
      this.#step()
    }
  }

  #command(): string {
    switch (this.#sending) {
      case PROBE:
        return 'RSET'
      case MAIL:
        return mailCommand(this.#options.request, this.#commands)
      case RCPT:
        return rcptCommand(
          this.#options.recipients[this.#sendingRcpt]!,
          this.#options.request,
          this.#commands,
        )
      default:
        return 'DATA'
    }
  }

  #step(): void {
    if (this.#sending === RCPT && ++this.#sendingRcpt < this.#options.recipients.length) return
    this.#sending++
  }

  /** Only when all replies are in: a transaction that cannot succeed is taken back. */
  #correctCourse(): void {
    if (
      (this.#sending === RCPT && this.#senderRejected) ||
      (this.#sending === DATA && this.#good === 0) ||
      (this.#sending === DOT && this.#dataRejected)
    ) {
      this.#sending = ABORT
    }
  }

  #flush(): void {
    this.#session.expect(this.#timeout())
    if (this.#output === '') return
    this.#session.send(this.#output)
    this.#output = ''
  }

  #timeout(): number {
    const { settings } = this.#options
    switch (this.#awaited) {
      case MAIL:
        return settings.mail_timeout
      case RCPT:
        return settings.rcpt_timeout
      case DATA:
        return settings.data_init_timeout
      case DOT:
        return settings.data_done_timeout
      default:
        return settings.rset_timeout
    }
  }

  #received(reply: Reply): void {
    if (this.#awaited !== DOT || !this.#lmtp) this.#outstanding--
    switch (this.#awaited) {
      case PROBE:
        if (!isPositive(reply)) {
          this.#finish({ probeFailed: true, farewell: 'none' })
          return
        }
        this.#awaited = MAIL
        break
      case MAIL:
        if (!isPositive(reply)) {
          this.#senderRejected = true
          this.#failUnmarked(replyFailure('message', reply))
        }
        this.#awaited = RCPT
        break
      case RCPT:
        this.#rcptAnswered(reply)
        break
      case DATA:
        if (reply.code < 300 || reply.code > 399) {
          this.#dataRejected = true
          if (this.#good > 0) this.#failUnmarked(replyFailure('message', reply))
        }
        this.#awaited = DOT
        break
      case DOT:
        this.#dotAnswered(reply)
        if (this.#outstanding > 0) {
          this.#session.expect(this.#timeout())
          return
        }
        this.#leave()
        return
      default:
        // RSET: whatever it says, the results stand.
        this.#leave()
        return
    }
    if (this.#outstanding > 0) this.#session.expect(this.#timeout())
    else this.#advance()
  }

  #rcptAnswered(reply: Reply): void {
    const index = this.#awaitedRcpt++
    if (this.#awaitedRcpt === this.#options.recipients.length) this.#awaited = DATA
    if (this.#senderRejected) return
    if (isPositive(reply)) {
      this.#good++
      if (this.#lmtp) this.#accepted.push(index)
    } else this.#failOne(index, replyFailure('recipient', reply))
  }

  /** SMTP: one reply for all. LMTP: one for each recipient that was accepted, in that order. */
  #dotAnswered(reply: Reply): void {
    if (this.#lmtp) this.#outstanding--
    if (this.#good === 0) return
    const positive = isPositive(reply)
    const sent: Mark = { kind: 'sent', dsn: enhancedCode(reply), reason: oneLine(reply) }
    if (this.#lmtp) {
      const index = this.#accepted[this.#nextAccepted++]!
      if (positive) this.#marks[index] ??= sent
      else this.#failOne(index, replyFailure('recipient', reply))
    } else if (positive) {
      for (let i = 0; i < this.#marks.length; i++) this.#marks[i] ??= sent
    } else this.#failUnmarked(replyFailure('message', reply))
  }

  #sendContent(): void {
    const { settings, keep } = this.#options
    this.#awaited = DOT
    this.#quitSent = this.#session.features.pipelining && !keep
    const quit = this.#quitSent ? 'QUIT\r\n' : ''
    if (this.#good === 0) {
      // The server accepted DATA for nobody: an empty mail is all it gets, RFC 2920 section 3.1. LMTP owes no reply.
      this.#content = 'sent'
      this.#sending = END
      this.#session.send(`.\r\n${quit}`)
      if (this.#lmtp) {
        this.#leave()
        return
      }
      this.#outstanding = 1
      this.#session.expect(settings.data_done_timeout)
      return
    }
    this.#content = 'under-way'
    this.#session.expect(settings.data_xfer_timeout)
    sendContent(this.#session, {
      content: this.#options.request.content,
      contentDir: this.#options.contentDir,
      lineLimit: settings.line_length_limit,
      writeTimeoutMs: settings.data_xfer_timeout,
      dotDelayMs: this.#options.dotDelayMs,
      tail: quit,
      bind: this.#options.bind,
      dotSent: () => this.#dotSent(),
      done: (result) => this.#contentDone(result),
    })
  }

  /** The final dot is on its way: from here on a reply is the reply to it. */
  #dotSent(): void {
    this.#sending = END
    this.#outstanding = this.#lmtp ? this.#accepted.length : 1
  }

  #contentDone(result: ContentResult): void {
    if (this.#settled) return
    this.#folded = result.folded
    if (result.error !== undefined) {
      // Half a mail is out: only hanging up without the dot makes the server forget it.
      const code = result.error.kind === 'damaged' ? '5.3.0' : '4.3.0'
      this.#failUnmarked(localFailure('message', code, result.error.reason))
      this.#finish({ farewell: 'none' })
      return
    }
    this.#content = 'sent'
    const early = this.#early
    if (early !== undefined) {
      this.#early = undefined
      this.#received(early)
    } else this.#session.expect(this.#options.settings.data_done_timeout)
  }

  #failOne(index: number, failure: Failure): void {
    this.#note(failure)
    this.#marks[index] ??= { kind: 'failed', failure }
  }

  #failUnmarked(failure: Failure): void {
    this.#note(failure)
    const mark: Mark = { kind: 'failed', failure }
    for (let i = 0; i < this.#marks.length; i++) this.#marks[i] ??= mark
  }

  #note(failure: Failure): void {
    if (failure.protocol === true) this.#session.poisoned = true
  }

  #leave(): void {
    if (this.#content === 'under-way') {
      // Answered before all of it was out: what the server would make of the rest nobody knows.
      this.#finish({ farewell: 'none' })
      return
    }
    this.#finish({ reusable: !this.#quitSent, farewell: this.#quitSent ? 'quit-sent' : 'quit' })
  }

  #finish(result: Partial<TransactionResult> & Pick<TransactionResult, 'farewell'>): void {
    this.#settled = true
    this.#session.detach()
    this.#resolve({
      marks: this.#marks,
      failure: undefined,
      probeFailed: false,
      reusable: false,
      inDoubt: false,
      folded: this.#folded,
      ...result,
    })
  }
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300
}
