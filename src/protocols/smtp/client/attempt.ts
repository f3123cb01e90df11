/**
 * One delivery request from beginning to end: the lent connection if there is one, then each next hop, each of its
 * servers, one session after the other until no recipient is left or the limits are reached.
 */
import type { SecureContext } from 'node:tls'
import { destinationLabel, endpointLabel } from '../../../cache/labels.ts'
import type { DnsResolver, Family } from '../../../dns/resolver.ts'
import type { DeliveryReport, DeliveryRequest } from '../../../queue/contract.ts'
import { hasUtf8 } from './address.ts'
import type { ClientSettings } from './config.ts'
import { type Destination, DestinationError, parseDestinations } from './destination.ts'
import { Dispositions, type Origin } from './dispositions.ts'
import { type Failure, isHard, localFailure } from './failure.ts'
import { handshake } from './handshake.ts'
import { findServers, type Server } from './servers.ts'
import { type Bind, openSession, type Run, Session } from './session.ts'
import { type TransactionResult, transact } from './transaction.ts'

/** Where a kept connection is to be found again. */
export interface KeepLabels {
  /** Empty: by its endpoint only. */
  readonly destination: string
  readonly endpoint: string
  readonly ttlMs: number
}

/** Holds idle connections of this thread; the keeper actor's, see `keeper.ts`. */
export interface SessionKeeper {
  take(connection: number): Session | undefined
  /** `false`: it was not taken, the caller says QUIT. */
  put(session: Session, labels: KeepLabels): boolean
}

/** What an attempt works with; no actor in it, so that tests can run one plainly. */
export interface AttemptEnvironment {
  readonly settings: ClientSettings
  readonly hostname: string
  readonly softBounce: boolean
  readonly dnsDisabled: boolean
  readonly families: readonly Family[]
  readonly contentDir: string
  /** `queue.minimal_backoff_time`: mail that waited for so long may fall back from TLS to plaintext. */
  readonly minimalBackoffMs: number
  readonly resolver: DnsResolver
  /** For TLS without demands on the certificate. */
  secureContext(): SecureContext
  /** Undefined: connections are not kept. Asked anew each time: a keeper can come and go. */
  keeper(): SessionKeeper | undefined
  isOwnAddress(address: string): boolean
  readonly run: Run
  readonly bind: Bind
  /** Milliseconds since the epoch. */
  now(): number
  random(): number
  /** `info`: the peer's doing; `warn`: ours or worth a look. */
  log(level: 'info' | 'warn', event: string, facts: object): void
}

/** Performs the request. Rejects only on a bug. */
export function attempt(request: DeliveryRequest, environment: AttemptEnvironment): Attempt {
  return new Attempt(request, environment)
}

/** Whether to go on with the next server. */
type Progress = 'next' | 'stop'

export class Attempt {
  readonly #request: DeliveryRequest
  readonly #env: AttemptEnvironment
  readonly #protocol: 'smtp' | 'lmtp'
  readonly #dispositions: Dispositions
  readonly #startedAt: number
  /** Addresses used from the cache: not visited again. */
  readonly #visited = new Set<string>()
  /** The destination label is used up: servers after the first good one are kept by endpoint only. */
  #destinationSaved = false
  #setupAt = 0
  #connUse = 0
  #tls: string | undefined
  #current: Session | undefined
  #aborted = false

  constructor(request: DeliveryRequest, environment: AttemptEnvironment) {
    this.#request = request
    this.#env = environment
    this.#protocol = request.transport === 'lmtp' ? 'lmtp' : 'smtp'
    this.#dispositions = new Dispositions(request.recipients, environment.softBounce)
    this.#startedAt = environment.now()
  }

