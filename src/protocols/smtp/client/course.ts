/** What the parts of one attempt share: the request, its results so far, the connection in use, the log. */
import type { DeliveryRequest } from '../../../queue/contract.ts'
import { Dispositions, type Origin } from './dispositions.ts'
import type { AttemptEnvironment } from './environment.ts'
import type { Failure } from './failure.ts'
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

  constructor(request: DeliveryRequest, env: AttemptEnvironment) {
    this.request = request
    this.env = env
    this.protocol = env.protocol
    this.dispositions = new Dispositions(request.recipients, env.softBounce)
  }

  get done(): boolean {
    return this.aborted || this.dispositions.remaining.length === 0
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
