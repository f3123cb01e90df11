/**
 * The AUTHORIZATION state, RFC 1939 section 4, with SASL of RFC 5034 and the response codes of RFC 3206. Decides
 * about lines; the session sends, checks passwords and opens the mailbox. No socket and no clock.
 */
import { isCleartext, offeredMechanisms } from '../../auth/sasl/offer.ts'
import { decodeSasl, encodeSasl } from '../server-sasl.ts'
import { capabilities, language } from './capabilities.ts'
import { printable } from './command.ts'
import type { CapaSettings } from './config.ts'
import type { AbortCode } from './session-log.ts'
import { parseXclient, type XclientFacts } from './xclient.ts'

/** What the session does next. */
export type Step =
  | { readonly kind: 'reply'; readonly line: string }
  /** A login that is not even begun; `code`: why, for the log, which also tells who tried and how. */
  | {
      readonly kind: 'refused'
      readonly line: string
      readonly code: AbortCode
      readonly user: string
      readonly method: string
    }
  /** A multi-line answer, line ends included. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'verify'; readonly user: string; readonly password: string; readonly method: string }
  /** APOP, to be checked against the stamp of the greeting. */
  | { readonly kind: 'apop'; readonly user: string; readonly digest: string }
  /** Begins a SASL exchange; undefined: without initial response. */
  | { readonly kind: 'sasl'; readonly mechanism: string; readonly initial: Buffer | undefined }
  /** The answer to a challenge. */
  | { readonly kind: 'response'; readonly data: Buffer }
  /** The exchange is given up. */
  | { readonly kind: 'cancel'; readonly line: string; readonly code: AbortCode }
  | { readonly kind: 'starttls' }
  /** A proxy says for whom it comes; the answer is `line`. */
  | { readonly kind: 'xclient'; readonly facts: XclientFacts; readonly line: string }
  | { readonly kind: 'close'; readonly line: string; readonly reason: string }

export interface AuthorizationOptions {
  /** Whether passwords may be sent as things are: TLS, this very machine, or allowed by configuration. */
  readonly cleartext: boolean
  /** There is TLS, and it ends here. */
  readonly tls: boolean
  readonly stls: boolean
  /** Whether nothing at all is taken that is not `cleartext`: `tls.mode` is `required`. */
  readonly tlsRequired: boolean
  /** Common name of the certificate that the client has shown us or the load balancer, asked when it matters: the handshake comes first. */
  readonly certificateName: () => string | undefined
  readonly clientCertificates: { readonly require: boolean; readonly username: boolean }
  /** May say XCLIENT. */
  readonly trusted: boolean
  readonly capa: CapaSettings
  /** As configured; those that do not fit the connection are left out. */
  readonly mechanisms: readonly string[]
  /** Whether the greeting had a stamp. */
  readonly apop: boolean
  readonly maxBadCommands: number
}

const reply = (line: string): Step => ({ kind: 'reply', line })
const refused = (line: string, code: AbortCode, { user = '', method = '' }): Step => ({
  kind: 'refused',
  line,
  code,
  user: textOf(user),
  method,
})

const refusedInClear = (tried: { user?: string | undefined; method?: string }): Step =>
  refused('-ERR [AUTH] passwords are not taken on a connection without TLS', 'cleartext_auth_disabled', tried)

const needsCertificate = '-ERR [AUTH] logins need a client certificate'
/** Not what the mechanism says. */
export const malformed = '-ERR [AUTH] malformed authentication data'

export class Authorization {
  #options: AuthorizationOptions
  #user: string | undefined
  #inExchange = false
  #badCommands = 0
  /** The client has said UTF8 (RFC 6856). */
  utf8 = false

  constructor(options: AuthorizationOptions) {
    this.#options = options
  }

  /** The connection has TLS now: passwords are safe, and what was said in clear does not count. */
  secured(): void {
    this.#options = { ...this.#options, cleartext: true, tls: true, stls: false }
    this.#user = undefined
    this.#inExchange = false
    this.#badCommands = 0
    this.utf8 = false
  }

  /** Whether the next line answers a challenge, and so may be long. */
  get inExchange(): boolean {
    return this.#inExchange
  }

  /** The line of a challenge; the next line of the client answers it. */
  challenge(data: Uint8Array): string {
    this.#inExchange = true
    return `+ ${encodeSasl(data)}`
  }

  /** SASL mechanisms that can be used now. */
  get mechanisms(): readonly string[] {
    const { mechanisms, cleartext, tls, tlsRequired, certificateName } = this.#options
    if (tlsRequired && !cleartext) return []
    const needsCertificate = mechanisms.some((name) => name.toUpperCase() === 'EXTERNAL')
    const certificate = needsCertificate && certificateName() !== undefined
    return offeredMechanisms(mechanisms, { cleartext, tls, certificate })
  }

  /** What CAPA shows. */
  capabilities(loggedIn: boolean): string {
    const { cleartext, stls, capa } = this.#options
    return capabilities({
      mechanisms: this.mechanisms,
      user: cleartext || loggedIn,
      stls: stls && !loggedIn,
      loggedIn,
      capa,
    })
  }

