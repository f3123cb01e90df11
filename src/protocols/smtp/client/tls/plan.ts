/** TLS towards one server: what to begin it with, and whether the server that answers is the right one. */
import type { X509Certificate } from 'node:crypto'
import type { SecureContext } from 'node:tls'
import { datesProblem, fingerprints, matchedName, normalFingerprint } from './certificates.ts'
import { chainProblem } from './chain.ts'
import type { TlsContext } from './contexts.ts'
import { type DaneSet, daneProblem } from './dane.ts'
import { needsMatch, type TlsLevel } from './levels.ts'
import type { TlsPeer } from './peer.ts'
import type { StsFacts } from './policy.ts'
import type { RequireTlsAction } from './require-tls.ts'
import type { FailureType, ReportedPolicy } from './rpt/events.ts'
import { mxMatches } from './sts/policy.ts'

/** How sure we are of who the server is. */
export type TrustClass = 'anonymous' | 'untrusted' | 'trusted' | 'verified'

export interface TlsVerdict {
  readonly class: TrustClass
  /** The name or digest that fitted. */
  readonly matched?: string
  /** Why the level is not met; undefined: it is. */
  readonly refusal?: string
  /** Kind of the failure, RFC 8460 section 4.3: of `refusal`, or where a policy is only tested. */
  readonly failure?: FailureType
  /** Why the class is no better. */
  readonly problem?: string
}

export interface TlsPlan {
  /** Name of the server. */
  readonly host: string
  /** The domain that gets a report of how it went; empty: nobody. */
  readonly reportTo: string
  /** What applies to this server. */
  readonly level: TlsLevel
  /** What the policy asks for; `level` is less where the DNS has nothing for DANE. */
  readonly wanted: TlsLevel
  /** Why `level` is not what is wanted. */
  readonly why?: string
  /** Less than the policy, because the mail says so: no other mail may use the connection. */
  readonly once?: true
  /** What the mail demands by REQUIRETLS; undefined: nothing. */
  readonly requireTls?: RequireTlsAction
  /** TLS before the greeting. */
  readonly implicit: boolean
  /** Undefined: TLS cannot be done here, and `problem` says why. */
  readonly context: TlsContext | undefined
  readonly problem?: string
  /** SNI. */
  readonly servername?: string
  /** Names at `verify` and `secure`, and for DANE with a trust anchor; digests at `fingerprint`. */
  readonly match: readonly string[]
  readonly fingerprintDigest: string
  readonly dane?: DaneSet
  readonly sts?: StsFacts
  readonly verifyDepth: number
  /** Whether the connection may be kept for the next mail. */
  readonly reusable: boolean
  /** `.example.com` to match is all below it, not one label. */
  readonly deepNames: boolean
  /** How much of it is logged, as `tls_loglevel` has it. */
  readonly logDetail: number
  /** Name of the TLS session, to be resumed by a connection that is the same in all that matters. */
  readonly sessionKey: string
}

/** No TLS. */
export const noTls: TlsPlan = {
  host: '',
  reportTo: '',
  level: 'none',
  wanted: 'none',
  implicit: false,
  context: undefined,
  match: [],
  fingerprintDigest: 'sha256',
  verifyDepth: 9,
  reusable: false,
  deepNames: true,
  logDetail: 0,
  sessionKey: '',
}

/** The same server with TLS as a favour refused: plaintext for mail that has waited. */
export const withoutTls = (plan: TlsPlan): TlsPlan => ({ ...noTls, wanted: plan.wanted })

export interface ConnectOptions {
  readonly secureContext: SecureContext
  readonly servername?: string
}

/** Judges the server of a handshake. `now` in milliseconds since the epoch. */
export function judge(plan: TlsPlan, peer: TlsPeer, now: number): TlsVerdict {
  if (!needsMatch(plan.level) && plan.sts === undefined) {
    // Nothing is demanded of the certificate: it need not even be looked at.
    if (peer.isAnonymous) return { class: 'anonymous' }
    const { chainError } = peer
    return chainError === undefined ? { class: 'trusted' } : { class: 'untrusted', problem: chainError }
  }
  const [leaf] = peer.chain
  if (leaf === undefined) {
    if (!needsMatch(plan.level)) return { class: 'anonymous' }
    const problem = 'the server has no certificate'
    return { class: 'anonymous', problem, refusal: problem, failure: 'validation-failure' }
  }
  if (plan.level === 'fingerprint') return byFingerprint(plan, leaf)
  if (plan.dane !== undefined) return byDane(plan, plan.dane, peer, now)
  const untrusted = trustProblem(plan, peer, now)
  const { level } = plan
  if (level !== 'verify' && level !== 'secure') {
    const failure = plan.sts === undefined ? undefined : testedFailure(plan, plan.sts, leaf, untrusted)
    const tested = failure === undefined ? {} : { failure }
    return untrusted === undefined
      ? { class: 'trusted', ...tested }
      : { class: 'untrusted', problem: untrusted, ...tested }
  }
  if (untrusted !== undefined) {
    return { class: 'untrusted', problem: untrusted, refusal: untrusted, failure: trustFailure(untrusted) }
  }
  const matched = matchedName(leaf, plan.match, plan.deepNames)
  if (matched !== undefined) return { class: 'verified', matched }
  const problem = `the certificate is for ${namesOf(leaf)}, not for ${plan.match.join(' or ')}`
  return { class: 'trusted', problem, refusal: problem, failure: 'certificate-host-mismatch' }
}

