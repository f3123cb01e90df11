/**
 * SCRAM, RFC 5802 (SHA-1) and RFC 7677 (SHA-256), with channel binding as -PLUS:
 *
 *     client-first = gs2-header "n=" saslname ",r=" c-nonce ["," extensions]
 *     gs2-header   = ( "n" / "y" / "p=" cb-name ) "," [ "a=" saslname ] ","
 *     server-first = "r=" c-nonce s-nonce ",s=" salt ",i=" iteration-count
 *     client-final = "c=" base64 ",r=" c-nonce s-nonce ["," extensions] ",p=" base64
 *     server-final = "v=" base64
 *
 * The last one goes out as a challenge, and success is told after the client's empty answer: neither POP3 nor SMTP has
 * room for it elsewhere. A name that nobody has gets a salt like everybody, and is refused in the end.
 */
import type { Secret } from '../schemes.ts'
import {
  deriveScramKeys,
  isScramProof,
  type ScramHash,
  type ScramKeys,
  scramIterations,
  scramServerSignature,
} from '../scram-keys.ts'
import {
  challenge,
  type Identity,
  malformed,
  nameOf,
  refused,
  type SaslExchange,
  type SaslHost,
  type SaslStep,
  textOf,
} from './mechanism.ts'
import { saslPrep } from './sasl-prep.ts'

export interface ScramOptions {
  readonly hash: ScramHash
  /** The -PLUS form. */
  readonly withBinding: boolean
}

/** What the first two messages settled. */
interface Begun {
  readonly identity: Identity
  readonly nonce: string
  /** What `c=` has to be. */
  readonly binding: string
  readonly messages: string
  readonly keys: () => Promise<ScramKeys> | undefined
}

export class Scram implements SaslExchange {
  readonly #host: SaslHost
  readonly #options: ScramOptions
  #begun: Begun | undefined
  #proven: Identity | undefined

  constructor(host: SaslHost, options: ScramOptions) {
    this.#host = host
    this.#options = options
  }

  next(response: Buffer | undefined): SaslStep | Promise<SaslStep> {
    if (response === undefined) return challenge('')
    if (this.#proven !== undefined) {
      return response.length === 0
        ? { kind: 'success', identity: this.#proven }
        : malformed('answer to the last message', this.#proven.user)
    }
    const text = textOf(response)
    if (text === undefined) return malformed('not UTF-8, or with a NUL')
    return this.#begun === undefined ? this.#first(text) : this.#final(this.#begun, text)
  }

  #first(text: string): SaslStep {
    const match = /^((?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^,]*))?,)(n=([^,]*),r=([!-+\--~]+)(?:,.*)?)$/s.exec(
      text,
    )
    if (match === null) return malformed('first message')
    const [, header = '', flag, bindingName, written = '', bare = '', writtenUser = '', clientNonce = ''] =
      match
    const user = saslName(writtenUser)
    const authorization = written === '' ? '' : saslName(written)
    if (user === undefined || authorization === undefined) return malformed('name')
    const { bindings, offersBinding } = this.#host
    if (this.#options.withBinding !== (bindingName !== undefined))
      return malformed('channel binding flag', user)
    // The client could, and believes that we cannot: somebody took the -PLUS forms out of the list on the way.
    if (flag === 'y' && offersBinding) return refused(user, 'the list of mechanisms was tampered with')
    const binding = bindingName === undefined ? Buffer.alloc(0) : bindings.get(bindingName)
    if (binding === undefined) return refused(user, 'unknown kind of channel binding')

    const nonce = clientNonce + this.#host.nonce()
    const { salt, iterations, keys } = this.#keysOf(user)
    const serverFirst = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`
    this.#begun = {
      identity: { user, authorization },
      nonce,
      binding: Buffer.concat([Buffer.from(header), binding]).toString('base64'),
      messages: `${bare},${serverFirst}`,
      keys,
    }
    return challenge(serverFirst)
  }

  async #final({ identity, nonce, binding, messages, keys }: Begun, text: string): Promise<SaslStep> {
    const match = /^(c=([A-Za-z0-9+/=]*),r=([!-+\--~]+)(?:,[A-Za-z]=[^,]*)*),p=([A-Za-z0-9+/]+=*)$/s.exec(
      text,
    )
    if (match === null) return malformed('final message', identity.user)
    const [, withoutProof = '', givenBinding, givenNonce, proof = ''] = match
    if (givenNonce !== nonce) return refused(identity.user, 'nonce of another exchange')
    if (givenBinding !== binding) return refused(identity.user, 'bound to another channel')
    const derived = await keys()
    if (derived === undefined)
      return refused(identity.user, 'unknown user, or a password of which SCRAM cannot be made')
    const authMessage = `${messages},${withoutProof}`
    if (!isScramProof(derived, authMessage, Buffer.from(proof, 'base64'))) {
      return refused(identity.user, 'wrong password')
    }
    this.#proven = identity
    return challenge(`v=${scramServerSignature(derived, authMessage).toString('base64')}`)
  }

  #keysOf(user: string): Pick<ScramKeys, 'salt' | 'iterations'> & Pick<Begun, 'keys'> {
    const { hash } = this.#options
    const secret = this.#host.secretOf(user)
    if (isKeysFor(secret, hash)) return { ...secret.keys, keys: () => Promise.resolve(secret.keys) }
    const salt = this.#host.saltFor(user)
    const iterations = scramIterations
    if (secret?.kind !== 'plain') return { salt, iterations, keys: () => undefined }
    const password = saslPrep(secret.password) ?? secret.password
    return { salt, iterations, keys: () => deriveScramKeys(password, { hash, salt, iterations }) }
  }
}

function isKeysFor(
  secret: Secret | undefined,
  hash: ScramHash,
): secret is Extract<Secret, { kind: 'scram' }> {
  return secret?.kind === 'scram' && secret.keys.hash === hash
}

/** `=2C` is a comma and `=3D` the equals sign; no other `=` may be there. */
function saslName(text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined
  return nameOf(text.replaceAll('=2C', ',').replaceAll('=3D', '='))
}
