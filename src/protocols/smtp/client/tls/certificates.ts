/** Questions to certificates: which name they are for, what their digests are, whether a chain leads to an anchor. */
import { createHash, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { publicKeyInfo } from './der.ts'

/**
 * The first of `names` that the certificate is for; `.example.com` is any name below example.com, or one label below
 * unless `deep`. DNS names of subjectAltName, and the common name only where there is none; `*` is the whole leftmost
 * label and stands for one (RFC 6125 section 6.4). Of IP addresses among the names the first one must be among those of
 * the certificate as well, as OpenSSL has it: an address is not just another name.
 */
export function matchedName(
  certificate: X509Certificate,
  names: readonly string[],
  deep: boolean,
): string | undefined {
  const address = names.find((name) => isIP(name) !== 0)
  if (address !== undefined && certificate.checkIP(address) === undefined) return undefined
  const hosts = names.filter((name) => isIP(name) === 0)
  return hosts.length === 0 ? address : hosts.find((name) => isFor(certificate, name, deep))
}

function isFor(certificate: X509Certificate, name: string, deep: boolean): boolean {
  const ascii = name.startsWith('.') ? `.${domainToASCII(name.slice(1))}` : domainToASCII(name)
  if (ascii === '' || ascii === '.') return false
  try {
    return (
      certificate.checkHost(ascii, {
        subject: 'default',
        wildcards: true,
        partialWildcards: false,
        multiLabelWildcards: false,
        singleLabelSubdomains: !deep,
      }) !== undefined
    )
  } catch {
    // Names in the certificate that are none, such as with a NUL in them.
    return false
  }
}

/** Digests of the certificate and of its public key, lower-case hex. */
export function fingerprints(certificate: X509Certificate, algorithm: string): readonly string[] {
  const key = publicKeyInfo(certificate.raw)
  const inputs = key === undefined ? [certificate.raw] : [certificate.raw, key]
  return inputs.map((bytes) => createHash(algorithm).update(bytes).digest('hex'))
}

/** Octets in hex, with or without colons. */
export const isFingerprint = (text: string): boolean => /^[0-9a-f]{2}(?::?[0-9a-f]{2})+$/i.test(text)

/** `AA:BB:…` or `aabb…`, as fingerprints are compared. */
export const normalFingerprint = (text: string): string => text.replaceAll(':', '').toLowerCase()

/** Something that is trusted by itself. */
export interface Anchors {
  readonly certificates: readonly X509Certificate[]
  readonly keys: readonly KeyObject[]
}

const pemBlock = /-----BEGIN ([A-Z0-9 ]+)-----[\s\S]*?-----END \1-----/g

/** The certificates and public keys of a PEM file. Throws on what is neither. */
export function readAnchors(pem: string): Anchors {
  const certificates: X509Certificate[] = []
  const keys: KeyObject[] = []
  for (const [block, label = ''] of pem.matchAll(pemBlock)) {
    if (label === 'PUBLIC KEY') keys.push(createPublicKey(block))
    else if (label.endsWith('CERTIFICATE')) certificates.push(new X509Certificate(block))
  }
  if (certificates.length + keys.length === 0) throw new Error('no certificate and no public key in it')
  return { certificates, keys }
}

/**
 * Whether the certificates of `chain`, the server's first, lead to one that `isAnchor` accepts, or to a key of
 * `anchors`. Each must be valid at `now`, and be issued by the next in line, which must be allowed to issue.
 * Returns what is wrong; undefined: it holds. For anchors that OpenSSL cannot be told of before the handshake.
 */
export function chainProblem(
  chain: readonly X509Certificate[],
  anchors: Anchors & { isAnchor(certificate: X509Certificate): boolean },
  depth: number,
  now: number,
): string | undefined {
  const leaf = chain[0]
  if (leaf === undefined) return 'the server sent no certificate'
  const candidates = [...chain.slice(1), ...anchors.certificates]
  const visited = new Set<X509Certificate>()
  let current = leaf
  for (let level = 0; level <= depth; level++) {
    visited.add(current)
    const outdated = datesProblem(current, now)
    if (outdated !== undefined) return outdated
    const holder = current
    if (level > 0 && anchors.isAnchor(holder)) return undefined
    if (anchors.keys.some((key) => holder.verify(key))) return undefined
    const issuer = candidates.find((other) => !visited.has(other) && isIssuer(other, holder, level))
    if (issuer === undefined) return 'no trust anchor has issued the certificate'
    current = issuer
  }
  return `the chain of certificates is longer than ${depth}`
}

/** `below`: certificates of authorities between the issuer and the server. */
function isIssuer(issuer: X509Certificate, subject: X509Certificate, below: number): boolean {
  if (!issuer.ca || !subject.checkIssued(issuer) || !subject.verify(issuer.publicKey)) return false
  const limit = pathLength(issuer)
  return limit === undefined || below <= limit
}

/** pathLenConstraint, RFC 5280 section 4.2.1.9. */
function pathLength(certificate: X509Certificate): number | undefined {
  // basicConstraints: OID 2.5.29.19, critical or not, an octet string around SEQUENCE { TRUE, INTEGER }.
  const { raw } = certificate
  const at = raw.indexOf(Buffer.from('0603551d13', 'hex'))
  if (at < 0) return undefined
  const value = raw.subarray(at, at + 20).toString('hex')
  const found = /^0603551d13(?:0101ff)?04..30..(?:0101ff)?0201(..)/.exec(value)
  return found === null ? undefined : Number.parseInt(found[1]!, 16)
}

export function datesProblem(certificate: X509Certificate, now: number): string | undefined {
  if (now > certificate.validToDate.getTime()) return `the certificate has expired (${certificate.validTo})`
  if (now < certificate.validFromDate.getTime())
    return `the certificate is not valid yet (${certificate.validFrom})`
  return undefined
}
