/** What a session says in the log. */
import type { ActorContext } from '../../../actors/index.ts'
import type { SaslReply } from '../../../auth/contract.ts'
import type { Connection } from './connection.ts'
import type { Peer, SessionState } from './state.ts'

export class SessionLog {
  readonly #context: Pick<ActorContext, 'log' | 'clock'>
  readonly #session: string
  readonly #startedAt: number
  commands = 0
  mails = 0

  constructor(context: Pick<ActorContext, 'log' | 'clock'>, session: string) {
    this.#context = context
    this.#session = session
    this.#startedAt = context.clock.monotonic()
  }

  refused({ address }: Peer, reply: string): void {
    this.#context.log.info(
      { event: 'smtpd.refused', session: this.#session, client: address, reply: reply.trimEnd() },
      'refused',
    )
  }

  login({ address }: Peer, mechanism: string, reply: Exclude<SaslReply, { kind: 'challenge' }>): void {
    const ok = reply.kind === 'success'
    const user = ok ? reply.account.user : reply.user
    this.#context.log.info(
      { event: 'smtpd.auth', session: this.#session, client: address, mechanism, user, ok },
      ok ? 'logged in' : 'login refused',
    )
  }

  /** The client is over one of its limits. */
  limit({ address, service }: Peer, what: string, value: number): void {
    this.#context.log.warn(
      { event: 'smtpd.limit', session: this.#session, client: address, service, what, value },
      'a client is over its limit',
    )
  }

  client(from: Peer, to: Peer): void {
    this.#context.log.info(
      { event: 'smtpd.xclient', session: this.#session, client: from.address, as: to.address },
      'the client speaks for another one',
    )
  }

  /** Something the session asked of another part of the service did not work. */
  failed(what: string, error: string): void {
    this.#context.log.warn(
      { event: 'smtpd.lookup-failed', session: this.#session, what, error },
      'another part of the service could not be asked',
    )
  }

  ended(peer: Peer, reason: string, state: SessionState, connection: Connection): void {
    const { tls, octetsIn, octetsOut } = connection
    this.#context.log.info(
      {
        event: 'smtpd.disconnect',
        session: this.#session,
        service: peer.service,
        client: peer.address,
        ...(tls === undefined ? {} : { tls: tls.version }),
        reason,
        mails: this.mails,
        commands: this.commands,
        errors: state.errors,
        input: octetsIn,
        output: octetsOut,
        durationMs: Math.round(this.#context.clock.monotonic() - this.#startedAt),
      },
      'connection ended',
    )
  }
}