/** What an MTA-STS policy that is only tested would have refused. */
function testedFailure(
  plan: TlsPlan,
  sts: StsFacts,
  leaf: X509Certificate,
  untrusted: string | undefined,
): FailureType | undefined {
  if (!mxMatches(plan.host, sts.mxPatterns)) return 'validation-failure'
  if (untrusted !== undefined) return trustFailure(untrusted)
  return matchedName(leaf, [plan.host], false) === undefined ? 'certificate-host-mismatch' : undefined
}

const trustFailure = (problem: string): FailureType =>
  problem.includes('expired') ? 'certificate-expired' : 'certificate-not-trusted'

function byFingerprint(plan: TlsPlan, leaf: X509Certificate): TlsVerdict {
  const wanted = plan.match.map(normalFingerprint)
  const matched = fingerprints(leaf, plan.fingerprintDigest).find((digest) => wanted.includes(digest))
  if (matched !== undefined) return { class: 'verified', matched }
  const problem = 'the certificate has none of the fingerprints it should have'
  return { class: 'untrusted', problem, refusal: problem, failure: 'validation-failure' }
}

function byDane(plan: TlsPlan, dane: DaneSet, peer: TlsPeer, now: number): TlsVerdict {
  const problem = daneProblem(dane, peer.chain, {
    names: plan.match,
    depth: plan.verifyDepth,
    deepNames: plan.deepNames,
    now,
  })
  // Records that anybody may have put in place prove little, though no less than having none.
  if (problem === undefined) return { class: dane.secure ? 'verified' : 'trusted', matched: dane.base }
  return { class: 'untrusted', problem, refusal: problem, failure: 'validation-failure' }
}

function trustProblem(plan: TlsPlan, peer: TlsPeer, now: number): string | undefined {
  if (peer.reused) {
    // Trusted when the session began; since then it may have expired.
    const outdated = peer.chain.map((one) => datesProblem(one, now)).find((problem) => problem !== undefined)
    if (outdated !== undefined) return outdated
  }
  if (peer.chainError !== undefined) {
    const keys = plan.context?.trustedKeys ?? []
    if (keys.length === 0) return peer.chainError
    const certificates = plan.context!.trustedCertificates
    const isAnchor = (one: X509Certificate) => certificates.some(({ raw }) => raw.equals(one.raw))
    return chainProblem(peer.chain, { keys, certificates, isAnchor }, plan.verifyDepth, now)
  }
  return peer.chain.length - 1 > plan.verifyDepth
    ? `the chain of certificates is longer than ${plan.verifyDepth}`
    : undefined
}

/** The names of a certificate, for a message. */
function namesOf(leaf: X509Certificate): string {
  const names = leaf.subjectAltName?.match(/DNS:[^,\s]+/g)?.map((name) => name.slice(4)) ?? []
  if (names.length === 0) return printable(/^CN=(.*)$/m.exec(leaf.subject ?? '')?.[1] ?? 'nobody')
  const more = names.length > 5 ? ` and ${names.length - 5} more` : ''
  return printable(names.slice(0, 5).join(', ') + more)
}

const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 400)

/** The policy of a plan as reports name it, RFC 8460 section 4.4. */
export function reportedPolicy({ dane, sts, reportTo, host }: TlsPlan): ReportedPolicy {
  if (dane !== undefined) {
    const lines = dane.records.map(
      ({ usage, selector, matchingType, data }) =>
        `${usage} ${selector} ${matchingType} ${Buffer.from(data).toString('hex')}`,
    )
    return { type: 'tlsa', lines, domain: dane.base, mx: [host] }
  }
  if (sts !== undefined) return { type: 'sts', lines: sts.lines, domain: sts.domain, mx: sts.mxPatterns }
  return { type: 'no-policy-found', lines: [], domain: reportTo, mx: [] }
}
