/**
 * SASL mechanisms from the client's side, RFC 4422: what is said first, and what answers a challenge. A mechanism knows
 * no socket; it throws `SaslClientError` when the server's part makes no sense or is not who it claims to be.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { saslPrep } from '../../../../auth/sasl/sasl-prep.ts'
import { type ScramHash, scramClientKeys } from '../../../../auth/scram-keys.ts'

export interface SaslAccount {
  readonly user: string
  readonly password: string
  /** Whose name is asked for; empty: the user's own. */
  readonly authorization: string
}

/** What a mechanism does and does not protect from, in the words of `sasl_security_options`. */
export type SaslProperty =
  | 'noplaintext'
  | 'noactive'
  | 'nodictionary'
  | 'noanonymous'
  | 'mutual_auth'
  | 'forward_secrecy'

export class SaslClientError extends Error {}

export interface ClientExchange {
  /** Octets sent with AUTH; undefined: the server speaks first. */
  initial(): Buffer | undefined
  answer(challenge: Buffer): Buffer | Promise<Buffer>
  /** Whether the server has shown all that it has to, so that its word of success counts. */
  readonly isSatisfied: boolean
}

export interface ClientMechanism {
  readonly name: string
  readonly properties: readonly SaslProperty[]
  /** Needs a channel binding of this kind, RFC 5056. */
  readonly binds?: boolean
  start(account: SaslAccount, context: SaslContext): ClientExchange
}

export interface SaslContext {
  readonly host: string
  readonly port: number
  /** `tls-exporter` or `tls-unique` of the connection, if there is one. */
  readonly binding?: ChannelBinding
}

export interface ChannelBinding {
  readonly name: string
  readonly data: Buffer
}

const empty = Buffer.alloc(0)
const hidden: readonly SaslProperty[] = ['noplaintext', 'noanonymous']
const open: readonly SaslProperty[] = ['noanonymous']

/**
 * What we have to say, in this order. A server that goes on asking gets `afterwards`, so that it comes to its reason; it
 * does not know what it does, and its word of success does not count.
 */
class Saying implements ClientExchange {
  readonly #messages: ((challenge: Buffer) => Buffer)[]
  readonly #speaksFirst: boolean
  readonly #afterwards: Buffer
  isSatisfied = true

  constructor(
    messages: readonly ((challenge: Buffer) => Buffer)[],
    { speaksFirst = true, afterwards = empty } = {},
  ) {
    this.#messages = [...messages]
    this.#speaksFirst = speaksFirst
    this.#afterwards = afterwards
  }

  initial(): Buffer | undefined {
    return this.#speaksFirst ? this.answer(empty) : undefined
  }

  answer(challenge: Buffer): Buffer {
    const message = this.#messages.shift()
    if (message !== undefined) return message(challenge)
    this.isSatisfied = false
    return this.#afterwards
  }
}

/** RFC 4616. */
const plain: ClientMechanism = {
  name: 'PLAIN',
  properties: open,
  start: ({ user, password, authorization }) =>
    new Saying([() => Buffer.from(`${authorization}\0${user}\0${password}`)]),
}

/** Never an RFC: the name, then the password, whatever the server asks. */
const login: ClientMechanism = {
  name: 'LOGIN',
  properties: open,
  start: ({ user, password }) =>
    new Saying([() => Buffer.from(user), () => Buffer.from(password)], { speaksFirst: false }),
}

/** RFC 2195. One challenge, or a server could have as many pairs to guess the password from as it likes. */
const cramMd5: ClientMechanism = {
  name: 'CRAM-MD5',
  properties: hidden,
  start: ({ user, password }) => {
    const digest = (challenge: Buffer) => createHmac('md5', password).update(challenge).digest('hex')
    return new Saying([(challenge) => Buffer.from(`${user} ${digest(challenge)}`)], { speaksFirst: false })
  },
}

/** Google's and Microsoft's. A JSON challenge says why it failed, and wants an empty answer. */
const xoauth2: ClientMechanism = {
  name: 'XOAUTH2',
  properties: open,
  start: ({ user, password }) =>
    new Saying([() => Buffer.from(`user=${user}\x01auth=Bearer ${password}\x01\x01`)]),
}

