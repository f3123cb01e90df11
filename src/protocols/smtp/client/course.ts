/** What the parts of one attempt share: the request, its results so far, the connection in use, the log. */
import type { DeliveryRequest } from '../../../queue/contract.ts'
import { hasUtf8 } from './address.ts'
import { readHeader } from './content/header.ts'
import { octetsOf, textOf } from './content/octets.ts'
import { Dispositions, type Origin } from './dispositions.ts'
import type { AttemptEnvironment } from './environment.ts'
import { type Failure, LocalDataError } from './failure.ts'
import { printable } from './reply-parser.ts'
import type { Session } from './session.ts'
import type { TransactionResult } from './transaction.ts'

export class Course {
  readonly request: DeliveryRequest
  readonly env: AttemptEnvironment
  readonly protocol: 'smtp' | 'lmtp'
  readonly dispositions: Dispositions
  /** The connection in use, to be dropped when the attempt is. */
  current: Session | undefined
  aborted = false
  /** What TLS came to with the last server, for the log. */
  tls: string | undefined
  /** The content is not what was queued. */
  damaged = false
  #header: Promise<string | undefined> | undefined

  constructor(request: DeliveryRequest, env: AttemptEnvironment) {
    this.request = request
    this.env = env
    this.protocol = env.protocol
    this.dispositions = new Dispositions(request, env.softBounce)
  }

  get done(): boolean {
    return this.aborted || this.dispositions.remaining.length === 0
  }

  /** The header of the mail, read once; undefined: it cannot be read. */
  header(): Promise<string | undefined> {
    this.#header ??= readHeader(this.request.content, this.env.contentDir)
    return this.#header
  }

  /** Asked for is not needed: only addresses and header fields beyond ASCII need it, RFC 6531 section 3.6. */
  async needsSmtpUtf8(): Promise<boolean> {
    if (hasUtf8(this.request.sender)) return true
    if (this.dispositions.remaining.some(({ address }) => hasUtf8(address))) return true
    const header = await this.header()
    return header === undefined || hasUtf8(header)
  }

  /** What `reply_filter` makes of the lines a server sends; undefined: nothing. */
  replyFilter(): ((line: string) => string) | undefined {
    const filter = this.env.maps(this.env.settings.reply_filter)
    if (filter.isEmpty) return undefined
    return (line) => {
      const answer = filter.lookup(textOf(line))
      if (answer.kind === 'error') throw new LocalDataError(`reply_filter: ${answer.detail}`)
      if (answer.kind === 'none') return line
      this.log('info', 'delivery.reply-filtered', { line: printable(line), instead: answer.value })
      return octetsOf(answer.value)
    }
  }

  /** The server is of no use to all who are left. */
  siteFailed(failure: Failure, session: Session, final: boolean): void {
    this.skipped(failure, session, final)
    this.dispositions.allFailed(failure, originOf(session), final)
  }

  /** Leaves a server, politely if there is something to say. */
  part(session: Session, farewell: TransactionResult['farewell']): void {
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

  /** A failure after which another server is asked. */
  skipped(failure: Failure, session: Session, final: boolean): void {
    if (!final) this.log('info', 'delivery.skipped', { relay: session.relay, reason: failure.reason })
  }

  log(level: 'info' | 'warn', event: string, facts: object): void {
    this.env.log(level, event, { queueId: this.request.queueId, ...facts })
  }
}

export function originOf(session: Session): Origin {
  return { relay: session.relay, host: session.target.host, dsn: session.features.dsn }
}
