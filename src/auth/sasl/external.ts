/**
 * EXTERNAL, RFC 4422 appendix A: the client certificate has shown who it is. The message is the user whose mail is wanted,
 * empty for the same one's.
 */
import {
  challenge,
  malformed,
  refused,
  type SaslExchange,
  type SaslHost,
  type SaslStep,
  textOf,
} from './mechanism.ts'

export class External implements SaslExchange {
  readonly #host: SaslHost

  constructor(host: SaslHost) {
    this.#host = host
  }

  next(response: Buffer | undefined): SaslStep {
    if (response === undefined) return challenge('')
    const user = this.#host.certificateName
    const authorization = textOf(response)
    if (authorization === undefined) return malformed('no user name', user)
    if (user === '') return refused(authorization, 'no client certificate')
    return { kind: 'success', identity: { user, authorization } }
  }
}
