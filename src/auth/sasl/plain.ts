/**
 * PLAIN, RFC 4616:
 *
 *     message = [authzid] UTF8NUL authcid UTF8NUL passwd
 */
import { isUtf8 } from 'node:buffer'
import { challenge, malformed, nameOf, type SaslExchange, type SaslStep } from './mechanism.ts'

export class Plain implements SaslExchange {
  next(response: Buffer | undefined): SaslStep {
    if (response === undefined) return challenge('')
    if (!isUtf8(response)) return malformed('not UTF-8')
    const [authorization = '', written = '', password, ...more] = response.toString('utf8').split('\0')
    if (password === undefined || more.length > 0) return malformed('not three fields')
    const user = nameOf(written)
    if (user === undefined) return malformed('no user name')
    return { kind: 'password', identity: { user, authorization }, password }
  }
}
