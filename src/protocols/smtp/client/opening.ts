/** From a server's address to a session that takes mail: connect, handshake, TLS as the policy demands it. */
import type { TableSource } from '../../../tables/contract.ts'
import type { Course } from './course.ts'
import type { Destination } from './destination.ts'
import { type Failure, LocalDataError, localFailure } from './failure.ts'
import { handshake, type TlsEvent } from './handshake.ts'
import { printable } from './reply-parser.ts'
import type { Refusal } from './sasl/authentication.ts'
import { findAccount } from './sasl/credentials.ts'
import { logIn } from './sasl/login.ts'
import type { Server } from './servers.ts'
import { openSession, Session } from './session.ts'
import { isRequired } from './tls/levels.ts'
import { mailDemand } from './tls/mail-demand.ts'
import { type TlsPlan, withoutTls } from './tls/plan.ts'
import type { PolicyResult } from './tls/policy.ts'
import { demandsTls } from './tls/require-tls.ts'

export interface Opened {
  readonly session: Session
  /** Opens one without TLS to the same server, should this one break; only where that is allowed. */
  plainly?(final: boolean): Promise<Session | undefined>
}

export class Opening {
  readonly #course: Course

  constructor(course: Course) {
    this.#course = course
  }

  /** A session that takes mail; undefined: what went wrong is noted. */
  async open(server: Server, hop: { destination: Destination; final: boolean }): Promise<Opened | undefined> {
    const { destination } = hop
    const ours = await this.#course.env.tls.policy(destination)
    const plan = await this.#plan(server, destination, ours)
    if (plan === undefined || this.#course.aborted) return undefined
    const { nexthop } = destination
    const mayFallBack = this.#mayFallBack(plan) && !this.#hasAccount(server, nexthop)
    const plainly = (final: boolean) => this.#openPlainly(server, plan, final, nexthop)
    const session = await this.#greet(server, plan, hop.final, mayFallBack, nexthop)
    if (session === undefined || this.#course.aborted) return undefined
    if (session !== 'plaintext') {
      if (plan.once === true) session.poisoned = true
      const { sessionKey } = plan
      const { settings } = this.#course.env
      if (ours.ok) session.madeFor = { destination, server, settings, policyKey: ours.policy.key, sessionKey }
      return { session, ...(mayFallBack && session.tls !== undefined ? { plainly } : {}) }
    }
    const second = await plainly(hop.final)
    return second && { session: second }
  }

  /** The same server once more, without TLS, which did not go well. */
  async #openPlainly(
    server: Server,
    plan: TlsPlan,
    final: boolean,
    nexthop: string,
  ): Promise<Session | undefined> {
    const session = await this.#greet(server, withoutTls(plan), final, false, nexthop)
    if (session === 'plaintext' || session === undefined) return undefined
    // Not for the next mail: it may have TLS.
    session.poisoned = true
    return session
  }

  /** TLS as it has to be with this server; undefined: the server must not be used. */
  async #plan(server: Server, destination: Destination, ours: PolicyResult): Promise<TlsPlan | undefined> {
    const { tls } = this.#course.env
    const demand = await mailDemand(this.#course, destination, ours)
    const result = await tls.planForMail(ours, demand, server, destination)
    if (result.ok) return result.plan
    this.#course.log('warn', 'delivery.tls-policy', { relay: server.host, reason: result.reason })
    const failure = localFailure('lookup', result.dsn, result.reason)
    this.#course.dispositions.noSession(failure)
    return undefined
  }

  /** RFC 7435: mail that TLS has kept from its server before gets through without, where TLS is but a favour. */
  #mayFallBack({ level, implicit, requireTls }: TlsPlan): boolean {
    const { activeAt, arrivedAt, probe } = this.#course.request
    if (level !== 'may' || implicit || demandsTls(requireTls)) return false
    // A probe asks for an address, and carries nothing.
    if (probe === true) return true
    return activeAt - arrivedAt >= this.#course.env.minimalBackoffMs
  }

  /** A password does not go in plaintext because TLS was troubled. */
  #hasAccount({ host }: Server, nexthop: string): boolean {
    try {
      return findAccount(this.#course, { host, nexthop }) !== undefined
    } catch (error) {
      if (error instanceof LocalDataError) return true
      throw error
    }
  }

