/** Which TLS applies to a next hop and why, and how it goes with its servers: `mailactors tls-policy`. */
import { createHash, type X509Certificate } from 'node:crypto'
import type { ClientSettings } from '../config.ts'
import type { Destination } from '../destination.ts'
import { handshake, type TlsEvent } from '../handshake.ts'
import type { Server } from '../servers.ts'
import { openSession, Session } from '../session.ts'
import type { TlsClient } from './client.ts'
import type { TlsPlan } from './plan.ts'
import type { StsState } from './sts/lookup.ts'

export interface ExplainedTls {
  readonly nexthop: string
  /** Undefined: there is none that could be used, and `refusal` says why. */
  readonly policy?: {
    readonly level: string
    /** `tls_security_level`, a key of the table, or the policy of the domain. */
    readonly source: string
    readonly protocols: readonly string[]
    readonly ciphers: string
    readonly excluded: readonly string[]
    /** Names or digests that certificates must have one of, as the policy has them. */
    readonly match: readonly string[]
    /** Whether the cache keeps connections with TLS. */
    readonly reuse: boolean
    /** Attributes of the entry that mean nothing at its level. */
    readonly ignored: readonly string[]
  }
  readonly refusal?: string
  readonly sts?: {
    readonly mode: string
    readonly id: string
    readonly mx: readonly string[]
    readonly maxAge: number
    readonly failure?: string
  }
  readonly servers: readonly ExplainedServer[]
}

export interface ExplainedServer {
  readonly host: string
  readonly address: string
  readonly port: number
  /** What applies to this server; absent: it is not used. */
  readonly level?: string
  /** Why it is not the level of the policy, or why the server is not used. */
  readonly why?: string
  readonly servername?: string
  /** Names or digests the certificate must have one of; for DANE only where an authority vouches. */
  readonly match?: readonly string[]
  readonly tlsa?: readonly string[]
  readonly test?: TestedServer
}

export interface TestedServer {
  /** Whether mail would be handed over on this connection. */
  readonly ok: boolean
  /** Of the failure. */
  readonly dsn?: string
  readonly reason?: string
  readonly tls?: {
    readonly protocol: string
    readonly cipher: string
    readonly bits: number
    /** `verified`, `trusted`, `untrusted`, `anonymous`. */
    readonly class: string
    readonly matched?: string
    readonly problem?: string
    readonly chain: readonly ExplainedCertificate[]
  }
}

export interface ExplainedCertificate {
  readonly subject: string
  readonly issuer: string
  readonly names: string
  readonly validTo: string
  readonly sha256: string
  /** Of its public key: `3 1 1` of TLSA records, and what `fingerprint` takes as well. */
  readonly keySha256: string
}

export interface ExplainOptions {
  readonly tls: TlsClient
  readonly settings: ClientSettings
  readonly protocol: 'smtp' | 'lmtp'
  readonly hostname: string
  readonly servers: readonly Server[]
  /** Undefined: MTA-STS is off. */
  readonly sts: ((domain: string) => Promise<StsState>) | undefined
  /** Connect to the servers. */
  readonly test: boolean
}

export async function explainTls(destination: Destination, options: ExplainOptions): Promise<ExplainedTls> {
  const { tls, servers } = options
  const { nexthop } = destination
  const sts = await explainedSts(destination, options)
  const result = await tls.policy(destination)
  if (!result.ok) return { nexthop, refusal: result.reason, ...sts, servers: [] }
  const { level, source, protocols, ciphers, excluded, match, given, ignored } = result.policy
  const reuse = given.reuse ?? options.settings.tls_connection_reuse
  const explained: ExplainedServer[] = []
  for (const server of servers) {
    const { host, address, port } = server
    const planned = await tls.plan(result.policy, server, destination)
    if (!planned.ok) {
      explained.push({ host, address, port, why: planned.reason })
      continue
    }
    const { plan } = planned
    explained.push({
      host,
      address,
      port,
      level: plan.level,
      ...(plan.why === undefined ? {} : { why: plan.why }),
      ...(plan.servername === undefined ? {} : { servername: plan.servername }),
      ...(countsNames(plan) ? { match: plan.match } : {}),
      ...(plan.dane === undefined
        ? {}
        : {
            tlsa: plan.dane.records.map(
              ({ usage, selector, matchingType, data }) =>
                `_${port}._tcp.${plan.dane!.base} TLSA ${usage} ${selector} ${matchingType} ${Buffer.from(data).toString('hex')}`,
            ),
          }),
      ...(options.test ? { test: await testServer(server, plan, options) } : {}),
    })
  }
  return {
    nexthop,
    policy: { level, source, protocols, ciphers, excluded, match, reuse, ignored },
    ...sts,
    servers: explained,
  }
}

