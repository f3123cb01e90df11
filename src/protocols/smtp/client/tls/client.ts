/**
 * TLS of one delivery: which policy a next hop has, what it means for one server of it, and the handshake with that
 * server.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { findDomain, type Maps } from '../../../../tables/contract.ts'
import type { ClientSettings } from '../config.ts'
import type { Destination } from '../destination.ts'
import type { Server } from '../servers.ts'
import type { Session } from '../session.ts'
import type { Contexts, EngineSettings } from './contexts.ts'
import { isRequired, type TlsLevel } from './levels.ts'
import { peerOf, type TlsPeer } from './peer.ts'
import { judge, noTls, type TlsPlan, type TlsVerdict } from './plan.ts'
import { type PolicyResult, parsePolicy, policyOf, type TlsPolicy } from './policy.ts'
import type { StoredSession, TlsSessions } from './sessions.ts'

export interface TlsClientOptions {
  /** Name of the transport: connections of others are not resumed. */
  readonly transport: string
  readonly settings: ClientSettings
  readonly engine: EngineSettings
  /** Shared by the deliveries of a thread: making one takes long. */
  readonly contexts: Contexts
  /** Of `tls_policy_maps`. */
  readonly policyMaps: Maps
  readonly hostname: string
  /** Undefined: sessions are not resumed. */
  readonly sessions: TlsSessions | undefined
  /** Milliseconds since the epoch. */
  now(): number
}

export type PlanResult =
  | { readonly ok: true; readonly plan: TlsPlan }
  /** The server must not be used. */
  | { readonly ok: false; readonly dsn: string; readonly reason: string }

/** What came of a handshake. */
export type TlsOutcome =
  | { readonly ok: true; readonly peer: TlsPeer; readonly verdict: TlsVerdict }
  | { readonly ok: false; readonly problem: string }

export class TlsClient {
  readonly #options: TlsClientOptions

  constructor(options: TlsClientOptions) {
    this.#options = options
  }

  /** The policy of a next hop. */
  async policy(destination: Destination): Promise<PolicyResult> {
    const { settings } = this.#options
    const result =
      this.#tablePolicy(destination) ?? policyOf(settings.tls_security_level, settings, 'tls_security_level')
    // A unix socket is as private as it gets; a favour is not needed there.
    if (result.ok && destination.kind === 'unix' && !isRequired(result.policy.level)) {
      return { ok: true, policy: { ...result.policy, level: 'none' } }
    }
    return result
  }

  /** Of `tls_policy_maps`; undefined: nothing stands there. */
  #tablePolicy(destination: Destination): PolicyResult | undefined {
    const { settings, policyMaps } = this.#options
    if (policyMaps.isEmpty) return undefined
    const key = destination.nexthop.replace(/^(?:unix|inet):/, '')
    const isDomain = destination.kind === 'host' && destination.mx && key.toLowerCase() === destination.host
    const answer = isDomain ? findDomain(policyMaps, key) : policyMaps.lookup(key)
    if (answer.kind === 'none') return undefined
    if (answer.kind === 'found') return parsePolicy(answer.value, settings, key)
    return { ok: false, dsn: '4.3.0', reason: `lookup of the TLS policy of ${key} failed: ${answer.detail}` }
  }

  /** What the policy means for one server of its next hop. */
  async plan(policy: TlsPolicy, server: Server, destination: Destination): Promise<PlanResult> {
    const { level } = policy
    if (level === 'none') return { ok: true, plan: noTls }
    if (level === 'dane' || level === 'dane-only') {
      return { ok: false, dsn: '4.7.5', reason: `tls_security_level = "${level}" is not supported yet` }
    }
    return { ok: true, plan: this.#plan(policy, level, server, destination) }
  }

  #plan(policy: TlsPolicy, level: TlsLevel, server: Server, destination: Destination): TlsPlan {
    const { settings, engine, transport } = this.#options
    const domain = destination.kind === 'host' ? destination.host : server.host
    const context = this.#options.contexts.get(policy, level)
    const names = { nexthop: domain, 'dot-nexthop': `.${domain}`, hostname: server.host }
    const servername = names[policy.servername as 'hostname' | 'nexthop'] ?? policy.servername
    const match =
      level === 'fingerprint'
        ? policy.match
        : policy.match.map((word) => names[word as keyof typeof names] ?? word)
    const digest = createHash('sha256')
    digest.update(
      JSON.stringify([
        [transport, destination.nexthop, server.host, server.address, server.port, level],
        context instanceof Error ? '' : context.key,
        [servername, match],
      ]),
    )
    return {
      level,
      wanted: policy.level,
      implicit: settings.tls_wrappermode,
      context: context instanceof Error ? undefined : context,
      ...(context instanceof Error ? { problem: context.message } : {}),
      ...(isServername(servername) ? { servername } : {}),
      match,
      fingerprintDigest: settings.tls_fingerprint_digest,
      verifyDepth: settings.tls_scert_verifydepth,
      multipleLabels: engine.wildcard_matches_multiple_labels,
      sessionKey: digest.digest('base64url'),
    }
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
    const seen = peerOf(started)
    const peer = seen.reused && stored !== undefined ? recalled(seen, stored) : seen
    const verdict = judge(plan, peer, now())
    if (verdict.refusal === undefined && !peer.reused) {
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
