/**
 * TLS for server sessions, shared by all protocols: the certificate of `[tls]` and the
 * change of an accepted socket to TLS. A session that changes forgets what it read before: a command that was sent
 * in clear behind STARTTLS or STLS must not be carried out as if it came through TLS.
 */
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import type { ActorContext } from '../actors/index.ts'

export interface ServerCertificate {
  /** Path of a PEM file; empty: no TLS. */
  readonly cert: string
  /** Path of a PEM file; empty: the key is in `cert`. */
  readonly key: string
}

/**
 * The certificate, ready for use; undefined when none is configured, or when it cannot be used: the service then goes
 * on without TLS. Loaded once per thread for each `certificate` object, so that a reload, which brings a new one,
 * loads it again; what is wrong with it is logged then.
 */
export function serverTls(
  context: Pick<ActorContext, 'local' | 'log'>,
  certificate: ServerCertificate,
): SecureContext | undefined {
  if (certificate.cert === '') return undefined
  const loaded = context.local(
    'server-tls',
    () => new WeakMap<ServerCertificate, SecureContext | 'unusable'>(),
  )
  let known = loaded.get(certificate)
  if (known === undefined) {
    known = load(context, certificate) ?? 'unusable'
    loaded.set(certificate, known)
  }
  return known === 'unusable' ? undefined : known
}

function load(
  context: Pick<ActorContext, 'log'>,
  { cert, key }: ServerCertificate,
): SecureContext | undefined {
  try {
    return createSecureContext({
      cert: readFileSync(cert),
      key: readFileSync(key === '' ? cert : key),
      minVersion: 'TLSv1.2',
    })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // The system's errors of the file, OpenSSL's of what is in it.
    if (code === undefined) throw error
    context.log.error(
      { event: 'tls.unusable', cert, key, error: message },
      'the certificate cannot be used: no TLS',
    )
    return undefined
  }
}

/**
 * Puts TLS on an accepted socket, as its server. The handshake begins when the client speaks; what is written before
 * it is done waits. Emits `secure` when it is done. Listeners for data on `socket` itself have to be gone.
 */
export function upgradeToTls(socket: Socket, secureContext: SecureContext): TLSSocket {
  const secured = new TLSSocket(socket, { isServer: true, secureContext })
  // Of a failed handshake: it ends in `close` as well, which is what sessions look at.
  secured.on('_tlsError', () => {})
  return secured
}
