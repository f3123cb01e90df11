/**
 * TLS of one delivery: which policy a next hop has, what it means for one server of it, and the handshake with that
 * server.
 */
import { createHash, X509Certificate } from 'node:crypto'
import type { DnsResolver } from '../../../../dns/resolver.ts'
import type { Maps } from '../../../../tables/contract.ts'
import type { ClientSettings } from '../config.ts'
import type { Destination } from '../destination.ts'
import type { Server } from '../servers.ts'
import type { Session } from '../session.ts'
import type { Contexts, EngineSettings } from './contexts.ts'
import type { TlsFact } from './counts.ts'
import { type DaneSet, findTlsa, usableRecords } from './dane.ts'
import { isRequired, needsMatch, type TlsLevel, weaker } from './levels.ts'
import { findNexthop, nexthopKey } from './next-hop.ts'
import { peerOf, type TlsPeer } from './peer.ts'
import { judge, noTls, reportedPolicy, type TlsPlan, type TlsVerdict } from './plan.ts'
import {
  loweredTo,
  type PolicyResult,
  parsePolicy,
  policyOf,
  type StsFacts,
  type TlsPolicy,
} from './policy.ts'
import type { RequireTlsAction } from './require-tls.ts'
import type { FailureType, ReportEvent } from './rpt/events.ts'
import type { StoredSession, TlsSessions } from './sessions.ts'
import type { StsFailure, StsState } from './sts/lookup.ts'
import { mxMatches } from './sts/policy.ts'

export interface TlsClientOptions {
  /** Name of the transport: connections of others are not resumed. */
  readonly transport: string
  readonly settings: ClientSettings
  readonly engine: EngineSettings
  /** Shared by the deliveries of a thread: making one takes long. */
  readonly contexts: Contexts
  /** Of `tls_policy_maps`. */
  readonly policyMaps: Maps
  /** Of `tls_loglevel_maps`. */
  readonly loglevelMaps: Maps
  readonly resolver: DnsResolver
  /** Counts sessions for TLS reports. Undefined: there are none. */
  readonly count: ((event: ReportEvent) => void) | undefined
  /** Counts a session for metrics. */
  tally(fact: TlsFact): void
  /** The MTA-STS policy of a domain. Undefined: nobody looks. */
  readonly sts: ((domain: string) => Promise<StsState>) | undefined
  /** What is worth a line in the log. */
  warn(event: string, facts: object): void
  /** Undefined: sessions are not resumed. */
  readonly sessions: TlsSessions | undefined
  /** Milliseconds since the epoch. */
  now(): number
}

export type PlanResult =
  | { readonly ok: true; readonly plan: TlsPlan }
  /** The server must not be used. */
  | {
      readonly ok: false
      readonly dsn: string
      readonly reason: string
      /** What a report says of it. */
      readonly failure?: FailureType
    }

/** What a mail asks for beside the policy: `TLS-Required: no`, or REQUIRETLS. */
export type MailDemand = 'no-tls-needed' | RequireTlsAction

/** What came of a handshake. */
export type TlsOutcome =
  | { readonly ok: true; readonly peer: TlsPeer; readonly verdict: TlsVerdict }
  | { readonly ok: false; readonly problem: string }

export class TlsClient {
  readonly #options: TlsClientOptions
  /** By next hop: found once for all servers of it. */
  readonly #policies = new Map<string, Promise<PolicyResult>>()

  constructor(options: TlsClientOptions) {
    this.#options = options
  }

  /** The policy of a next hop. */
  policy(destination: Destination): Promise<PolicyResult> {
    let policy = this.#policies.get(destination.nexthop)
    if (policy === undefined) {
      policy = this.#findPolicy(destination)
      this.#policies.set(destination.nexthop, policy)
    }
    return policy
  }

  async #findPolicy(destination: Destination): Promise<PolicyResult> {
    const { settings } = this.#options
    const ours = () => policyOf(settings.tls_security_level, settings, 'tls_security_level')
    const listed = this.#tablePolicy(destination)
    const result = listed ?? (await this.#withSts(destination, ours()))
    if (!result.ok || destination.kind !== 'unix' || isRequired(result.policy.level)) return result
    // A unix socket is as private as it gets; a favour is not needed there. Who wrote it down may expect something else.
    if (listed !== undefined && result.policy.level === 'may') {
      this.#hint('delivery.tls-on-unix', { nexthop: destination.nexthop })
    }
    const { policy } = result
    const source =
      policy.level === 'none'
        ? policy.source
        : `${policy.source}: ${policy.level}, which a unix socket does without`
    return { ok: true, policy: { ...policy, level: 'none', key: 'none', source } }
  }

