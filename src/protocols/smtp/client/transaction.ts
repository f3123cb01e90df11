/**
 * One mail transaction over a session, RFC 5321 section 3.3, pipelined where the server offers it (RFC 2920), LMTP
 * with a reply per recipient after the content (RFC 2033 section 4.2).
 *
 * Two cursors walk over the same list of steps: the sender's says which command comes next, the receiver's which
 * reply is awaited.
 *
 *     PROBE  XFORWARD 0..2  MAIL  RCPT 1..n  DATA  DOT  end      or, when it cannot succeed:  …  ABORT  end
 *
 * The sender goes ahead of the receiver only with PIPELINING, at most one output buffer of commands, and never past
 * DATA: content goes out when DATA was accepted. It waits for nobody else, so what it decided to do at the end
 * (keep the connection or leave) holds from the start.
 */
import type { DeliveryRecipient, DeliveryRequest } from '../../../queue/contract.ts'
import { type CommandOptions, mailCommand, rcptCommand } from './commands.ts'
import type { ClientSettings } from './config.ts'
import type { ContentRewriter } from './content/rewriter.ts'
import { type ContentResult, sendContent } from './content/sender.ts'
import { dataFailure, type Failure, LocalDataError, localFailure, replyFailure } from './failure.ts'
import { enhancedCode, oneLine, type Reply } from './reply-parser.ts'
import type { Bind, EndCause, Session, SessionListener } from './session.ts'

/** What became of one recipient. */
export type Mark =
  | { readonly kind: 'sent' | 'deliverable'; readonly dsn: string; readonly reason: string }
  | { readonly kind: 'failed'; readonly failure: Failure }

export interface TransactionOptions {
  readonly protocol: 'smtp' | 'lmtp'
  readonly settings: ClientSettings
  readonly request: DeliveryRequest
  readonly recipients: readonly DeliveryRecipient[]
  readonly commands: CommandOptions
  /** Whether the connection is kept afterwards; otherwise QUIT travels with the final dot. */
  readonly keep: boolean
  /** The connection was idle: ask with RSET whether the server still listens. */
  readonly probe: boolean
  /** Pause before the final dot, in milliseconds; 0: none. */
  readonly dotDelayMs: number
  /** Nobody is sent anything: the recipients are asked for, and so is DATA with `data`. */
  readonly verify?: 'rcpt' | 'data'
  /** XFORWARD commands that go first. */
  readonly xforward: readonly string[]
  /** Header fields in front of the content, as they are sent. */
  readonly prepend: string
  /** Changes the content on its way. */
  readonly rewriter?: ContentRewriter
  /** On a clock that never jumps, milliseconds. */
  monotonic(): number
  warn(event: string, facts: object): void
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
  /** The content is not what was queued. */
  readonly damaged: boolean
}

/** Most octets of commands in flight. */
const pipelineBuffer = 4_096

/** Commands do not wait for company any longer than this, milliseconds: the server must not think we are gone. */
const flushAfterMs = 10_000

// Steps in the order they are taken; the numbers are compared.
const PROBE = 0
const XFORWARD = 1
const MAIL = 2
const RCPT = 3
const DATA = 4
const DOT = 5
const ABORT = 6
const END = 7

const stages = [
  'probing an idle connection',
  'waiting for the reply to XFORWARD',
  'waiting for the reply to MAIL FROM',
  'waiting for the reply to RCPT TO',
  'waiting for the reply to DATA',
  'waiting for the reply to the end of the content',
  'waiting for the reply to RSET',
  '',
] as const