  /** Takes one line without its end. */
  line(text: string): Step {
    if (this.#inExchange) return this.#respond(text)
    const { verb, argument } = splitLine(text)
    if (text.includes('\0')) return this.#bad('-ERR a command must not contain NUL octets')
    const step = this.#command(verb, argument)
    if (step === undefined) return this.#bad(`-ERR unknown command: ${printable(verbOf(text))}`)
    // As Dovecot counts.
    if (verb !== 'AUTH') this.#badCommands = 0
    return step
  }

  #command(verb: string, argument: string): Step | undefined {
    switch (verb) {
      case 'CAPA':
        return { kind: 'text', text: this.capabilities(false) }
      case 'USER':
        // The name is what follows the first space, as it stands.
        this.#user = argument
        if (!this.#options.cleartext) return refusedInClear({ user: argument })
        return reply('+OK')
      case 'PASS': {
        const user = this.#user
        this.#user = undefined
        if (!this.#options.cleartext) return refusedInClear({ user })
        if (user === undefined) return reply('-ERR send USER first')
        if (this.#lacksCertificate)
          return refused(needsCertificate, 'client_ssl_cert_missing', { user, method: 'PLAIN' })
        // Spaces are part of the password, RFC 1939 section 7.
        return verify(this.#userName(user), argument, 'PLAIN')
      }
      case 'APOP':
        return this.#apop(argument)
      case 'AUTH':
        return this.#auth(argument)
      case 'STLS':
        if (!this.#options.stls) return reply('-ERR TLS cannot be started here')
        this.#user = undefined
        return { kind: 'starttls' }
      case 'QUIT':
        return { kind: 'close', line: '+OK goodbye', reason: 'Aborted login' }
      case 'XCLIENT':
      case 'XOIP':
        return this.#xclient(verb, argument)
      case 'UTF8':
        if (!this.#options.capa.utf8) return undefined
        this.utf8 = true
        return reply('+OK UTF-8 it is')
      case 'LANG':
        return this.#options.capa.lang ? { kind: 'text', text: language(argument.trimStart()) } : undefined
      default:
        return undefined
    }
  }

  /** Proxies send it without looking at the answer: from those that are not trusted it changes nothing. */
  #xclient(verb: string, argument: string): Step {
    if (!this.#options.trusted) return reply('+OK')
    const facts = parseXclient(verb === 'XOIP' ? `ADDR=${argument}` : argument)
    if (facts === undefined) return reply('-ERR invalid client data')
    if (facts.tls === true) this.#options = { ...this.#options, cleartext: true, stls: false }
    return { kind: 'xclient', facts, line: '+OK' }
  }

  get #lacksCertificate(): boolean {
    return this.#options.clientCertificates.require && this.#options.certificateName() === undefined
  }

  /** Octets of the name that counts. */
  #userName(given: string): string {
    if (!this.#options.clientCertificates.username) return given
    const name = this.#options.certificateName()
    return name === undefined ? given : Buffer.from(name, 'utf8').toString('latin1')
  }

  /** APOP name digest, RFC 1939 section 7. */
  #apop(argument: string): Step {
    if (!this.#options.apop) return reply('-ERR APOP is not offered')
    const { 1: user, 2: digest } = /^([^ ]*) ([0-9a-f]{32})$/i.exec(argument) ?? []
    if (user === undefined || digest === undefined)
      return reply('-ERR expected a name and 32 hexadecimal digits')
    const tried = { user, method: 'APOP' }
    if (this.#options.tlsRequired && !this.#options.cleartext) return refusedInClear(tried)
    if (this.#lacksCertificate) return refused(needsCertificate, 'client_ssl_cert_missing', tried)
    return { kind: 'apop', user: textOf(this.#userName(user)), digest }
  }

  /** AUTH mechanism [initial-response], RFC 5034 section 4. */
  #auth(argument: string): Step {
    if (argument === '' || argument.startsWith(' ')) {
      // Not in any RFC: an old way to ask for the mechanisms that mail programs still use.
      return { kind: 'text', text: `+OK\r\n${this.mechanisms.map((name) => `${name}\r\n`).join('')}.\r\n` }
    }
    const { verb: mechanism, argument: initial } = splitLine(argument)
    const tried = { method: printable(mechanism) }
    if (!this.mechanisms.includes(mechanism)) {
      const isHidden = !this.#options.cleartext && (isCleartext(mechanism) || this.#options.tlsRequired)
      return isHidden
        ? refusedInClear(tried)
        : refused('-ERR [AUTH] unsupported mechanism', 'invalid_mech', tried)
    }
    if (this.#lacksCertificate) return refused(needsCertificate, 'client_ssl_cert_missing', tried)
    const data = initial === '=' ? Buffer.alloc(0) : decodeSasl(initial)
    if (data === undefined) return refused(malformed, 'invalid_base64', tried)
    return { kind: 'sasl', mechanism, initial: initial === '' ? undefined : data }
  }

  #respond(line: string): Step {
    this.#inExchange = false
    if (line === '*') {
      return { kind: 'cancel', line: '-ERR authentication cancelled', code: 'auth_aborted_by_client' }
    }
    const data = decodeSasl(line)
    return data === undefined
      ? { kind: 'cancel', line: malformed, code: 'invalid_base64' }
      : { kind: 'response', data }
  }

  #bad(line: string): Step {
    if (++this.#badCommands < this.#options.maxBadCommands) return reply(line)
    return { kind: 'close', line: `${line}\r\n-ERR too many wrong commands`, reason: 'Too many bad commands' }
  }
}

/** Names and passwords are UTF-8; lines are latin1 strings of their octets. */
const verify = (user: string, password: string, method: string): Step => ({
  kind: 'verify',
  user: textOf(user),
  password: textOf(password),
  method,
})

const textOf = (octets: string): string => Buffer.from(octets, 'latin1').toString('utf8')

/**
 * The verb in capitals, and what follows the first space as it stands: unlike after login further spaces are part of it.
 * As in Dovecot a CR within the verb is nothing.
 */
function splitLine(line: string): { verb: string; argument: string } {
  const verb = verbOf(line)
  return { verb: verb.replaceAll('\r', '').toUpperCase(), argument: line.slice(verb.length + 1) }
}

function verbOf(line: string): string {
  const space = line.indexOf(' ')
  return space === -1 ? line : line.slice(0, space)
}
