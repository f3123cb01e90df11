/**
 * TLS for server sessions, shared by all protocols: the certificates of `[tls]` and the
 * change of an accepted socket to TLS. A session that changes forgets what it read before: a command that was sent
 * in clear behind STARTTLS or STLS must not be carried out as if it came through TLS.
 */
import { constants } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket, type TLSSocketOptions } from 'node:tls'
import type { ActorContext } from '../actors/index.ts'
import type { CertificateFiles } from '../config/schema.ts'
import type { Config } from '../config/settings.ts'

export type TlsSettings = Config['tls']

/** Ready for use with `upgradeToTls`. */
export type ServerTls = Readonly<TLSSocketOptions>

/**
 * TLS as configured; undefined when there is no certificate, or when it cannot be used: the service then goes
 * on without TLS. Loaded once per thread for each `settings` object, so that a reload, which brings a new one,
 * loads it again; what is wrong with it is logged then.
 */
export function serverTls(
  context: Pick<ActorContext, 'local' | 'log'>,
  settings: TlsSettings,
): ServerTls | undefined {
  if (settings.cert === '' || settings.mode === 'no') return undefined
  const loaded = context.local('server-tls', () => new WeakMap<TlsSettings, ServerTls | 'unusable'>())
  let known = loaded.get(settings)
  if (known === undefined) {
    known = load(context, settings) ?? 'unusable'
    loaded.set(settings, known)
  }
  return known === 'unusable' ? undefined : known
}

function load(context: Pick<ActorContext, 'log'>, settings: TlsSettings): ServerTls | undefined {
  const secureContext = certificate(context, settings, settings)
  if (secureContext === undefined) return undefined
  const named = new Map<string, SecureContext>()
  for (const [name, files] of Object.entries(settings.sni)) {
    // A certificate that cannot be used does not take the others with it: that name gets the general one.
    const usable = certificate(context, files, settings)
    if (usable !== undefined) named.set(name, usable)
  }
  return {
    isServer: true,
    secureContext,
    ...(named.size > 0 && {
      SNICallback: (name, done) => {
        const asked = name.toLowerCase()
        done(null, named.get(asked) ?? named.get(asked.replace(/^[^.]*/, '*')))
      },
    }),
    // What is wrong with a client's certificate is the session's to say.
    ...(settings.client_cert.ca !== '' && { requestCert: true, rejectUnauthorized: false }),
  }
}

function certificate(
  context: Pick<ActorContext, 'log'>,
  files: CertificateFiles,
  settings: TlsSettings,
): SecureContext | undefined {
  const found = certificateOf(files, settings)
  if ('secureContext' in found) return found.secureContext
  const { cert, key } = files
  context.log.error(
    { event: 'tls.unusable', cert, key, error: found.problem },
    'the certificate cannot be used: no TLS',
  )
  return undefined
}

/** A certificate ready for use, or what is wrong with it. */
export function certificateOf(
  { cert, key }: CertificateFiles,
  { min_version, ciphers, client_cert }: TlsSettings,
): { readonly secureContext: SecureContext } | { readonly problem: string } {
  try {
    const secureContext = createSecureContext({
      cert: readFileSync(cert),
      key: readFileSync(key === '' ? cert : key),
      minVersion: min_version,
      // A handshake costs us more than the client: one for each connection.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      ...(ciphers !== '' && { ciphers }),
      ...(client_cert.ca !== '' && { ca: readFileSync(client_cert.ca) }),
    })
    return { secureContext }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    // The system's errors of the file, OpenSSL's of what is in it.
    if (code === undefined) throw error
    return { problem: message }
  }
}

/**
 * Puts TLS on an accepted socket, as its server. The handshake begins when the client speaks; what is written before
 * it is done waits. Emits `secure` when it is done. Listeners for data on `socket` itself have to be gone. `alpn`: a
 * client that names protocols has to name this one.
 */
export function upgradeToTls(socket: Socket, tls: ServerTls, alpn?: string): TLSSocket {
  const secured = new TLSSocket(socket, { ...tls, ...(alpn !== undefined && { ALPNProtocols: [alpn] }) })
  // Of a failed handshake: it ends in `close` as well, which is what sessions look at.
  secured.on('_tlsError', () => {})
  return secured
}

export interface TlsFacts {
  /** `TLSv1.3`. */
  readonly version: string
  readonly cipher: string
}

/**
 * To be read when the handshake is done, and kept: a connection that broke within it must not be asked, as Node 24 then
 * reads what is no longer there, and the process ends.
 */
export const tlsFacts = (secured: TLSSocket): TlsFacts => ({
  version: secured.getProtocol() ?? 'unknown',
  cipher: secured.getCipher().standardName,
})

/** Common name of the certificate that a client has shown; undefined: none, or nobody we know has signed it. */
export function verifiedName(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket) || socket.destroyed) return undefined
  const { CN } = socket.getPeerCertificate().subject ?? {}
  // Not `authorized`: that is set where a server of Node's looks at it, and we are none.
  const problem = (socket as unknown as { ssl: { verifyError(): Error | null } }).ssl.verifyError()
  return problem === null && typeof CN === 'string' && CN !== '' ? CN : undefined
}
