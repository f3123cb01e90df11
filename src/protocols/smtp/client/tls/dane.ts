/**
 * DANE for mail, RFC 7672: TLSA records (RFC 6698) say which certificate or key a server has, or which authority has
 * issued it. Usages 2 (DANE-TA) and 3 (DANE-EE) count; 0 and 1 are of no use to mail, section 3.1.3.
 */
import { createHash, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import type { DnsResolver, RecordData } from '../../../../dns/resolver.ts'
import type { Server } from '../servers.ts'
import { matchedName } from './certificates.ts'
import { chainProblem } from './chain.ts'
import { isOneElement, publicKeyInfo } from './der.ts'

export type TlsaRecord = RecordData['TLSA']

export interface DaneSet {
  /** The name of the server that the records belong to: RFC 7672 section 2.2.3, TLSA base domain. */
  readonly base: string
  /** Without what cannot be used. */
  readonly records: readonly TlsaRecord[]
  /** The way from the domain to the server was signed as well. */
  readonly secure: boolean
}

const digestNames: Readonly<Record<number, string>> = { 1: 'sha256', 2: 'sha512' }

/**
 * Records that can be checked. Of those that differ in nothing but the digest, only the one that stands first in
 * `digests` counts (RFC 7671 section 9): an old weak one must not do where a strong one is published.
 */
export function usableRecords(
  records: readonly TlsaRecord[],
  digests: readonly string[],
): readonly TlsaRecord[] {
  const usable = records.filter((record) => isUsable(record, digests))
  const rank = ({ matchingType }: TlsaRecord): number => digests.indexOf(digestNames[matchingType] ?? '')
  return usable.filter((record) => {
    if (record.matchingType === 0) return true
    const rivals = usable.filter(
      (other) =>
        other.matchingType !== 0 && other.usage === record.usage && other.selector === record.selector,
    )
    return rivals.every((other) => rank(record) <= rank(other))
  })
}

function isUsable(record: TlsaRecord, digests: readonly string[]): boolean {
  const { usage, selector, matchingType, data } = record
  if ((usage !== 2 && usage !== 3) || (selector !== 0 && selector !== 1)) return false
  if (matchingType === 0) return parsed(record) !== undefined
  const digest = digestNames[matchingType]
  if (digest === undefined || !digests.includes(digest)) return false
  return data.length === (digest === 'sha256' ? 32 : 64)
}

/** The certificate or key that a record holds in full. */
function parsed({ selector, data }: TlsaRecord): X509Certificate | KeyObject | undefined {
  if (!isOneElement(data)) return undefined
  try {
    return selector === 0
      ? new X509Certificate(data)
      : createPublicKey({ key: Buffer.from(data), format: 'der', type: 'spki' })
  } catch {
    return undefined
  }
}

export type TlsaLookup =
  | { readonly kind: 'found'; readonly base: string; readonly records: readonly TlsaRecord[] }
  | { readonly kind: 'none' }
  /** Nobody can tell whether there are any. */
  | { readonly kind: 'failed'; readonly reason: string }

/**
 * The signed TLSA records of a server. Its name behind aliases comes first, where those are signed, then the one that
 * was asked for, where that is. Records that are not signed are none.
 */
export async function findTlsa(
  resolver: DnsResolver,
  { port, dns }: Server,
  options: { readonly evenIfInsecure: boolean },
): Promise<TlsaLookup> {
  if (dns === undefined) return { kind: 'none' }
  if (!dns.addressSecure && !options.evenIfInsecure) {
    if (dns.rname === dns.qname) return { kind: 'none' }
    // RFC 7672 section 2.1.3: the alias itself may be signed, though not what it leads to.
    const alias = await resolver.query(dns.qname, 'CNAME', { dnssec: true })
    if (!alias.ok) {
      return { kind: 'failed', reason: `lookup of ${dns.qname}, type CNAME, failed: ${alias.detail}` }
    }
    if (!alias.secure) return { kind: 'none' }
  }
  const bases = dns.addressSecure ? [...new Set([dns.rname, dns.qname])] : [dns.qname]
  for (const base of bases) {
    const name = `_${port}._tcp.${base}`
    const answer = await resolver.query(name, 'TLSA', { dnssec: true })
    if (answer.ok) {
      if (answer.secure) return { kind: 'found', base, records: answer.records }
    } else if (answer.kind === 'malformed') {
      // They are there, and nobody can read them.
      if (answer.secure) return { kind: 'found', base, records: [] }
    } else if (answer.kind !== 'not-found') {
      return { kind: 'failed', reason: `lookup of ${name}, type TLSA, failed: ${answer.detail}` }
    }
  }
  return { kind: 'none' }
}

export function recordMatches(record: TlsaRecord, certificate: X509Certificate): boolean {
  const { raw } = certificate
  const selected = record.selector === 0 ? raw : publicKeyInfo(raw)
  if (selected === undefined) return false
  const digest = digestNames[record.matchingType]
  const value = digest === undefined ? selected : createHash(digest).update(selected).digest()
  return Buffer.compare(Buffer.from(record.data), Buffer.from(value)) === 0
}

/** Why the server's certificates do not fit the records; undefined: they do. */
export function daneProblem(
  { records }: DaneSet,
  chain: readonly X509Certificate[],
  options: {
    /** Names one of which the certificate must have where an authority vouches for it. */
    readonly names: readonly string[]
    readonly depth: number
    readonly deepNames: boolean
    readonly now: number
  },
): string | undefined {
  const leaf = chain[0]
  if (leaf === undefined) return 'the server has no certificate'
  // RFC 7671 section 5.1: the record says all there is to say, whatever names and dates stand in the certificate.
  if (records.some((record) => record.usage === 3 && recordMatches(record, leaf))) return undefined
  const authorities = records.filter(({ usage }) => usage === 2)
  if (authorities.length === 0) return 'no TLSA record fits the certificate'
  const full = authorities.filter(({ matchingType }) => matchingType === 0).map(parsed)
  const problem = chainProblem(
    chain,
    {
      certificates: full.filter((one) => one instanceof X509Certificate),
      keys: full.filter((one): one is KeyObject => one !== undefined && !(one instanceof X509Certificate)),
      isAnchor: (certificate) => authorities.some((record) => recordMatches(record, certificate)),
    },
    options.depth,
    options.now,
  )
  if (problem !== undefined) return `no TLSA record fits the chain of certificates: ${problem}`
  if (matchedName(leaf, options.names, options.deepNames) !== undefined) return undefined
  return `the certificate has none of the names ${options.names.join(', ')}`
}
