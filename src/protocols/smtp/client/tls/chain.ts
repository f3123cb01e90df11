/**
 * Whether a chain of certificates leads to a trust anchor: for anchors that OpenSSL cannot be told of before the
 * handshake, which are those of DANE and bare public keys. What is asked of a chain is what OpenSSL asks for TLS servers
 * at its security level 1, where Postfix has it.
 */
import type { X509Certificate } from 'node:crypto'
import { type Anchors, datesProblem } from './certificates.ts'
import { type Extension, extensionsOf, isVersion1, sequenceOf } from './der.ts'

/**
 * Looks for a way from the first of `chain`, the server's own, to a certificate that `isAnchor` accepts or that has a key of
 * `anchors`, or else to one that such a key has signed. Returns what is wrong; undefined: it holds at `now`, in milliseconds since the epoch.
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
  const path = [leaf]
  let isAnchored = false
  while (!isAnchored) {
    const issuer = issuerOf(path.at(-1)!, candidates, path)
    if (issuer === undefined) break
    path.push(issuer)
    isAnchored = anchors.isAnchor(issuer) || anchors.keys.some((key) => key.equals(issuer.publicKey))
    if (path.length > depth + 1) return `the chain of certificates is longer than ${depth}`
  }
  const last = path.at(-1)!
  if (!isAnchored && !anchors.keys.some((key) => last.verify(key))) {
    return 'no trust anchor has issued the certificate'
  }
  for (const [level, certificate] of path.entries()) {
    const isTop = level === path.length - 1
    const problem =
      // A trust anchor that is not its own issuer is no more than a name and a key.
      (isTop && isAnchored && !isSelfIssued(certificate) ? undefined : datesProblem(certificate, now)) ??
      purposeProblem(certificate, level) ??
      strengthProblem(certificate, isTop)
    if (problem !== undefined) return level === 0 ? problem : `an authority above it: ${problem}`
  }
  return undefined
}

/** Of several the one that may issue. */
function issuerOf(
  subject: X509Certificate,
  candidates: readonly X509Certificate[],
  visited: readonly X509Certificate[],
): X509Certificate | undefined {
  if (isSelfIssued(subject)) return undefined
  const signers = candidates.filter(
    (other) =>
      other.subject === subject.issuer &&
      !visited.some(({ raw }) => raw.equals(other.raw)) &&
      subject.verify(other.publicKey),
  )
  return signers.find((other) => isAuthority(other, extensionsOf(other.raw))) ?? signers[0]
}

const isSelfIssued = (certificate: X509Certificate): boolean =>
  certificate.subject === certificate.issuer && certificate.verify(certificate.publicKey)

const oid = {
  keyUsage: '551d0f',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
  nameConstraints: '551d1e',
  policies: '551d20',
  policyMappings: '551d21',
  policyConstraints: '551d24',
  extendedKeyUsage: '551d25',
  inhibitAnyPolicy: '551d36',
}
const known: ReadonlySet<string> = new Set(Object.values(oid))

/** Bits of keyUsage, RFC 5280 section 4.2.1.3. */
const keyCertSign = 0x04
const forTls = 0x80 | 0x20 | 0x08
/** id-kp-serverAuth, and what there was before it. */
const serverPurposes: readonly string[] = ['2b06010505070301', '2b0601040182370a0303', '6086480186f8420401']

/** `level` 0: the server itself; above it, one that must be allowed to issue with `level - 1` authorities below. */
function purposeProblem(certificate: X509Certificate, level: number): string | undefined {
  const extensions = extensionsOf(certificate.raw)
  const strange = extensions.find((one) => one.critical && !known.has(one.oid))
  if (strange !== undefined) return 'it has a critical extension that is not known'
  const purposes = find(extensions, oid.extendedKeyUsage)
  if (purposes !== undefined) {
    const names = sequenceOf(purposes).map(({ content }) => content.toString('hex'))
    if (!names.some((name) => serverPurposes.includes(name))) return 'it is not meant for TLS servers'
  }
  const usage = keyUsage(extensions)
  if (level === 0) {
    return usage !== undefined && (usage & forTls) === 0 ? 'its key is not meant for TLS' : undefined
  }
  if (!isAuthority(certificate, extensions)) return 'it may not issue certificates'
  const limit = pathLength(extensions)
  return limit !== undefined && level - 1 > limit
    ? 'there are more authorities below it than it allows'
    : undefined
}

function isAuthority(certificate: X509Certificate, extensions: readonly Extension[]): boolean {
  const usage = keyUsage(extensions)
  if (usage !== undefined && (usage & keyCertSign) === 0) return false
  const constraints = find(extensions, oid.basicConstraints)
  if (constraints !== undefined) return sequenceOf(constraints)[0]?.tag === 0x01
  // Older than the extension.
  return usage !== undefined || (isVersion1(certificate.raw) && isSelfIssued(certificate))
}

/** pathLenConstraint, RFC 5280 section 4.2.1.9. */
function pathLength(extensions: readonly Extension[]): number | undefined {
  const constraints = find(extensions, oid.basicConstraints)
  const limit = constraints && sequenceOf(constraints).find(({ tag }) => tag === 0x02)
  return limit === undefined ? undefined : Number.parseInt(limit.content.toString('hex'), 16)
}

/** The first octet of the bits; undefined: all uses. */
function keyUsage(extensions: readonly Extension[]): number | undefined {
  // BIT STRING: tag, length, number of unused bits, bits.
  return find(extensions, oid.keyUsage)?.[3]
}

const find = (extensions: readonly Extension[], wanted: string): Buffer | undefined =>
  extensions.find((one) => one.oid === wanted)?.value

/** 80 bits of strength: the key, and the digest it was signed with where that signature counts. */
function strengthProblem(certificate: X509Certificate, isTop: boolean): string | undefined {
  const { asymmetricKeyType: type = '', asymmetricKeyDetails: details } = certificate.publicKey
  if (/^(?:rsa|dsa)/.test(type) && (details?.modulusLength ?? 0) < 1_024) return 'its key is too short'
  if (!isTop && /sha-?1(?!\d)|md[245]/i.test(certificate.signatureAlgorithm ?? '')) {
    return 'the digest of its signature is too weak'
  }
  return undefined
}
