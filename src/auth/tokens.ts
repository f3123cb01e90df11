/**
 * Checks the bearer tokens of OAUTHBEARER and XOAUTH2: by their signature with keys of a file (JWT, RFC 7519), or by asking
 * the server that made them (introspection, RFC 7662).
 */
import { readFileSync, statSync } from 'node:fs'
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTPayload, jwtVerify } from 'jose'
import type { Config } from '../config/settings.ts'
import type { TokenVerdict } from './sasl/mechanism.ts'

export type TokenSettings = Pick<
  Config['auth'],
  | 'oauth2_jwks'
  | 'oauth2_issuers'
  | 'oauth2_audience'
  | 'oauth2_scope'
  | 'oauth2_username_attribute'
  | 'oauth2_introspection_url'
  | 'oauth2_introspection_mode'
  | 'oauth2_client_id'
  | 'oauth2_client_secret'
  | 'oauth2_active_attribute'
  | 'oauth2_active_value'
  | 'oauth2_timeout'
  | 'oauth2_token_expire_grace'
>

type Fields = { readonly [name: string]: unknown }

/** Introspections at once; more are "not now". */
const maxRunning = 100
/** An answer about one token is short. */
const maxAnswerOctets = 64 * 1024

const bad = (detail: string): TokenVerdict => ({ ok: false, status: 'invalid_token', detail })
const notNow = (detail: string): TokenVerdict => ({ ok: false, status: 'internal', detail })

export class Tokens {
  readonly #settings: TokenSettings
  #keys: ReturnType<typeof createLocalJWKSet> | undefined
  #keysStamp = ''
  #running = 0

  constructor(settings: TokenSettings) {
    this.#settings = settings
  }

  /** Never rejects. */
  async check(token: string): Promise<TokenVerdict> {
    if (this.#settings.oauth2_jwks !== '') return await this.#checkHere(token)
    if (this.#settings.oauth2_introspection_url === '') return notNow('no way to check tokens is configured')
    if (this.#running >= maxRunning) return notNow('too many tokens are being checked')
    this.#running++
    try {
      return await this.#ask(token)
    } catch (error) {
      return notNow(`introspection: ${(error as Error).message}`)
    } finally {
      this.#running--
    }
  }

  async #checkHere(token: string): Promise<TokenVerdict> {
    const { oauth2_issuers, oauth2_audience, oauth2_token_expire_grace } = this.#settings
    let keys: ReturnType<typeof createLocalJWKSet>
    try {
      keys = this.#readKeys()
    } catch (error) {
      return notNow(`oauth2_jwks: ${(error as Error).message}`)
    }
    try {
      const { payload } = await jwtVerify<JWTPayload>(token, keys, {
        ...(oauth2_issuers.length === 0 ? {} : { issuer: [...oauth2_issuers] }),
        ...(oauth2_audience === '' ? {} : { audience: oauth2_audience }),
        clockTolerance: oauth2_token_expire_grace / 1000,
        // One that never ends cannot be taken back.
        requiredClaims: ['exp'],
      })
      return this.#verdict(payload)
    } catch (error) {
      if (error instanceof errors.JOSEError) return bad(error.message)
      return notNow((error as Error).message)
    }
  }

  #readKeys(): ReturnType<typeof createLocalJWKSet> {
    const { oauth2_jwks } = this.#settings
    const { ino, size, mtimeNs } = statSync(oauth2_jwks, { bigint: true })
    const stamp = `${ino} ${size} ${mtimeNs}`
    if (this.#keys === undefined || stamp !== this.#keysStamp) {
      this.#keys = createLocalJWKSet(JSON.parse(readFileSync(oauth2_jwks, 'utf8')) as JSONWebKeySet)
      this.#keysStamp = stamp
    }
    return this.#keys
  }

  async #ask(token: string): Promise<TokenVerdict> {
    const response = await fetch(...this.#request(token))
    if (response.status === 400 || response.status === 401) {
      await response.body?.cancel()
      // With `post` it is we who are not known there.
      const isOurs = this.#settings.oauth2_introspection_mode === 'post'
      return isOurs ? notNow(`introspection: status ${response.status}`) : bad('refused by introspection')
    }
    if (!response.ok) {
      await response.body?.cancel()
      return notNow(`introspection: status ${response.status}`)
    }
    const fields: unknown = JSON.parse(await bounded(response))
    if (typeof fields !== 'object' || fields === null) return notNow('introspection: no JSON object')
    const { oauth2_active_attribute, oauth2_active_value, oauth2_issuers } = this.#settings
    const answer = fields as Fields
    if (oauth2_active_attribute !== '' && String(answer[oauth2_active_attribute]) !== oauth2_active_value) {
      return bad('the token is not active')
    }
    if (oauth2_issuers.length > 0 && !oauth2_issuers.includes(String(answer.iss)))
      return bad('another issuer')
    return this.#verdict(answer)
  }

  #request(token: string): [URL, RequestInit] {
    const { oauth2_introspection_mode, oauth2_client_id, oauth2_client_secret, oauth2_timeout } =
      this.#settings
    const written = this.#settings.oauth2_introspection_url
    const headers: { [name: string]: string } = { accept: 'application/json' }
    if (oauth2_client_id !== '') {
      const [id, secret] = [oauth2_client_id, oauth2_client_secret].map(encodeURIComponent)
      headers.authorization = `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`
    }
    // A redirect would take the token to who knows where.
    const common = { redirect: 'error' as const, signal: AbortSignal.timeout(oauth2_timeout) }
    switch (oauth2_introspection_mode) {
      case 'auth':
        return [new URL(written), { ...common, headers: { ...headers, authorization: `Bearer ${token}` } }]
      case 'get':
        return [new URL(written + encodeURIComponent(token)), { ...common, headers }]
      case 'post': {
        const body = new URLSearchParams({ token, token_type_hint: 'access_token' })
        return [new URL(written), { ...common, method: 'POST', headers, body }]
      }
    }
  }

  #verdict(fields: Fields): TokenVerdict {
    const { oauth2_username_attribute, oauth2_scope } = this.#settings
    const granted = fields.scope
    const scopes = Array.isArray(granted) ? granted.map(String) : String(granted ?? '').split(' ')
    const missing = oauth2_scope.split(' ').find((scope) => scope !== '' && !scopes.includes(scope))
    if (missing !== undefined) {
      return { ok: false, status: 'insufficient_scope', detail: `scope ${missing} is missing` }
    }
    const user = fields[oauth2_username_attribute]
    return typeof user === 'string' && user !== ''
      ? { ok: true, user }
      : bad(`the token has no ${oauth2_username_attribute}`)
  }
}

async function bounded(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let octets = 0
  for await (const chunk of response.body ?? []) {
    octets += (chunk as Uint8Array).length
    if (octets > maxAnswerOctets) throw new Error('answer too long')
    chunks.push(chunk as Uint8Array)
  }
  return Buffer.concat(chunks).toString('utf8')
}