/** RFC 7628. The answer to an error is a lone %x01. */
const oauthBearer: ClientMechanism = {
  name: 'OAUTHBEARER',
  properties: open,
  start: ({ user, password }, { host, port }) => {
    const first = Buffer.from(
      `n,a=${saslName(user)},\x01host=${host}\x01port=${port}\x01auth=Bearer ${password}\x01\x01`,
    )
    return new Saying([() => first], { afterwards: Buffer.from('\x01') })
  },
}

/** RFC 5802 and RFC 7677. */
class ScramExchange implements ClientExchange {
  readonly #account: SaslAccount
  readonly #hash: ScramHash
  readonly #header: string
  readonly #binding: Buffer
  readonly #nonce = randomBytes(18).toString('base64')
  #stage: 'first' | 'final' | 'verify' | 'done' = 'first'
  #serverSignature: Buffer = empty

  constructor(account: SaslAccount, hash: ScramHash, binding: ChannelBinding | undefined) {
    this.#account = account
    this.#hash = hash
    this.#binding = binding?.data ?? empty
    const flag = binding === undefined ? 'n' : `p=${binding.name}`
    const { authorization } = account
    this.#header = `${flag},${authorization === '' ? '' : `a=${saslName(authorization)}`},`
  }

  get isSatisfied(): boolean {
    return this.#stage === 'done'
  }

  get #bare(): string {
    const user = saslPrep(this.#account.user) ?? this.#account.user
    return `n=${saslName(user)},r=${this.#nonce}`
  }

  initial(): Buffer {
    this.#stage = 'final'
    return Buffer.from(this.#header + this.#bare)
  }

  answer(challenge: Buffer): Buffer | Promise<Buffer> {
    switch (this.#stage) {
      case 'first':
        return this.initial()
      case 'final':
        return this.#final(challenge.toString())
      case 'verify':
        return this.#verify(challenge.toString())
      default:
        return empty
    }
  }

  async #final(serverFirst: string): Promise<Buffer> {
    const match = /^r=([!-+\--~]+),s=([A-Za-z0-9+/]+=*),i=(\d{1,8})(?:,.*)?$/.exec(serverFirst)
    if (match === null) throw new SaslClientError('the SCRAM challenge cannot be understood')
    const [, nonce = '', salt = '', iterations = ''] = match
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce)
      throw new SaslClientError('the SCRAM challenge is not an answer to ours')
    const count = Number(iterations)
    if (count < 1 || count > maxIterations)
      throw new SaslClientError('the SCRAM challenge asks for too much work')
    const password = saslPrep(this.#account.password) ?? this.#account.password
    const binding = Buffer.concat([Buffer.from(this.#header), this.#binding]).toString('base64')
    const withoutProof = `c=${binding},r=${nonce}`
    const { proof, serverSignature } = await scramClientKeys(
      password,
      { hash: this.#hash, salt: Buffer.from(salt, 'base64'), iterations: count },
      `${this.#bare},${serverFirst},${withoutProof}`,
    )
    this.#serverSignature = serverSignature
    this.#stage = 'verify'
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`)
  }

  #verify(serverFinal: string): Buffer {
    const signature = Buffer.from(/^v=([A-Za-z0-9+/]+=*)/.exec(serverFinal)?.[1] ?? '', 'base64')
    const ours = this.#serverSignature
    if (signature.length !== ours.length || !timingSafeEqual(signature, ours))
      throw new SaslClientError('the server does not know the password itself')
    this.#stage = 'done'
    return empty
  }
}

/** More would take minutes. */
const maxIterations = 1_000_000

const scram = (hash: ScramHash, binds: boolean): ClientMechanism => ({
  name: `SCRAM-${hash === 'sha1' ? 'SHA-1' : 'SHA-256'}${binds ? '-PLUS' : ''}`,
  properties: ['noplaintext', 'noactive', 'noanonymous', 'mutual_auth'],
  ...(binds ? { binds } : {}),
  start: (account, { binding }) => new ScramExchange(account, hash, binds ? binding : undefined),
})

function saslName(text: string): string {
  return text.replaceAll('=', '=3D').replaceAll(',', '=2C')
}

/** Best first. What needs a token for a password comes last: it is chosen when nothing else is offered, or by filter. */
export const clientMechanisms: readonly ClientMechanism[] = [
  scram('sha256', true),
  scram('sha1', true),
  scram('sha256', false),
  scram('sha1', false),
  cramMd5,
  plain,
  login,
  oauthBearer,
  xoauth2,
]
