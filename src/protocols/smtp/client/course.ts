/** What the parts of one attempt share: the request, its results so far, the connection in use, the log. */
import type { DeliveryRequest, Transcript as SessionTranscript } from '../../../queue/contract.ts'
import { hasUtf8 } from './address.ts'
import { readHeader, saysEightBit } from './content/header.ts'
import { mimeLimits } from './content/mime-walker.ts'
import { octetsOf, textOf } from './content/octets.ts'
import { type DispositionOptions, Dispositions, type Origin } from './dispositions.ts'
import type { AttemptEnvironment } from './environment.ts'
import { type Failure, isHard, LocalDataError, localFailure } from './failure.ts'
import { printable } from './reply-parser.ts'
import type { Session } from './session.ts'
import type { TransactionResult } from './transaction.ts'
import { Transcript } from './transcript.ts'

export class Course {
  readonly request: DeliveryRequest
  readonly env: AttemptEnvironment
  readonly protocol: 'smtp' | 'lmtp'
  readonly dispositions: Dispositions
  /** The connection in use, to be dropped when the attempt is. */
  current: Session | undefined
  aborted = false
  /** The content is not what was queued. */
  damaged = false
  readonly transcripts: SessionTranscript[] = []
  #header: string | Promise<string | undefined> | undefined
  #body: DeliveryRequest['body']

  constructor(request: DeliveryRequest, env: AttemptEnvironment) {
    this.request = request
    this.env = env
    this.protocol = env.protocol
    this.dispositions = new Dispositions(request, {
      softBounce: env.softBounce,
      now: env.now,
      ...this.#statusFilter(),
      warn: (event, facts) => this.log('warn', event, facts),
    })
  }

  get done(): boolean {
    return this.aborted || this.dispositions.remaining.length === 0
  }

  /** The header of the mail, read once; undefined: it cannot be read. */
  header(): string | Promise<string | undefined> {
    this.#header ??= readHeader(this.request.content, this.env.contentDir)
    return this.#header
  }

  /** What the content is declared to be. What a mail says of itself counts more than what its client said. */
  get body(): DeliveryRequest['body'] {
    return this.#body
  }

  async readDeclaration(): Promise<void> {
    this.#body = this.request.body
    if (this.#body === '8BITMIME') return
    const known = this.header()
    const header = typeof known === 'string' ? known : await known
    if (header === undefined) return
    const { content, contentDir } = this.env
    const says = saysEightBit(header, this.request.content, mimeLimits(content), contentDir)
    if (typeof says === 'boolean' ? says : await says) this.#body = '8BITMIME'
  }

  /** A server that cannot take a mail with UTF-8 in its envelope or header; another one may. */
  async smtpUtf8Failure({ features, relay }: Session): Promise<Failure | undefined> {
    if (this.request.smtputf8 !== true || features.smtpUtf8 || !(await this.needsSmtpUtf8())) return undefined
    const reason = `the mail needs SMTPUTF8, which ${relay} does not offer`
    return { ...localFailure('site', '5.6.7', reason), softUntilFinal: true }
  }

  /** Asked for is not needed: only addresses and header fields beyond ASCII need it, RFC 6531 section 3.6. */
  async needsSmtpUtf8(): Promise<boolean> {
    if (hasUtf8(this.request.sender)) return true
    if (this.dispositions.remaining.some(({ address }) => hasUtf8(address))) return true
    const header = await this.header()
    return header === undefined || hasUtf8(header)
  }

  #statusFilter(): Pick<DispositionOptions, 'filter'> {
    const tables = this.env.maps(this.env.statusFilter)
    if (tables.isEmpty) return {}
    return {
      filter: (dsn, reason) => {
        const answer = tables.lookup(`${dsn} ${reason}`)
        const [, other = '', text = ''] =
          answer.kind === 'found' ? (/^([245]\.\d{1,3}\.\d{1,3})(?:\s+(.*))?$/s.exec(answer.value) ?? []) : []
        if (other !== '') return { dsn: other, reason: text === '' ? reason : text }
        if (answer.kind !== 'none') this.log('warn', 'delivery.filter-odd', { dsn, reason })
        return { dsn, reason }
      },
    }
  }

  /** A session went wrong or came to its end: what the postmaster is to hear of it is kept. */
  review(session: Session): void {
    const { transcript, trouble } = session
    session.transcript = undefined
    const { sender } = this.request
    if (transcript === undefined || sender === '' || sender === this.env.doubleBounceSender) return
    if (this.env.notifyClasses.some((name) => trouble.has(name)))
      this.transcripts.push({ relay: session.relay, lines: transcript.lines })
  }

  /** Whether what is said in sessions may have to be shown to the postmaster. */
  newTranscript(): Transcript | undefined {
    const { notifyClasses } = this.env
    return notifyClasses.includes('protocol') || notifyClasses.includes('data') ? new Transcript() : undefined
  }

  /** What `reply_filter` makes of the lines the server of `session` sends; undefined: nothing. */
  replyFilter(session: Session): ((line: string) => string) | undefined {
    const filter = this.env.maps(this.env.settings.reply_filter)
    if (filter.isEmpty) return undefined
    return (line) => {
      const answer = filter.lookup(textOf(line))
      if (answer.kind === 'error') throw new LocalDataError(`reply_filter: ${answer.detail}`)
      if (answer.kind === 'none') return line
      const shown = { line: session.redacted(printable(line)), instead: session.redacted(answer.value) }
      this.log('info', 'delivery.reply-filtered', shown)
      return octetsOf(answer.value)
    }
  }

  /** The server is of no use to all who are left. */
  siteFailed(failure: Failure, session: Session, final: boolean): void {
    this.skipped(failure, session, final)
    this.dispositions.allFailed(failure, this.originOf(session), final)
  }

  /** Leaves a server, politely if there is something to say. */
  part(session: Session, farewell: TransactionResult['farewell']): void {
    this.review(session)
    const { settings } = this.env
    this.current = undefined
    if (farewell === 'none') {
      session.destroy()
      return
    }
    session.part({
      waitMs: settings.quit_timeout,
      waitForReply: !settings.skip_quit_response,
      ...(farewell === 'rset-quit' ? { before: 'RSET' as const } : {}),
      ...(farewell === 'quit-sent' ? { quitSent: true } : {}),
    })
  }

  /** The results that follow have this session and this time in the log. */
  stamp({ tlsStatus }: Session, connUse: number): void {
    const tls = this.env.settings.log_tls_feature_status ? tlsStatus : undefined
    this.dispositions.stamp = { setupAt: this.env.now(), connUse, ...(tls === undefined ? {} : { tls }) }
  }

  originOf({ relay, target, features }: Session): Origin {
    const { flags, settings } = this.env
    const final = this.protocol === 'lmtp' && (flags.includes('X') || settings.assume_final)
    return { relay, host: target.host, dsn: features.dsn, final }
  }

  /** A failure after which another server is asked. */
  skipped(failure: Failure, session: Session, final: boolean): void {
    const isKept = !isHard(failure) || failure.softUntilFinal === true || this.env.softBounce
    if (!final && isKept)
      this.log('info', 'delivery.skipped', { relay: session.relay, reason: failure.reason })
  }

  log(level: 'info' | 'warn', event: string, facts: object): void {
    this.env.log(level, event, { queueId: this.request.queueId, ...facts })
  }
}
