/** What there is to know of a server after the TLS handshake. */
import { X509Certificate } from 'node:crypto'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'

/** Certificates of a chain that are looked at. */
const maxChain = 100

export interface TlsPeer {
  readonly protocol: string
  readonly cipher: string
  /** Strength of the cipher. */
  readonly bits: number
  /** The key exchange needs no certificate, and there is none. */
  readonly isAnonymous: boolean
  /** The session of an earlier connection went on. */
  readonly reused: boolean
  /**
   * The server's certificate, its issuer and so on, as far as the server sent them, and the authority where we have
   * it. Empty: an anonymous cipher, or a session that was resumed. Read from the connection when it is first asked
   * for, which costs, and before that ends.
   */
  readonly chain: readonly X509Certificate[]
  /** Why OpenSSL does not trust the chain; undefined: it does. */
  readonly chainError: string | undefined
}

export function peerOf(socket: TLSSocket): TlsPeer {
  const { standardName, name } = socket.getCipher()
  const error = socket.authorizationError as Error | string | null | undefined
  let chain: readonly X509Certificate[] | undefined
  return {
    protocol: socket.getProtocol() ?? 'unknown',
    cipher: name,
    bits: strengthOf(standardName ?? name),
    reused: socket.isSessionReused(),
    isAnonymous: /_anon_/i.test(standardName ?? name),
    get chain() {
      chain ??= chainOf(socket)
      return chain
    },
    chainError:
      socket.authorized || error === null || error === undefined ? undefined : chainErrorText(String(error)),
  }
}

// Not by getPeerX509Certificate: following its issuers takes them away from the connection (Node 24).
function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = []
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  while (next?.raw !== undefined && chain.length < maxChain) {
    chain.push(new X509Certificate(next.raw))
    // The last one is its own issuer.
    next = next.issuerCertificate === next ? undefined : next.issuerCertificate
  }
  return chain
}

function strengthOf(cipher: string): number {
  if (/NULL/.test(cipher)) return 0
  if (/3DES/.test(cipher)) return 112
  if (/256|CHACHA20/.test(cipher.replace(/_SHA\d+$/, ''))) return 256
  return 128
}

/** OpenSSL's codes in words. */
function chainErrorText(code: string): string {
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return 'the certificate has expired'
    case 'CERT_NOT_YET_VALID':
      return 'the certificate is not valid yet'
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
      return 'the certificate is self-signed'
    case 'SELF_SIGNED_CERT_IN_CHAIN':
      return 'the authority of the certificate is not trusted'
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
      return 'no trusted authority has issued the certificate'
    default:
      return code.replaceAll('_', ' ').toLowerCase()
  }
}