  async run(): Promise<DeliveryReport> {
    const reused = await this.#useLease()
    if (this.#dispositions.remaining.length > 0) await this.#tryAll(reused)
    const { hopStatus } = this.#dispositions
    return {
      queueId: this.#request.queueId,
      results: this.#dispositions.results,
      connUse: this.#connUse,
      startedAt: this.#startedAt,
      // Nothing got as far as MAIL: the time went into getting there.
      setupAt: this.#setupAt === 0 ? this.#env.now() : this.#setupAt,
      ...(hopStatus === undefined ? {} : { hopStatus }),
      ...(this.#tls === undefined ? {} : { tls: this.#tls }),
    }
  }

  /** Drops the connection in use, without waiting for anything. Results that were decided stand. */
  abort(): void {
    this.#aborted = true
    this.#current?.destroy()
  }

  /** Returns the number of sessions used up. */
  async #useLease(): Promise<number> {
    const { lease } = this.#request
    if (lease === undefined) return 0
    const session = this.#env.keeper()?.take(lease.connection)
    if (session === undefined) return 0
    const limit = this.#env.settings.mx_session_limit
    // Whether there is another server shows only with a lookup, which a good session spares.
    const outcome = await this.#useSession(session, { probe: true, final: false, delayDot: false })
    if (outcome === 'miss') return 0
    this.#visited.add(addressKey(session.target.address, session.target.port))
    if (limit === 1) this.#settle()
    return 1
  }

  async #tryAll(reused: number): Promise<void> {
    let destinations: readonly Destination[]
    let fallback: readonly Destination[]
    try {
      ;({ destinations, fallback } = this.#nextHops())
    } catch (error) {
      if (!(error instanceof DestinationError)) throw error
      this.#env.log('warn', 'delivery.bad-destination', {
        nexthop: this.#request.nexthop,
        reason: error.message,
      })
      this.#dispositions.noSession(localFailure('lookup', '4.3.5', `bad destination: ${error.message}`))
      this.#dispositions.settle((failure) => failure)
      return
    }
    const all = [...destinations, ...fallback]
    let used = reused
    for (const [index, destination] of all.entries()) {
      const onFallback = index >= destinations.length
      const found = await findServers(destination, {
        ...this.#env,
        protocol: this.#protocol,
        warn: (event, facts) => this.#log('warn', event, facts),
      })
      if (this.#aborted) return
      if (found.ok) {
        const lastHop = index === all.length - 1 || found.weAreMx
        await this.#tryServers(found.servers, { lastHop, used, nexthop: destination.nexthop })
      } else {
        this.#dispositions.noSession(found.failure)
        this.#log('info', 'delivery.lookup-failed', {
          nexthop: destination.nexthop,
          reason: found.failure.reason,
        })
      }
      used = 0
      if (this.#aborted || this.#dispositions.remaining.length === 0) return
      // Other relays would only send it round once more.
      if (found.weAreMx) break
      if (index === all.length - 1) {
        this.#settle(onFallback)
        return
      }
    }
    this.#settle()
  }

  #nextHops(): { destinations: readonly Destination[]; fallback: readonly Destination[] } {
    const { settings } = this.#env
    const options = { protocol: this.#protocol, defaultService: settings.tcp_port }
    const destinations = parseDestinations(this.#request.nexthop, options)
    if (settings.fallback_relay.length === 0) return { destinations, fallback: [] }
    if (destinations.some(({ kind }) => kind === 'unix')) {
      this.#log('warn', 'delivery.fallback-ignored', { nexthop: this.#request.nexthop })
      return { destinations, fallback: [] }
    }
    return { destinations, fallback: parseDestinations(settings.fallback_relay.join(' '), options) }
  }

  /** No server is left. A relay that we chose ourselves and that does not exist is our mistake, not the sender's. */
  #settle(onFallback = false): void {
    const { relayhost } = this.#env.settings
    const ours =
      onFallback || (relayhost !== '' && this.#request.nexthop.toLowerCase() === relayhost.toLowerCase())
    this.#dispositions.settle((failure) => {
      if (!ours || !isHard(failure)) return failure
      this.#log('warn', 'delivery.relay-unusable', { nexthop: this.#request.nexthop, reason: failure.reason })
      return { ...failure, dsn: '4.3.5', remote: false }
    })
  }

  async #tryServers(
    servers: readonly Server[],
    hop: { lastHop: boolean; used: number; nexthop: string },
  ): Promise<void> {
    const { mx_address_limit, mx_session_limit } = this.#env.settings
    const fresh = servers.filter(({ address, port }) => !this.#visited.has(addressKey(address, port)))
    let visited = hop.used
    let sessions = hop.used
    for (const [index, server] of fresh.entries()) {
      if (mx_session_limit > 0 && sessions >= mx_session_limit) return
      visited++
      const lastAddress = index === fresh.length - 1 || (mx_address_limit > 0 && visited >= mx_address_limit)
      const ready = await this.#open(server, hop.lastHop && lastAddress)
      if (this.#aborted) return
      if (ready !== undefined) {
        sessions++
        const lastSession = mx_session_limit > 0 && sessions >= mx_session_limit
        const final = hop.lastHop && (lastAddress || lastSession)
        await this.#useSession(ready.session, { probe: false, final, delayDot: ready.delayDot })
      }
      if (this.#aborted || this.#dispositions.remaining.length === 0) return
      if (lastAddress) return
    }
  }

  async #connect(server: Server): Promise<Session | undefined> {
    const { settings, run } = this.#env
    const { host, address, port } = server
    const source = address.includes(':') ? settings.bind_address6 : settings.bind_address
    const localAddress = source.replace(/^\[(.*)\]$/, '$1')
    let result = await openSession(
      { host, address, port, ...(localAddress === '' || port === 0 ? {} : { localAddress }) },
      { timeoutMs: settings.connect_timeout, run },
    )
    if (!(result instanceof Session) && result.dsn === '4.4.0' && !settings.bind_address_enforce) {
      this.#log('warn', 'delivery.bind-failed', { address: localAddress, reason: result.reason })
      result = await openSession({ host, address, port }, { timeoutMs: settings.connect_timeout, run })
    }
    if (result instanceof Session) return result
    this.#dispositions.noSession(result)
    this.#log('info', 'delivery.connect-failed', { reason: result.reason })
    return undefined
  }

  /** A session that takes mail; undefined: what went wrong is noted. */
  async #open(server: Server, final: boolean): Promise<{ session: Session; delayDot: boolean } | undefined> {
    const { settings } = this.#env
    // A unix socket is as private as it gets.
    const level = server.port === 0 ? 'none' : settings.tls_security_level
    if (level !== 'none' && level !== 'may' && level !== 'encrypt') {
      // TODO(tls): certificate checks. Until then nothing goes out where one is demanded.
      const reason = `smtp.tls_security_level = "${level}" is not supported yet`
      this.#log('warn', 'delivery.tls-level', { relay: server.host, level })
      this.#dispositions.noSession(localFailure('lookup', '4.7.5', reason))
      return undefined
    }
    const first = await this.#greet(server, level, final, level === 'may' && this.#hasWaited())
    if (first !== 'plaintext') return first
    const second = await this.#greet(server, 'none', final, false)
    if (second === 'plaintext' || second === undefined) return undefined
    // Not for the next mail: it may have TLS.
    second.session.poisoned = true
    return second
  }

  /** Mail that TLS has kept from its server before gets through without, RFC 7435. */
  #hasWaited(): boolean {
    const { activeAt, arrivedAt } = this.#request
    return activeAt - arrivedAt >= this.#env.minimalBackoffMs
  }

  async #greet(
    server: Server,
    tls: 'none' | 'may' | 'encrypt',
    final: boolean,
    mayFallBack: boolean,
  ): Promise<{ session: Session; delayDot: boolean } | 'plaintext' | undefined> {
    const { settings, hostname } = this.#env
    const session = await this.#connect(server)
    if (session === undefined) return undefined
    if (this.#aborted) {
      session.destroy()
      return undefined
    }
    this.#current = session
    const result = await handshake(session, {
      protocol: this.#protocol,
      settings,
      hostname,
      heloName: settings.helo_name === '' ? hostname : settings.helo_name,
      detectLoops: this.#protocol === 'smtp' && server.port === 25,
      best: server.best,
      tls,
      secureContext: () => this.#env.secureContext(),
      warn: (event, facts) => this.#log('warn', event, facts),
    })
    if (result.ok) return { session, delayDot: result.delayDot }
    if (result.polite) this.#part(session, 'quit')
    else session.destroy()
    if (result.tlsFailed && mayFallBack) {
      this.#logSkip(result.failure, session, false)
      return 'plaintext'
    }
    this.#siteFailed(result.failure, session, final)
    return undefined
  }

  /** `miss`: a lent connection was of no use; nothing happened. */
  async #useSession(
    session: Session,
    options: { probe: boolean; final: boolean; delayDot: boolean },
  ): Promise<Progress | 'miss'> {
    const { settings } = this.#env
    this.#current = session
    const recipients = this.#dispositions.remaining
    const refusal = this.#refusal(session)
    this.#setupAt = this.#env.now()
    session.uses++
    this.#connUse = session.uses
    this.#tls = session.tls
    if (refusal !== undefined) {
      this.#applyAll(refusal, session, options.final)
      this.#dispositions.sessionWasNormal()
      this.#leave(session, { keep: refusal.scope === 'message', farewell: 'quit' })
      return 'next'
    }
    const keep = this.#mayKeep(session)
    const result = await transact(session, {
      protocol: this.#protocol,
      settings,
      request: this.#request,
      recipients,
      keep,
      probe: options.probe,
      dotDelayMs: options.delayDot && this.#isOld() ? settings.pix_workaround_delay_time : 0,
      contentDir: this.#env.contentDir,
      bind: this.#env.bind,
    })
    if (result.probeFailed) {
      // Idle connections end; nobody is to blame, and no recipient knows.
      session.destroy()
      this.#setupAt = 0
      this.#connUse = 0
      return 'miss'
    }
    this.#apply(result, session, options.final, recipients)
    this.#leave(session, {
      keep: keep && result.reusable && result.failure === undefined,
      farewell: result.farewell,
    })
    return 'next'
  }

  /** What the server announced that makes a transaction pointless. */
  #refusal(session: Session): Failure | undefined {
    const { size, smtputf8 } = this.#request
    const { features, relay } = session
    if (features.sizeLimit > 0 && size > features.sizeLimit) {
      const reason = `the mail has ${size} octets; ${relay} takes ${features.sizeLimit} at most`
      return localFailure('message', '5.3.4', reason)
    }
    if (smtputf8 === true && !features.smtpUtf8 && this.#needsSmtpUtf8()) {
      const reason = `the mail needs SMTPUTF8, which ${relay} does not offer`
      return { ...localFailure('site', '5.6.7', reason), softUntilFinal: true }
    }
    return undefined
  }

  /** Asked for is not needed: only addresses and header fields beyond ASCII need it, RFC 6531 section 3.6. */
  #needsSmtpUtf8(): boolean {
    const { sender, content } = this.#request
    if (hasUtf8(sender)) return true
    if (this.#dispositions.remaining.some(({ address }) => hasUtf8(address))) return true
    // A header in a file is not read for this: what may need it, does.
    if (!('bytes' in content)) return true
    const bytes = Buffer.from(content.bytes.buffer, content.bytes.byteOffset, content.bytes.byteLength)
    const end = bytes.indexOf('\r\n\r\n')
    return hasUtf8(bytes.toString('latin1', 0, end < 0 ? bytes.length : end))
  }

  #isOld(): boolean {
    return this.#env.now() - this.#request.arrivedAt >= this.#env.settings.pix_workaround_threshold_time
  }

  /** Decided before the final dot is written, because QUIT goes with it. */
  #mayKeep(session: Session): boolean {
    const { settings } = this.#env
    if (!this.#wantsKeeping() || session.damaged || settings.connection_cache_time_limit <= 0) return false
    if (this.#env.keeper() === undefined) return false
    const limit = settings.connection_reuse_count_limit
    return !this.#isExpired(session) && (limit === 0 || session.uses <= limit)
  }

  #wantsKeeping(): boolean {
    const { settings } = this.#env
    const { cacheConnection, nexthop } = this.#request
    if (cacheConnection && settings.connection_cache_on_demand) return true
    return settings.connection_cache_destinations.length > 0 && isAlwaysKept(nexthop, settings)
  }

  #isExpired(session: Session): boolean {
    return performance.now() - session.connectedAt >= this.#env.settings.connection_reuse_time_limit
  }

  #apply(
    result: TransactionResult,
    session: Session,
    final: boolean,
    recipients: DeliveryRequest['recipients'],
  ): void {
    const origin = originOf(session)
    for (const [index, mark] of result.marks.entries()) {
      const recipient = recipients[index]!
      if (mark?.kind === 'sent') this.#dispositions.sent(recipient, mark.dsn, mark.reason, origin)
      else if (mark?.kind === 'failed') {
        this.#logSkip(mark.failure, session, final)
        this.#dispositions.failed(recipient, mark.failure, origin, final)
      } else if (result.failure !== undefined) {
        this.#dispositions.failed(recipient, result.failure, origin, final)
      }
    }
    if (result.failure === undefined) this.#dispositions.sessionWasNormal()
    else {
      this.#logSkip(result.failure, session, final)
      if (result.inDoubt)
        this.#log('warn', 'delivery.in-doubt', { relay: session.relay, reason: result.failure.reason })
    }
    if (result.folded) this.#log('info', 'delivery.lines-folded', { relay: session.relay })
    if (session.garbageLines > 0) {
      this.#log('warn', 'delivery.garbage-replies', { relay: session.relay, lines: session.garbageLines })
    }
  }

  #siteFailed(failure: Failure, session: Session, final: boolean): void {
    this.#logSkip(failure, session, final)
    this.#applyAll(failure, session, final)
  }

  #applyAll(failure: Failure, session: Session, final: boolean): void {
    this.#dispositions.allFailed(failure, originOf(session), final)
  }

  /** What the queue looks up. Not the whole request: the sender is part of a label only when credentials depend on it. */
  #destinationLabel(): string {
    const { transport, nexthop, smtputf8 } = this.#request
    return destinationLabel({ transport, nexthop, ...(smtputf8 === true ? { smtputf8 } : {}) })
  }

  #leave(session: Session, how: { keep: boolean; farewell: TransactionResult['farewell'] }): void {
    const { settings } = this.#env
    this.#current = undefined
    const keeper = how.keep && session.alive && !session.damaged ? this.#env.keeper() : undefined
    if (keeper !== undefined && this.#wantsKeeping() && !this.#isExpired(session)) {
      const kept = keeper.put(session, {
        destination: this.#destinationSaved ? '' : this.#destinationLabel(),
        endpoint: endpointLabel({
          transport: this.#request.transport,
          address: session.target.address,
          port: session.target.port,
          ...(this.#request.smtputf8 === true ? { smtputf8: true } : {}),
        }),
        ttlMs: settings.connection_cache_time_limit,
      })
      this.#destinationSaved = true
      if (kept) return
    }
    // Less preferred servers must not take over the name of the destination.
    if (how.farewell !== 'none') this.#destinationSaved = true
    this.#part(session, how.farewell)
  }

  #part(session: Session, farewell: TransactionResult['farewell']): void {
    const { settings } = this.#env
    this.#current = undefined
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

  #logSkip(failure: Failure, session: Session, final: boolean): void {
    if (!final) this.#log('info', 'delivery.skipped', { relay: session.relay, reason: failure.reason })
  }

  #log(level: 'info' | 'warn', event: string, facts: object): void {
    this.#env.log(level, event, { queueId: this.#request.queueId, ...facts })
  }
}

function originOf(session: Session): Origin {
  return { relay: session.relay, host: session.target.host, dsn: session.features.dsn }
}

function addressKey(address: string, port: number): string {
  return `${address} ${port}`
}

/** `connection_cache_destinations` names domains without brackets and ports, and paths of sockets. */
function isAlwaysKept(nexthop: string, settings: ClientSettings): boolean {
  const name = nexthop.startsWith('unix:')
    ? nexthop.slice('unix:'.length)
    : nexthop.replace(/^inet:/, '').replace(/^\[([^\]]*)\].*$|:[^:]*$/, '$1')
  return settings.connection_cache_destinations.some((entry) => entry.toLowerCase() === name.toLowerCase())
}
