/**
 * CRAM-MD5, RFC 2195:
 *
 *     challenge = msg-id
 *     response  = username SP 32HEXDIG        ; HMAC-MD5 of the challenge, keyed with the password
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { hmacMd5From } from '../md5.ts'
import type { Secret } from '../schemes.ts'
import {
  challenge,
  malformed,
  nameOf,
  refused,
  type SaslExchange,
  type SaslHost,
  type SaslStep,
  textOf,
} from './mechanism.ts'

export class CramMd5 implements SaslExchange {
  readonly #host: SaslHost
  #challenge: string | undefined

  constructor(host: SaslHost) {
    this.#host = host
  }

  next(response: Buffer | undefined): SaslStep {
    if (this.#challenge === undefined) {
      // The server speaks first here, RFC 5034 section 4.
      if (response !== undefined) return malformed('initial response')
      this.#challenge = `<${this.#host.nonce()}@${this.#host.hostname}>`
      return challenge(this.#challenge)
    }
    const text = textOf(response ?? Buffer.alloc(0))
    // Names may have spaces: the digest is what comes behind the last one.
    const match = /^(.+) ([0-9a-f]{32})$/is.exec(text ?? '')
    const user = match === null ? undefined : nameOf(match[1]!)
    if (match === null || user === undefined) return malformed('not a name and a digest')
    const expected = hmacMd5Of(this.#host.secretOf(user), this.#challenge)
    if (expected === undefined)
      return refused(user, 'unknown user, or a password of which CRAM-MD5 cannot be made')
    return timingSafeEqual(expected, Buffer.from(match[2]!, 'hex'))
      ? { kind: 'success', identity: { user, authorization: '' } }
      : refused(user, 'wrong password')
  }
}

function hmacMd5Of(secret: Secret | undefined, message: string): Buffer | undefined {
  if (secret?.kind === 'plain') return createHmac('md5', secret.password).update(message).digest()
  if (secret?.kind === 'hmac-md5') return hmacMd5From(secret.state, Buffer.from(message))
  return undefined
}
