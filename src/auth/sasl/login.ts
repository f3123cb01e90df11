/** LOGIN: never a standard, asked for by many clients. Two questions, whose wording some of them look for. */
import { challenge, malformed, nameOf, type SaslExchange, type SaslStep, textOf } from './mechanism.ts'

export class LoginExchange implements SaslExchange {
  #user: string | undefined

  next(response: Buffer | undefined): SaslStep {
    if (response === undefined) return challenge('Username:')
    const text = textOf(response)
    if (text === undefined) return malformed('not UTF-8, or with a NUL', this.#user)
    if (this.#user !== undefined) {
      return { kind: 'password', identity: { user: this.#user, authorization: '' }, password: text }
    }
    this.#user = nameOf(text)
    return this.#user === undefined ? malformed('no user name') : challenge('Password:')
  }
}