  /** Once for each thread and transport. */
  #hint(event: string, facts: object): void {
    const { contexts, warn } = this.#options
    if (contexts.hinted.has(event)) return
    contexts.hinted.add(event)
    warn(event, facts)
  }

  /** How much is logged of TLS with the servers of a next hop: `tls_loglevel_maps`, else `tls_loglevel`. */
  #logDetail(destination: Destination): number {
    const { settings, loglevelMaps, warn } = this.#options
    if (loglevelMaps.isEmpty) return settings.tls_loglevel
    const answer = findNexthop(loglevelMaps, destination)
    if (answer.kind === 'none') return settings.tls_loglevel
    if (answer.kind === 'found' && /^[0-4]$/.test(answer.value)) return Number(answer.value)
    const reason = answer.kind === 'found' ? `\`${answer.value}\` is not a number from 0 to 4` : answer.detail
    warn('delivery.tls-loglevel', { nexthop: destination.nexthop, reason })
    return settings.tls_loglevel
  }

  /** Joins the policy that the domain itself has, where it asks for more than ours. */
  async #withSts(destination: Destination, ours: PolicyResult): Promise<PolicyResult> {
    const { settings, sts } = this.#options
    if (sts === undefined || !ours.ok || destination.kind !== 'host' || !destination.mx) return ours
    const { level } = ours.policy
    if (level !== 'may' && level !== 'encrypt' && level !== 'dane') return ours
    const { policy, failure } = await sts(destination.host)
    if (failure !== undefined) this.#stsFailed(destination.host, failure)
    if (policy === undefined || policy.mode === 'none') return ours
    const facts: StsFacts = {
      domain: destination.host,
      mxPatterns: policy.mx,
      lines: policy.lines,
      testing: policy.mode === 'testing',
    }
    if (facts.testing || level === 'dane') return { ok: true, policy: { ...ours.policy, sts: facts } }
    const stronger = policyOf('secure', settings, `MTA-STS policy of ${facts.domain}`)
    // The names that the certificate may have are others than at our own `secure`.
    return stronger.ok
      ? { ok: true, policy: { ...stronger.policy, key: 'secure/sts', sts: facts } }
      : stronger
  }

  #stsFailed(domain: string, { type, reason }: StsFailure): void {
    this.#options.warn('delivery.sts', { domain, reason })
    this.#options.count?.({
      domain,
      policy: { type: 'sts', lines: [], domain, mx: [] },
      failure: { type, sendingIp: '', mx: '', receivingIp: '', reason },
    })
  }

  /** Of `tls_policy_maps`; undefined: nothing stands there. */
  #tablePolicy(destination: Destination): PolicyResult | undefined {
    const { settings, policyMaps } = this.#options
    if (policyMaps.isEmpty) return undefined
    const key = nexthopKey(destination)
    const answer = findNexthop(policyMaps, destination)
    if (answer.kind === 'none') return undefined
    if (answer.kind === 'found') {
      const result = parsePolicy(answer.value, settings, key)
      const ignored = result.ok ? result.policy.ignored : []
      if (ignored.length > 0) this.#hint('delivery.tls-ignored', { nexthop: key, attributes: ignored })
      return result
    }
    return { ok: false, dsn: '4.3.0', reason: `lookup of the TLS policy of ${key} failed: ${answer.detail}` }
  }

  /**
   * What a policy means for one mail and one server: RFC 8689 lets a mail ask for less, or for more. `demand` as a
   * result: the mail's wish cannot be found out.
   */
  async planForMail(
    ours: PolicyResult,
    demand: MailDemand | PolicyResult | undefined,
    server: Server,
    destination: Destination,
  ): Promise<PlanResult> {
    const policy = typeof demand === 'string' ? this.#policyForMail(ours, demand) : (demand ?? ours)
    const unusable = (level: TlsLevel | '') =>
      this.#options.tally({ kind: 'missed', level, reason: 'policy' })
    if (!policy.ok) {
      unusable('')
      return policy
    }
    const result = await this.plan(policy.policy, server, destination)
    if (!result.ok) {
      unusable(policy.policy.level)
      this.#noteRefused(policy.policy, server, destination, result)
      return result
    }
    const { plan } = result
    // RFC 8689 section 5: whoever says so does not want to hear of it.
    if (demand === 'no-tls-needed') return { ok: true, plan: { ...plan, reportTo: '', once: true } }
    if (typeof demand !== 'string' || demand === 'disable') return result
    if (demand === 'enforce' && !needsMatch(plan.level)) {
      const why = plan.why === undefined ? '' : `: ${plan.why}`
      const { source } = policy.policy
      unusable(plan.level)
      const reason = `the mail has REQUIRETLS, and the level ${plan.level} of ${source} checks no certificate${why}`
      return { ok: false, dsn: '5.7.10', reason }
    }
    return { ok: true, plan: { ...plan, requireTls: demand } }
  }

  #policyForMail(ours: PolicyResult, demand: MailDemand): PolicyResult {
    const { settings } = this.#options
    if (demand === 'no-tls-needed') {
      const level = settings.tls_wrappermode ? 'encrypt' : weaker(settings.tls_security_level, 'may')
      return policyOf(level, settings, 'TLS-Required: no')
    }
    // A favour will not do; the rest of the level stays.
    if (demand === 'opportunistic+starttls' && ours.ok && !isRequired(ours.policy.level)) {
      return { ok: true, policy: loweredTo('encrypt', ours.policy, settings) }
    }
    return ours
  }

  /** What the policy means for one server of its next hop. */
  async plan(policy: TlsPolicy, server: Server, destination: Destination): Promise<PlanResult> {
    const { settings } = this.#options
    if (server.port === 465 && !settings.tls_wrappermode) {
      this.#hint('delivery.port-465', { relay: server.host })
    }
    const { level } = policy
    if (level === 'none') return { ok: true, plan: noTls }
    if (level === 'dane' || level === 'dane-only') return this.#danePlan(policy, server, destination)
    if (level === 'secure' && policy.sts !== undefined) return this.#stsPlan(policy, server, destination)
    return { ok: true, plan: this.#plan(policy, policy.level, server, destination) }
  }

  /** RFC 8461 section 4: a server that the policy names, with a certificate for that name. */
  #stsPlan(policy: TlsPolicy, server: Server, destination: Destination): PlanResult {
    const { settings } = this.#options
    const { mxPatterns, domain } = policy.sts!
    if (settings.tls_enforce_sts_mx_patterns && !mxMatches(server.host, mxPatterns)) {
      const reason = `the MTA-STS policy of ${domain === '' ? destination.nexthop : domain} does not allow ${server.host}`
      return { ok: false, dsn: '4.7.5', reason, failure: 'validation-failure' }
    }
    const strict: TlsPolicy = {
      ...loweredTo('secure', policy, settings),
      match: ['hostname'],
      servername: 'hostname',
      trustAnchorFiles: [],
    }
    return { ok: true, plan: this.#plan(strict, policy.level, server, destination) }
  }

  /** RFC 7672 section 2.2: what signed TLSA records demand, and what applies where there are none. */
  async #danePlan(policy: TlsPolicy, server: Server, destination: Destination): Promise<PlanResult> {
    const { settings, engine, resolver, warn } = this.#options
    const only = policy.level === 'dane-only'
    const refuse = (reason: string, failure?: FailureType): PlanResult => ({
      ok: false,
      dsn: '4.7.5',
      reason,
      ...(failure === undefined ? {} : { failure }),
    })
    const lower = (level: 'may' | 'encrypt', reason: string): PlanResult => {
      // RFC 8461 section 2: what the domain has published elsewhere counts where DANE has nothing to say.
      if (policy.sts?.testing === false) return this.#stsPlan(policy, server, destination)
      const tooWeak = only || (settings.tls_wrappermode && !isRequired(level))
      if (tooWeak) {
        return refuse(`TLS to ${server.host} does not do for ${policy.source}: ${reason}`, 'dane-required')
      }
      return {
        ok: true,
        plan: {
          ...this.#plan(loweredTo(level, policy, settings), policy.level, server, destination),
          why: reason,
        },
      }
    }
    const obstacle = this.#daneObstacle(destination)
    if (obstacle !== undefined) {
      if (!only && destination.kind === 'host') warn('delivery.dane-off', { reason: obstacle })
      return destination.kind === 'unix' ? refuse(obstacle) : lower('may', obstacle)
    }
    const secure = server.dns?.exchangerSecure ?? true
    const usual = settings.tls_security_level === 'dane' ? 'dane' : 'may'
    const insecurePolicy = settings.tls_dane_insecure_mx_policy || usual
    if (!secure && (only || insecurePolicy === 'may')) return lower('may', 'the MX records are not signed')
    const found = await findTlsa(resolver, server, {
      evenIfInsecure: settings.tls_force_insecure_host_tlsa_lookup,
    })
    if (found.kind === 'failed') return refuse(found.reason, 'dnssec-invalid')
    if (found.kind === 'none') return lower('may', 'there are no signed TLSA records')
    const records = usableRecords(found.records, engine.dane_digests)
    if (records.length === 0) return lower('encrypt', 'none of its TLSA records can be used')
    if (!secure && insecurePolicy === 'encrypt') return lower('encrypt', 'the MX records are not signed')
    const dane: DaneSet = { base: found.base, records, secure }
    return { ok: true, plan: this.#plan(policy, policy.level, server, destination, dane) }
  }

  /** What keeps DANE from meaning anything, whatever the server is. */
  #daneObstacle(destination: Destination): string | undefined {
    const { settings } = this.#options
    if (destination.kind === 'unix') return 'DANE is not for unix sockets'
    if (settings.dns_support_level !== 'dnssec') return 'dns_support_level is not "dnssec"'
    if (!settings.host_lookup.includes('dns')) return 'host_lookup has no "dns"'
    if (settings.dns_resolver_options.length > 0) return 'dns_resolver_options let names be completed'
    if (settings.ignore_mx_lookup_error) return 'ignore_mx_lookup_error is on'
    return undefined
  }

  #plan(
    policy: TlsPolicy,
    wanted: TlsLevel,
    server: Server,
    destination: Destination,
    dane?: DaneSet,
  ): TlsPlan {
    const { settings, engine, transport, contexts } = this.#options
    const { level } = policy
    const domain = destination.kind === 'host' ? destination.host : server.host
    const context = contexts.get(policy, level)
    const names = { nexthop: domain, 'dot-nexthop': `.${domain}`, hostname: server.host }
    const servername = dane?.base ?? names[policy.servername as 'hostname' | 'nexthop'] ?? policy.servername
    // RFC 7672 section 3.2.2: where an authority vouches, the certificate is for the server or for the domain, by the
    // name that was asked for its exchangers or the one that aliases led to.
    const match =
      dane !== undefined
        ? [...new Set([dane.base, ...(server.dns?.exchangerOf ?? [])])]
        : level === 'fingerprint'
          ? policy.match
          : policy.match.map((word) => names[word as keyof typeof names] ?? word)
    const digest = createHash('sha256')
    digest.update(
      JSON.stringify([
        [transport, destination.nexthop, server.host, server.address, server.port, level],
        context instanceof Error ? '' : context.key,
        [servername, match],
        // Another set of records wants to see the certificate anew.
        dane?.records.map(({ usage, selector, matchingType, data }) => [
          usage,
          selector,
          matchingType,
          Buffer.from(data).toString('base64'),
        ]),
      ]),
    )
    return {
      host: server.host,
      reportTo: this.#reportTo(destination),
      level,
      wanted,
      implicit: settings.tls_wrappermode,
      context: context instanceof Error ? undefined : context,
      ...(context instanceof Error ? { problem: context.message } : {}),
      ...(isServername(servername) ? { servername } : {}),
      match,
      ...(dane === undefined ? {} : { dane }),
      ...(policy.sts === undefined ? {} : { sts: policy.sts }),
      fingerprintDigest: settings.tls_fingerprint_digest,
      verifyDepth: settings.tls_scert_verifydepth,
      reusable: policy.given.reuse ?? settings.tls_connection_reuse,
      deepNames: engine.wildcard_matches_multiple_labels,
      logDetail: this.#logDetail(destination),
      sessionKey: digest.digest('base64url'),
    }
  }

  /** Domain to report to; empty: the next hop is no domain, or reports are off. */
  #reportTo(destination: Destination): string {
    if (this.#options.count === undefined || destination.kind !== 'host' || !destination.mx) return ''
    return destination.host
  }

  /** Counts for metrics how TLS went. */
  tally(fact: TlsFact): void {
    this.#options.tally(fact)
  }

  /** Counts a session, or a server that was not used, for the report to its domain. */
  note(
    plan: TlsPlan,
    session: Session,
    failure?: { readonly type: FailureType; readonly reason: string },
  ): void {
    if (plan.reportTo === '') return
    this.#options.count?.({
      domain: plan.reportTo,
      policy: reportedPolicy(plan),
      ...(failure === undefined
        ? {}
        : {
            failure: {
              ...failure,
              sendingIp: session.localAddress,
              mx: session.target.host,
              receivingIp: session.target.address,
            },
          }),
    })
  }

  /** Counts a server that the policy keeps us from using. */
  #noteRefused(
    policy: TlsPolicy,
    server: Server,
    destination: Destination,
    refused: { failure?: FailureType; reason: string },
  ): void {
    const domain = this.#reportTo(destination)
    if (domain === '' || refused.failure === undefined) return
    const { sts } = policy
    this.#options.count?.({
      domain,
      policy:
        sts === undefined || refused.failure !== 'validation-failure'
          ? { type: 'tlsa', lines: [], domain: server.host, mx: [server.host] }
          : { type: 'sts', lines: sts.lines, domain: sts.domain, mx: sts.mxPatterns },
      failure: {
        type: refused.failure,
        sendingIp: '',
        mx: server.host,
        receivingIp: server.address,
        reason: refused.reason,
      },
    })
  }

  /** Puts TLS on the session, which becomes one without features; never rejects. The plan must have a context. */
  async secure(session: Session, plan: TlsPlan): Promise<TlsOutcome> {
    const { sessions, settings, now } = this.#options
    const stored = await sessions?.find(plan.sessionKey)
    let ticket: Buffer | undefined
    let accepted: TlsPeer | undefined
    // The ticket may come before the handshake is done (TLS 1.2) or after it.
    const save = () => {
      if (ticket === undefined || accepted === undefined) return
      sessions?.save(plan.sessionKey, kept(ticket, accepted), settings.tls_session_cache_timeout)
    }
    const started = await session.startTls(
      {
        secureContext: plan.context!.context,
        ...(plan.servername === undefined ? {} : { servername: plan.servername }),
        ...(stored === undefined ? {} : { session: Buffer.from(stored.ticket) }),
        ...(sessions === undefined
          ? {}
          : {
              onTicket(first: Buffer) {
                ticket = first
                save()
              },
            }),
      },
      settings.starttls_timeout,
    )
    if (typeof started === 'string') return { ok: false, problem: started }
    let peer: TlsPeer
    let verdict: TlsVerdict
    try {
      const seen = peerOf(started)
      peer = seen.reused && stored !== undefined ? recalled(seen, stored) : seen
      verdict = judge(plan, peer, now())
    } catch (error) {
      // A certificate that can be shaken hands with and not be read.
      session.destroy()
      return { ok: false, problem: (error as Error).message }
    }
    if (verdict.refusal !== undefined && peer.reused) sessions?.drop(plan.sessionKey)
    if (sessions !== undefined && verdict.refusal === undefined && !peer.reused) {
      // Now: the ticket may come when the connection is over.
      void peer.chain
      accepted = peer
      save()
    }
    return { ok: true, peer, verdict }
  }
}

function kept(ticket: Uint8Array, peer: TlsPeer): StoredSession {
  const { chainError } = peer
  return {
    ticket,
    chain: peer.chain.map(({ raw }) => raw),
    ...(chainError === undefined ? {} : { chainError }),
  }
}

/** A resumed session with the certificates its server showed the first time. */
function recalled(peer: TlsPeer, stored: StoredSession): TlsPeer {
  return {
    ...peer,
    chain: stored.chain.map((der) => new X509Certificate(der)),
    chainError: stored.chainError,
  }
}

/** RFC 6066 section 3: host names only, no addresses. */
function isServername(name: string): boolean {
  return /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/i.test(name) && !/^[\d.]+$/.test(name)
}
