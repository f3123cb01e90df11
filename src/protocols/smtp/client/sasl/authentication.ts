/** AUTH with a server, RFC 4954: one exchange, with bounds, and no secret in what is written down of it. */
import {
  dataFailure,
  type Failure,
  LocalDataError,
  localFailure,
  replyFailure,
  softened,
} from '../failure.ts'
import type { Reply } from '../reply-parser.ts'
import type { EndCause, Session, SessionListener } from '../session.ts'
import { encodings, formsOf } from './forms.ts'
import { type ClientExchange, type ClientMechanism, type SaslAccount, SaslClientError } from './mechanisms.ts'

export interface AuthenticationOptions {
  readonly mechanism: ClientMechanism
  readonly account: SaslAccount
  readonly exchange: ClientExchange
  readonly timeoutMs: number
  /** `sasl_auth_soft_bounce`. */
  readonly softBounce: boolean
}

export interface Refusal {
  readonly failure: Failure
  /** `false`: the connection is gone. */
  readonly polite: boolean
  /** 535: these credentials will not do. */
  readonly isFinal?: boolean
}

/** A command line has so many octets at most, RFC 4954 section 4. */
const commandLimit = 512
/** Answers to challenges: a server that asks for more is playing with us. */
const maxRounds = 100

/** Resolves with undefined when the server lets us in; never rejects. The session is detached afterwards. */
export function authenticate(session: Session, options: AuthenticationOptions): Promise<Refusal | undefined> {
  return new Promise((resolve) => new Authentication(session, options, resolve).start())
}

class Authentication implements SessionListener {
  readonly #session: Session
  readonly #options: AuthenticationOptions
  readonly #resolve: (refusal: Refusal | undefined) => void
  /** The initial response did not fit and waits for an empty challenge. */
  #held: Buffer | undefined
  #rounds = 0
  #busy = false
  #over = false

  constructor(
    session: Session,
    options: AuthenticationOptions,
    resolve: (refusal: Refusal | undefined) => void,
  ) {
    this.#session = session
    this.#options = options
    this.#resolve = resolve
  }

  start(): void {
    const { mechanism, exchange, account } = this.#options
    this.#session.isAuthenticating = true
    this.#session.attach(this)
    if (this.#over) return
    for (const form of formsOf(account)) this.#session.hide(form)
    const initial = exchange.initial()
    const encoded = initial === undefined ? '' : initial.length === 0 ? '=' : initial.toString('base64')
    if (initial !== undefined) this.#hideWords(initial)
    const fits = `AUTH ${mechanism.name} ${encoded}\r\n`.length <= commandLimit
    if (initial !== undefined && !fits) this.#held = initial
    this.#send(`AUTH ${mechanism.name}`, fits ? encoded : '')
  }

  onReply(reply: Reply): void {
    // A server that does not wait for its turn.
    if (this.#busy) {
      this.#fail(localFailure('site', '4.7.0', 'the server answers out of turn'))
      return
    }
    if (reply.code >= 300 && reply.code <= 399) this.#challenged(reply)
    else if (reply.code < 200 || reply.code > 299) this.#refused(reply)
    else if (this.#options.exchange.isSatisfied) this.#end(undefined)
    else this.#fail(localFailure('site', '4.7.0', 'the server lets us in without having done its part'))
  }

  onEnd(cause: EndCause): void {
    if (this.#over) return
    const failure = this.#session.endFailure(cause, 'performing the AUTH exchange')
    this.#end({ failure, polite: false })
  }

  #challenged(reply: Reply): void {
    const text = reply.lastLine.slice(4).trim()
    if (++this.#rounds > maxRounds) {
      this.#fail(localFailure('site', '4.3.0', `the AUTH exchange has more than ${maxRounds} rounds`))
      return
    }
    const held = this.#held
    if (held !== undefined) {
      this.#held = undefined
      if (text === '') this.#send('', held.toString('base64'))
      else this.#fail(localFailure('site', '4.7.0', 'a challenge came where an empty one was due'))
      return
    }
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text) && text !== '=') {
      this.#fail(localFailure('site', '4.7.0', 'a challenge is not base64'))
      return
    }
    this.#busy = true
    void this.#answer(Buffer.from(text, 'base64'))
  }

  async #answer(challenge: Buffer): Promise<void> {
    try {
      const answer = await this.#options.exchange.answer(challenge)
      if (this.#over) return
      this.#busy = false
      this.#hideWords(answer)
      this.#send('', answer.toString('base64'))
    } catch (error) {
      if (error instanceof SaslClientError) this.#fail(localFailure('site', '4.7.0', error.message))
      else if (error instanceof LocalDataError) this.#fail(dataFailure(error.message))
      else throw error
    }
  }

  #send(command: string, response: string): void {
    this.#session.expect(this.#options.timeoutMs)
    const line = command === '' ? response : response === '' ? command : `${command} ${response}`
    this.#session.hide(response)
    this.#session.sendSecret(`${line}\r\n`, command === '' ? '(an answer)' : `${command} (and an answer)`)
  }

  /** What we say, piece by piece: digests and tokens, not the name of the user. */
  #hideWords(said: Buffer): void {
    const { user } = this.#options.account
    if (said.toString() !== user) for (const form of encodings(said)) this.#session.hide(form)
    for (const word of said.toString().split(/[ \0\x01]+/)) if (word !== user) this.#session.hide(word)
  }

  #refused(reply: Reply): void {
    const plain = replyFailure('site', reply)
    const failure = this.#options.softBounce ? softened(plain) : plain
    const { relay } = this.#session
    const reason = `authentication failed: server ${relay} said: ${this.#session.redacted(failure.reason)}`
    this.#end({ failure: { ...failure, reason }, polite: true, isFinal: reply.code === 535 })
  }

  #fail(failure: Failure): void {
    const reason = `authentication failed with ${this.#session.relay}: ${failure.reason}`
    this.#end({ failure: { ...failure, reason }, polite: true })
  }

  #end(refusal: Refusal | undefined): void {
    if (this.#over) return
    this.#over = true
    this.#session.isAuthenticating = false
    this.#session.detach()
    this.#resolve(refusal)
  }
}