  async #connect(server: Server): Promise<Session | undefined> {
    const { settings, run, ownAddressOf } = this.#course.env
    const { host, address, port } = server
    const family = address.includes(':') ? 6 : 4
    const source = family === 6 ? settings.bind_address6 : settings.bind_address
    const localAddress = source === '' ? (ownAddressOf(family) ?? '') : source.replace(/^\[(.*)\]$/, '$1')
    let result = await openSession(
      { host, address, port, ...(localAddress === '' || port === 0 ? {} : { localAddress }) },
      { timeoutMs: settings.connect_timeout, run },
    )
    if (!(result instanceof Session) && result.dsn === '4.4.0' && !settings.bind_address_enforce) {
      this.#course.log('warn', 'delivery.bind-failed', { address: localAddress, reason: result.reason })
      result = await openSession({ host, address, port }, { timeoutMs: settings.connect_timeout, run })
    }
    if (result instanceof Session) return result
    this.#course.dispositions.noSession(result)
    this.#course.log('info', 'delivery.connect-failed', { reason: result.reason })
    return undefined
  }

  async #greet(
    server: Server,
    plan: TlsPlan,
    final: boolean,
    mayFallBack: boolean,
    nexthop: string,
  ): Promise<Session | 'plaintext' | undefined> {
    const { env } = this.#course
    const { settings, hostname } = env
    const begun = performance.now()
    const session = await this.#connect(server)
    if (session === undefined) return undefined
    if (this.#course.aborted) {
      session.destroy()
      return undefined
    }
    this.#course.current = session
    session.deadlines = settings.per_request_deadline
    session.replyFilter = this.#course.replyFilter(session)
    session.transcript = this.#course.newTranscript()
    const result = await handshake(session, {
      protocol: this.#course.protocol,
      settings,
      hostname,
      heloName: settings.helo_name === '' ? hostname : settings.helo_name,
      detectLoops: this.#course.protocol === 'smtp' && server.port === 25,
      best: server.best,
      discards: () =>
        this.#wordsFor(server, settings.discard_ehlo_keyword_address_maps, settings.discard_ehlo_keywords),
      workarounds: () => this.#wordsFor(server, settings.pix_workaround_maps, settings.pix_workarounds),
      plan,
      secure: (opened, how) => env.tls.secure(opened, how),
      onTls: (event) => this.#noteTls(session, plan, event),
      warn: (event, facts) => this.#course.log('warn', event, facts),
    })
    session.tlsStatus = tlsStatus(plan, session, result.ok ? undefined : result.failure)
    const refusal = result.ok ? await this.#refusal(session, nexthop) : undefined
    if (refusal !== undefined) {
      this.#course.stamp(session, 0)
      if (refusal.polite) this.#course.part(session, 'quit')
      else session.destroy()
      this.#course.siteFailed(refusal.failure, session, final)
      return undefined
    }
    if (result.ok) {
      session.setupMs = performance.now() - begun
      session.tlsReusable = plan.reusable
      return session
    }
    const { failure } = result
    if (failure.protocol === true) session.trouble.add('protocol')
    if (failure.data === true) session.trouble.add('data')
    this.#course.stamp(session, 0)
    if (result.polite) this.#course.part(session, 'quit')
    else session.destroy()
    if (result.tlsFailed && mayFallBack) {
      this.#course.skipped(result.failure, session, false)
      return 'plaintext'
    }
    this.#course.siteFailed(result.failure, session, final)
    return undefined
  }

  /** Why the session is of no use although the server said hello. */
  async #refusal(session: Session, nexthop: string): Promise<Refusal | undefined> {
    const failure = await this.#course.smtpUtf8Failure(session)
    return failure === undefined ? logIn(this.#course, session, nexthop) : { failure, polite: true }
  }

  /** What a table says of a server's address, else the list. */
  #wordsFor(
    { address }: Server,
    sources: readonly TableSource[],
    words: readonly string[],
  ): readonly string[] {
    const answer = this.#course.env.maps(sources).lookup(address)
    if (answer.kind === 'error') throw new LocalDataError(answer.detail)
    return answer.kind === 'none' ? words : answer.value.split(/[\s,]+/).filter((word) => word !== '')
  }

  #noteTls(session: Session, plan: TlsPlan, event: TlsEvent): void {
    const { tls, settings } = this.#course.env
    if (event.kind === 'missing' || !event.outcome.ok) {
      const reason = event.kind === 'missing' ? 'starttls-not-supported' : 'handshake'
      tls.tally({ kind: 'missed', level: plan.level, reason })
      tls.note(
        plan,
        session,
        event.kind === 'missing'
          ? { type: 'starttls-not-supported', reason: event.reason }
          : { type: 'validation-failure', reason: event.outcome.ok ? '' : event.outcome.problem },
      )
      return
    }
    const { peer, verdict } = event.outcome
    const { protocol, cipher, reused: resumed } = peer
    const { level } = plan
    if (verdict.refusal === undefined) {
      tls.tally({ kind: 'secured', level, protocol, cipher, class: verdict.class, resumed })
    } else tls.tally({ kind: 'missed', level, reason: verdict.failure ?? 'validation-failure' })
    if (!peer.reused || !settings.tlsrpt_skip_reused_handshakes) {
      const { failure: type, problem: reason = '' } = verdict
      tls.note(plan, session, type === undefined ? undefined : { type, reason })
    }
    const { logDetail: detail } = plan
    if (detail < 1) return
    this.#course.log('info', 'delivery.tls', {
      relay: session.relay,
      class: verdict.class,
      reused: peer.reused,
      protocol: peer.protocol,
      cipher: peer.cipher,
      bits: peer.bits,
      ...(verdict.problem === undefined ? {} : { problem: verdict.problem }),
      ...(detail < 2
        ? {}
        : {
            level: plan.level,
            servername: plan.servername ?? '',
            match: plan.match,
            matched: verdict.matched ?? '',
            subjects: peer.chain.map(({ subject }) => printable(subject ?? '')),
          }),
    })
  }
}

/**
 * What the log says of TLS: the level; with what it came to behind a colon when that is less; `!level` when it could
 * not be met, `level?` when it did not come to that.
 */
function tlsStatus(plan: TlsPlan, session: Session, failure: Failure | undefined): string {
  const { wanted, level } = plan
  if (failure !== undefined) {
    const violated = isRequired(wanted) && failure.dsn.slice(1, 4) === '.7.' && !failure.remote
    return violated ? `!${wanted}` : `${wanted}?`
  }
  const actual = session.tls === undefined ? 'none' : level
  const status = actual === wanted ? wanted : `${wanted}:${actual}`
  if (!session.features.requireTls) return status
  // In brackets: the server was told, and was not held to it.
  return plan.requireTls === 'enforce' ? `${status}/requiretls` : `${status}/(requiretls)`
}