const countsNames = ({ match, dane }: TlsPlan): boolean =>
  match.length > 0 && (dane === undefined || dane.records.some(({ usage }) => usage === 2))

async function explainedSts(
  destination: Destination,
  { sts }: ExplainOptions,
): Promise<Pick<ExplainedTls, 'sts'>> {
  if (sts === undefined || destination.kind !== 'host' || !destination.mx) return {}
  const { policy, failure } = await sts(destination.host)
  if (policy === undefined && failure === undefined) return {}
  return {
    sts: {
      mode: policy?.mode ?? 'none',
      id: policy?.id ?? '',
      mx: policy?.mx ?? [],
      maxAge: policy?.maxAge ?? 0,
      ...(failure === undefined ? {} : { failure: failure.reason }),
    },
  }
}

/** Goes as far as a delivery would before MAIL, and leaves. */
async function testServer(server: Server, plan: TlsPlan, options: ExplainOptions): Promise<TestedServer> {
  const { settings, hostname, protocol, tls } = options
  const { host, address, port } = server
  const opened = await openSession(
    { host, address, port },
    { timeoutMs: settings.connect_timeout, run: (task, argument) => task(argument as never) },
  )
  if (!(opened instanceof Session)) return { ok: false, dsn: opened.dsn, reason: opened.reason }
  let seen: TlsEvent | undefined
  let chain: readonly ExplainedCertificate[] = []
  const result = await handshake(opened, {
    protocol,
    settings,
    hostname,
    heloName: settings.helo_name === '' ? hostname : settings.helo_name,
    detectLoops: false,
    best: true,
    discards: () => settings.discard_ehlo_keywords,
    workarounds: () => settings.pix_workarounds,
    plan,
    secure: (session, how) => tls.secure(session, how),
    onTls: (event) => {
      seen = event
      // While the connection is there.
      if (event.kind === 'handshake' && event.outcome.ok)
        chain = event.outcome.peer.chain.map(explainedCertificate)
    },
    warn() {},
  })
  if (result.ok || result.polite) opened.part({ waitMs: settings.quit_timeout, waitForReply: false })
  else opened.destroy()
  const outcome = seen?.kind === 'handshake' && seen.outcome.ok ? seen.outcome : undefined
  return {
    ok: result.ok,
    ...(result.ok ? {} : { dsn: result.failure.dsn, reason: result.failure.reason }),
    ...(outcome === undefined
      ? {}
      : {
          tls: {
            protocol: outcome.peer.protocol,
            cipher: outcome.peer.cipher,
            bits: outcome.peer.bits,
            class: outcome.verdict.class,
            ...(outcome.verdict.matched === undefined ? {} : { matched: outcome.verdict.matched }),
            ...(outcome.verdict.problem === undefined ? {} : { problem: outcome.verdict.problem }),
            chain,
          },
        }),
  }
}

function explainedCertificate(certificate: X509Certificate): ExplainedCertificate {
  const oneLine = (text: string | undefined): string => (text ?? '').replaceAll('\n', ', ')
  return {
    subject: oneLine(certificate.subject),
    issuer: oneLine(certificate.issuer),
    names: oneLine(certificate.subjectAltName),
    validTo: certificate.validToDate.toISOString(),
    sha256: certificate.fingerprint256,
    keySha256: createHash('sha256')
      .update(certificate.publicKey.export({ type: 'spki', format: 'der' }))
      .digest('hex'),
  }
}
