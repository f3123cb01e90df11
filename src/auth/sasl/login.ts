/** LOGIN: never a standard, asked for by many clients. Two questions, whose wording some of them look for. */
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

export class LoginExchange implements SaslExchange {
  readonly #host: Pick<SaslHost, 'isName'>
  #wasAsked = false
  #user: string | undefined

  constructor(host: Pick<SaslHost, 'isName'>) {
    this.#host = host
  }

  next(response: Buffer | undefined): SaslStep {
    const isFirst = !this.#wasAsked
    this.#wasAsked = true
    // An empty initial response says no more than none.
    if (response === undefined || (isFirst && response.length === 0)) return challenge('Username:')
    const text = textOf(response)
    if (text === undefined) return malformed('not UTF-8, or with a NUL', this.#user)
    if (this.#user !== undefined) {
      return { kind: 'password', identity: { user: this.#user, authorization: '' }, password: text }
    }
    this.#user = nameOf(text)
    if (this.#user === undefined) return malformed('no user name')
    return this.#host.isName(this.#user)
      ? challenge('Password:')
      : refused(this.#user, 'no name that users have')
  }
}
