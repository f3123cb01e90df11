/**
 * Fetches a policy, RFC 8461 section 3.3: by HTTPS, from a server with a certificate for `mta-sts.DOMAIN`, no
 * redirects, nothing cached on the way, bounded in size and time.
 */
import { type RequestOptions, request } from 'node:https'
import type { SecureContext } from 'node:tls'
import { type FindAddresses, lookupWith } from '../https-lookup.ts'

/** What a fetch came to; `type` is of RFC 8460 section 4.3. */
export type FetchResult =
  | { readonly ok: true; readonly text: string }
  | {
      readonly ok: false
      readonly type: 'sts-policy-fetch-error' | 'sts-webpki-invalid' | 'sts-policy-invalid'
      readonly reason: string
    }

export interface FetchOptions {
  readonly context: SecureContext
  /** Where to connect to, `address:port`; empty: to an address of the name, port 443. */
  readonly address: string
  readonly resolve: FindAddresses
  readonly timeoutMs: number
}

/** Policies are small: RFC 8461 section 3.3 suggests this limit. */
const maxOctets = 64 * 1024

/** Never rejects. */
export function fetchPolicy(domain: string, options: FetchOptions): Promise<FetchResult> {
  const host = `mta-sts.${domain}`
  const [, elsewhere = host, port = '443'] = /^\[?(.*?)\]?:(\d+)$/.exec(options.address) ?? []
  const failed = (
    reason: string,
    type: Extract<FetchResult, { ok: false }>['type'] = 'sts-policy-fetch-error',
  ): FetchResult => ({ ok: false, type, reason: `https://${host}: ${reason}` })
  return new Promise((resolve) => {
    let isHandshake = false
    const done = (result: FetchResult) => {
      clearTimeout(timer)
      resolve(result)
      outgoing.destroy()
    }
    const outgoing = request({
      host: elsewhere,
      port,
      servername: host,
      path: '/.well-known/mta-sts.txt',
      headers: { Host: host, Accept: 'text/plain' },
      agent: false,
      secureContext: options.context,
      lookup: lookupWith(options.resolve),
    } as RequestOptions)
    outgoing.on('socket', (socket) => {
      socket.once('connect', () => {
        isHandshake = true
      })
      socket.once('secureConnect', () => {
        isHandshake = false
      })
    })
    const timer = setTimeout(() => done(failed('timed out')), options.timeoutMs)
    outgoing.on('response', (response) => {
      const { statusCode = 0, headers } = response
      // Section 3.3: redirects are not followed; only 200 is an answer.
      if (statusCode !== 200) {
        done(failed(`answered ${statusCode}`))
        return
      }
      const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase()
      if (type !== 'text/plain') {
        done(failed('is no text/plain', 'sts-policy-invalid'))
        return
      }
      const chunks: Buffer[] = []
      let octets = 0
      response.on('data', (chunk: Buffer) => {
        octets += chunk.length
        if (octets > maxOctets) done(failed(`is larger than ${maxOctets} octets`))
        else chunks.push(chunk)
      })
      response.on('end', () => {
        if (response.complete) done({ ok: true, text: Buffer.concat(chunks).toString('utf8') })
        else done(failed('connection lost'))
      })
      response.on('error', (error) => done(failed(error.message)))
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      // Between the TCP connection and the end of the handshake it is the certificate, or TLS altogether.
      done(failed(error.code ?? error.message, isHandshake ? 'sts-webpki-invalid' : undefined))
    })
    outgoing.end()
  })
}
