/** What a session says in the log. */
import type { ActorContext } from '../../../actors/index.ts'
import type { SaslReply } from '../../../auth/contract.ts'
import type { Connection } from './connection.ts'
import type { Peer, SessionState } from './state.ts'

export class SessionLog {
  readonly #context: Pick<ActorContext, 'log' | 'clock'>
  readonly #session: string
  readonly #startedAt: number
  mails = 0
  /** Of each command: how often it came, and how often it was refused. */
  readonly #commands = new Map<string, { total: number; refused: number }>()
  #verb = ''
  #count = 0

  constructor(context: Pick<ActorContext, 'log' | 'clock'>, session: string) {
    this.#context = context
    this.#session = session
    this.#startedAt = context.clock.monotonic()
  }

  /** A command line has come; what is refused from now on is this one. */
  command(line: string): void {
    const verb = /^[ \t]*([A-Za-z]{4,8})(?![^ \t])/.exec(line)?.[1]?.toLowerCase() ?? ''
    this.#verb = commandNames.has(verb) ? verb : 'unknown'
    this.#count += 1
    const counts = this.#commands.get(this.#verb)
    if (counts === undefined) this.#commands.set(this.#verb, { total: 1, refused: 0 })
    else counts.total += 1
  }

  refused({ address, name }: Peer, { mail, helo, greeting }: SessionState, reply: string): void {
    const counts = this.#commands.get(this.#verb)
    if (counts !== undefined) counts.refused += 1
    const facts = {
      event: 'smtpd.refused',
      session: this.#session,
      client: address,
      ...(name === undefined ? {} : { clientName: name }),
      command: this.#verb.toUpperCase(),
      ...(mail === undefined ? {} : { from: mail.sender }),
      ...(greeting === undefined ? {} : { helo, protocol: greeting === 'HELO' ? 'SMTP' : 'ESMTP' }),
      reply: reply.trimEnd(),
    }
    this.#context.log.info(facts, 'refused')
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
        ...(peer.name === undefined ? {} : { clientName: peer.name }),
        ...(tls === undefined ? {} : { tls: tls.version }),
        reason,
        mails: this.mails,
        commands: this.#count,
        counts: this.#counts(),
        errors: state.errors,
        input: octetsIn,
        output: octetsOut,
        durationMs: Math.round(this.#context.clock.monotonic() - this.#startedAt),
      },
      'connection ended',
    )
  }

  /** `ehlo=1 mail=1 rcpt=1/2`: those that were not refused, of all where that differs. */
  #counts(): string {
    const words = Array.from(this.#commands, ([verb, { total, refused }]) =>
      refused === 0 ? `${verb}=${total}` : `${verb}=${Math.max(0, total - refused)}/${total}`,
    )
    return words.join(' ')
  }
}

const commandNames: ReadonlySet<string> = new Set([
  ...['helo', 'ehlo', 'lhlo', 'mail', 'rcpt', 'data', 'bdat', 'rset', 'noop', 'vrfy', 'expn', 'help', 'etrn'],
  ...['auth', 'starttls', 'xclient', 'xforward', 'quit'],
])
