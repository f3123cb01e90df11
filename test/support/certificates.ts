/** Certificates made for a test, without a program: authorities, what they issue, and what is wrong with it. */
import 'reflect-metadata'
import { type KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0])

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const rsa = (modulusLength: number, hash: string) => ({
  name: 'RSASSA-PKCS1-v1_5',
  hash,
  modulusLength,
  publicExponent: new Uint8Array([1, 0, 1]),
})
const day = 86_400_000

export interface Certificate {
  /** PEM. */
  readonly cert: string
  readonly key: string
  readonly der: Buffer
  readonly x509: X509Certificate
}

export interface CertificateOptions {
  /** DNS names of subjectAltName; none: there is no such extension. */
  readonly names?: readonly string[]
  readonly commonName?: string
  /** Days from now. */
  readonly from?: number
  readonly to?: number
  /** May issue others. */
  readonly ca?: boolean
  readonly pathLength?: number
  /** IP addresses of subjectAltName. */
  readonly addresses?: readonly string[]
  /** OIDs of extendedKeyUsage. */
  readonly purposes?: readonly string[]
  /** A key of RSA with so many bits, instead of ECDSA. */
  readonly rsaBits?: number
  /** What a key of RSA signs with. */
  readonly hash?: 'SHA-1' | 'SHA-256'
  /** May not issue certificates, whatever `ca` says. */
  readonly withoutCertSign?: true
}

interface Issuer {
  readonly certificate: x509.X509Certificate
  readonly keys: webcrypto.CryptoKeyPair
}

/** One that issues certificates. */
export class Authority implements Certificate {
  readonly cert: string
  readonly key: string
  readonly der: Buffer
  readonly x509: X509Certificate
  readonly #issuer: Issuer

  private constructor(made: Certificate, issuer: Issuer) {
    this.cert = made.cert
    this.key = made.key
    this.der = made.der
    this.x509 = made.x509
    this.#issuer = issuer
  }

  static async make(commonName = 'Test CA', options: CertificateOptions = {}): Promise<Authority> {
    const { made, issuer } = await make({ ca: true, commonName, ...options }, undefined)
    return new Authority(made, issuer)
  }

  /** An authority below this one. */
  async subordinate(commonName: string, options: CertificateOptions = {}): Promise<Authority> {
    const { made, issuer } = await make({ ca: true, commonName, ...options }, this.#issuer)
    return new Authority(made, issuer)
  }

  async issue(options: CertificateOptions): Promise<Certificate> {
    return (await make(options, this.#issuer)).made
  }
}

/** One that nobody vouches for. */
export async function selfSigned(options: CertificateOptions): Promise<Certificate> {
  return (await make(options, undefined)).made
}

async function make(
  options: CertificateOptions,
  issuer: Issuer | undefined,
): Promise<{ made: Certificate; issuer: Issuer }> {
  const { names = [], commonName = names[0] ?? 'nobody', from = -1, to = 30, ca = false } = options
  const { addresses = [], purposes, rsaBits, hash = 'SHA-256' } = options
  const kind = rsaBits === undefined ? algorithm : rsa(rsaBits, hash)
  const keys = (await webcrypto.subtle.generateKey(kind, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(ca, options.pathLength, true),
    new x509.KeyUsagesExtension(
      ca && options.withoutCertSign === undefined
        ? x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign
        : x509.KeyUsageFlags.digitalSignature,
      true,
    ),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
  ]
  const alternatives = [
    ...names.map((value) => ({ type: 'dns' as const, value })),
    ...addresses.map((value) => ({ type: 'ip' as const, value })),
  ]
  if (alternatives.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(alternatives))
  if (purposes !== undefined) extensions.push(new x509.ExtendedKeyUsageExtension([...purposes]))
  if (issuer !== undefined) {
    extensions.push(await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey))
  }
  const signingKey = (issuer?.keys ?? keys).privateKey
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `01${randomBytes(8).toString('hex')}`,
    subject: `CN=${commonName}`,
    issuer: issuer?.certificate.subject ?? `CN=${commonName}`,
    notBefore: new Date(Date.now() + from * day),
    notAfter: new Date(Date.now() + to * day),
    signingAlgorithm: signingKey.algorithm as typeof algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions,
  })
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  const key = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString('base64').replace(/.{64}/g, '$&\n')}\n-----END PRIVATE KEY-----\n`
  const der = Buffer.from(certificate.rawData)
  const cert = `${certificate.toString('pem')}\n`
  return { made: { cert, key, der, x509: new X509Certificate(der) }, issuer: { certificate, keys } }
}

/** SubjectPublicKeyInfo, DER. */
export const publicKeyOf = (certificate: Certificate): Buffer =>
  (certificate.x509.publicKey as KeyObject).export({ type: 'spki', format: 'der' })
