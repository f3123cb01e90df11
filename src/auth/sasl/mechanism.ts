/**
 * What all SASL mechanisms (RFC 4422) have in common on the server's side. A mechanism takes the client's octets, base64
 * already removed, and says what comes next; it knows no socket, no clock and no actor. What it needs to know of users
 * and of the connection it asks its host.
 */
import { isUtf8 } from 'node:buffer'
import type { Secret } from '../schemes.ts'
import { saslPrep } from './sasl-prep.ts'

export type SaslStep =
  /** Octets for the client, whose answer is the next input. */
  | { readonly kind: 'challenge'; readonly data: Buffer }
  /** A password to be checked: the exchange is over, and this decides. */
  | { readonly kind: 'password'; readonly identity: Identity; readonly password: string }
  /** The client has shown who it is. */
  | { readonly kind: 'success'; readonly identity: Identity }
  | SaslFailure

export interface SaslFailure {
  readonly kind: 'failure'
  /** `malformed`: not a message of this mechanism. `internal`: it could not be found out now. */
  readonly reason: 'malformed' | 'credentials' | 'internal'
  /** Who it claimed to be, as far as that is known. */
  readonly user: string
  /** For the log, not for the client. */
  readonly detail: string
}

export interface Identity {
  /** Whose credentials were given. */
  readonly user: string
  /** Whose mail is wanted; empty: the same user's. */
  readonly authorization: string
}

/** One exchange. Calls of `next` do not overlap; nothing is called after the end. */
export interface SaslExchange {
  /** Takes an answer of the client. `undefined` stands for no initial response, and comes at most once, first. */
  next(response: Buffer | undefined): SaslStep | Promise<SaslStep>
}

/** What a token is good for, see `oauth.ts`. */
export type TokenVerdict =
  | { readonly ok: true; readonly user: string }
  | {
      readonly ok: false
      readonly status: 'invalid_token' | 'insufficient_scope' | 'internal'
      readonly detail: string
    }

/** What an exchange is given. */
export interface SaslHost {
  /** Ours, for challenges. */
  readonly hostname: string
  /** Whether users here can have such a name at all. */
  isName(user: string): boolean
  /** What is kept of a user's password, if it is of use here. Undefined for users that do not exist as well. */
  secretOf(user: string): Secret | undefined
  /** A salt that is always the same for a name, and that nobody can tell from a real one. */
  saltFor(user: string): Buffer
  /** Channel bindings of this connection by their name, RFC 5056. Empty without TLS. */
  readonly bindings: ReadonlyMap<string, Buffer>
  /** Whether a mechanism with channel binding could have been chosen. */
  readonly offersBinding: boolean
  /** Common name of the client's certificate; empty: there is none that was verified. */
  readonly certificateName: string
  checkToken(token: string): Promise<TokenVerdict>
  /** What the answer to a bad token names. */
  readonly tokenHints: { readonly scope: string; readonly openidConfiguration: string }
  /** Printable text without a comma that was never there before, and that nobody can guess. */
  nonce(): string
}

export const challenge = (data: Buffer | string): SaslStep => ({
  kind: 'challenge',
  data: typeof data === 'string' ? Buffer.from(data) : data,
})

export const malformed = (detail: string, user = ''): SaslFailure => ({
  kind: 'failure',
  reason: 'malformed',
  user,
  detail,
})

export const refused = (user: string, detail: string): SaslFailure => ({
  kind: 'failure',
  reason: 'credentials',
  user,
  detail,
})

/** Octets as text; undefined when they are no UTF-8 or contain a NUL. */
export function textOf(octets: Buffer): string | undefined {
  return isUtf8(octets) && !octets.includes(0) ? octets.toString('utf8') : undefined
}

/** A user name as it is looked for (RFC 4422 section 3.4.1): prepared, not empty, without control characters. */
export function nameOf(text: string): string | undefined {
  const prepared = saslPrep(text)
  return prepared === '' ? undefined : prepared
}