/** What it means that the content cannot be sent. */
const contentFailures = {
  damaged: { scope: 'message', dsn: '5.3.0' },
  unreadable: { scope: 'message', dsn: '4.3.0' },
  unconvertible: { scope: 'message', dsn: '5.6.0' },
  table: { scope: 'site', dsn: '4.3.0' },
} as const

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
  /** Which XFORWARD or RCPT is next. */
  #sendingIndex = 0
  #awaited: number
  #awaitedIndex = 0
  /** Commands whose reply is still to come, written or not. */
  #outstanding = 0
  #output = ''
  #lastIo: number

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
    this.#commands = options.commands
    this.#sending = this.#awaited = options.probe ? PROBE : this.#first
    this.#lastIo = options.monotonic()
  }

  get #first(): number {
    return this.#options.xforward.length > 0 ? XFORWARD : MAIL
  }

  start(): void {
    // First: replies nobody asked for would be taken for ours.
    this.#session.attach(this)
    if (!this.#settled) this.#advance()
  }

  onReply(reply: Reply): void {
    if (this.#settled) return
    this.#lastIo = this.#options.monotonic()
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
      } else if (this.#sending >= DOT || !this.#session.features.pipelining || this.#isLate()) {
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
      let command: string
      try {
        command = this.#command()
      } catch (error) {
        if (!(error instanceof LocalDataError)) throw error
        this.#finish({ failure: dataFailure(error.message), farewell: 'none' })
        return
      }
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
      case XFORWARD:
        return this.#options.xforward[this.#sendingIndex]!
      case MAIL:
        return mailCommand(this.#options.request, this.#commands)
      case RCPT:
        return rcptCommand(
          this.#options.recipients[this.#sendingIndex]!,
          this.#options.request,
          this.#commands,
        )
      default:
        return 'DATA'
    }
  }

  #step(): void {
    const { recipients, xforward, verify } = this.#options
    if (this.#sending === PROBE) this.#sending = this.#first
    else if (this.#sending === XFORWARD) {
      if (++this.#sendingIndex < xforward.length) return
      this.#sending = MAIL
      this.#sendingIndex = 0
    } else if (this.#sending === RCPT) {
      if (++this.#sendingIndex < recipients.length) return
      this.#sending = verify === 'rcpt' ? ABORT : DATA
    } else this.#sending++
  }

  /** The commands took their time, with lookups: what is there goes out. */
  #isLate(): boolean {
    return this.#options.monotonic() - this.#lastIo > flushAfterMs
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
    this.#lastIo = this.#options.monotonic()
  }

  #timeout(): number {
    const { settings } = this.#options
    switch (this.#awaited) {
      case XFORWARD:
        return settings.xforward_timeout
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
        this.#awaited = this.#first
        break
      case XFORWARD:
        if (!isPositive(reply)) {
          const facts = { relay: this.#session.relay, reply: oneLine(reply) }
          this.#options.warn('delivery.xforward-refused', facts)
        }
        if (++this.#awaitedIndex === this.#options.xforward.length) {
          this.#awaited = MAIL
          this.#awaitedIndex = 0
        }
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
        if (this.#options.verify === 'data' && !this.#dataRejected && this.#good > 0) {
          // That is all we wanted to know; only hanging up takes it back.
          this.#markUnmarked({ kind: 'deliverable', dsn: '2.0.0', reason: oneLine(reply) })
          this.#finish({ farewell: 'none' })
          return
        }
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
    const index = this.#awaitedIndex++
    if (this.#awaitedIndex === this.#options.recipients.length) this.#awaited = DATA
    if (this.#senderRejected) return
    if (isPositive(reply)) {
      this.#good++
      if (this.#lmtp) this.#accepted.push(index)
      if (this.#options.verify === 'rcpt')
        this.#marks[index] ??= { kind: 'deliverable', dsn: enhancedCode(reply), reason: oneLine(reply) }
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
    } else if (positive) this.#markUnmarked(sent)
    else this.#failUnmarked(replyFailure('message', reply))
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
      monotonic: this.#options.monotonic,
      prepend: this.#options.prepend,
      ...(this.#options.rewriter === undefined ? {} : { rewriter: this.#options.rewriter }),
      lineLimit: settings.line_length_limit,
      writeTimeoutMs: settings.data_xfer_timeout,
      ...(settings.per_request_deadline ? { minDataRate: settings.min_data_rate } : {}),
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
      const { kind, reason } = result.error
      const { scope, dsn } = contentFailures[kind]
      const failure = kind === 'table' ? dataFailure(reason) : localFailure(scope, dsn, reason)
      if (scope === 'message') this.#failUnmarked(failure)
      this.#finish({
        farewell: 'none',
        ...(scope === 'site' ? { failure } : {}),
        ...(kind === 'damaged' ? { damaged: true } : {}),
      })
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
    this.#markUnmarked({ kind: 'failed', failure })
  }

  #markUnmarked(mark: Mark): void {
    for (let i = 0; i < this.#marks.length; i++) this.#marks[i] ??= mark
  }

  #note(failure: Failure): void {
    if (failure.protocol !== true) return
    this.#session.poisoned = true
    this.#session.trouble.add('protocol')
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
      damaged: false,
      folded: this.#folded,
      ...result,
    })
  }
}

function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300
}
