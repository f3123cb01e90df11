/** Questions to certificates: which name they are for, what their digests are, whether they are in date. */
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

export function datesProblem(certificate: X509Certificate, now: number): string | undefined {
  if (now > certificate.validToDate.getTime()) return `the certificate has expired (${certificate.validTo})`
  if (now < certificate.validFromDate.getTime())
    return `the certificate is not valid yet (${certificate.validFrom})`
  return undefined
}
