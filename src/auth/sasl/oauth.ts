/**
 * Bearer tokens instead of passwords: OAUTHBEARER (RFC 7628) and XOAUTH2, its predecessor.
 *
 *     OAUTHBEARER = gs2-header %x01 *( key "=" value %x01 ) %x01        ; gs2-header as in SCRAM, key `auth`
 *     XOAUTH2     = "user=" name %x01 "auth=Bearer " token %x01 %x01
 *
 * A refusal is told as a challenge of JSON; whatever the client answers, the exchange then fails (RFC 7628 section 3.2.3).
 */
import {
  challenge,
  malformed,
  nameOf,
  refused,
  type SaslExchange,
  type SaslFailure,
  type SaslHost,
  type SaslStep,
  textOf,
} from './mechanism.ts'

type Status = 'invalid_request' | 'invalid_token' | 'insufficient_scope'

/** What XOAUTH2 says instead. */
const httpStatus: Readonly<Record<Status, string>> = {
  invalid_request: '400',
  invalid_token: '401',
  insufficient_scope: '403',
}

interface Claim {
  readonly user: string
  readonly token: string
}

export class OAuth implements SaslExchange {
  readonly #host: SaslHost
  readonly #kind: 'OAUTHBEARER' | 'XOAUTH2'
  #failure: SaslFailure | undefined

  constructor(host: SaslHost, kind: 'OAUTHBEARER' | 'XOAUTH2') {
    this.#host = host
    this.#kind = kind
  }

  next(response: Buffer | undefined): SaslStep | Promise<SaslStep> {
    if (this.#failure !== undefined) return this.#failure
    if (response === undefined) return challenge('')
    const text = textOf(response) ?? ''
    const claim = this.#kind === 'OAUTHBEARER' ? bearerClaim(text) : xoauth2Claim(text)
    if (claim === undefined) return this.#fail('invalid_request', malformed('no user and token'))
    return this.#check(claim)
  }

  async #check({ user, token }: Claim): Promise<SaslStep> {
    const verdict = await this.#host.checkToken(token)
    if (!verdict.ok) {
      if (verdict.status === 'internal')
        return { kind: 'failure', reason: 'internal', user, detail: verdict.detail }
      return this.#fail(verdict.status, refused(user, verdict.detail))
    }
    if (verdict.user.toLowerCase() !== user.toLowerCase()) {
      return this.#fail('invalid_token', refused(user, 'the token is of another user'))
    }
    return { kind: 'success', identity: { user, authorization: '' } }
  }

  #fail(status: Status, failure: SaslFailure): SaslStep {
    this.#failure = { ...failure, reason: 'credentials' }
    const { scope, openidConfiguration } = this.#host.tokenHints
    const told =
      this.#kind === 'XOAUTH2' ? { status: httpStatus[status], schemes: 'bearer', scope } : { status, scope }
    return challenge(
      JSON.stringify(
        openidConfiguration === '' ? told : { ...told, 'openid-configuration': openidConfiguration },
      ),
    )
  }
}

function bearerClaim(text: string): Claim | undefined {
  const match = /^[ny],(?:a=([^,\x01]*))?,\x01((?:[A-Za-z]+=[^\x01]*\x01)*)\x01$/.exec(text)
  if (match === null) return undefined
  const pairs = match[2]!.split('\x01')
  const auth = pairs.find((pair) => /^auth=/i.test(pair))
  return claimOf((match[1] ?? '').replaceAll('=2C', ',').replaceAll('=3D', '='), auth)
}

function xoauth2Claim(text: string): Claim | undefined {
  const match = /^user=([^\x01]*)\x01(auth=[^\x01]*)\x01\x01$/i.exec(text)
  return match === null ? undefined : claimOf(match[1]!, match[2])
}

/** The token is a `b64token` of RFC 6750 section 2.1. */
function claimOf(name: string, auth: string | undefined): Claim | undefined {
  const token = /^auth=bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(auth ?? '')?.[1]
  const user = nameOf(name)
  return token === undefined || user === undefined ? undefined : { user, token }
}
