/**
 * The AUTHORIZATION state, RFC 1939 section 4, with SASL of RFC 5034 and the response codes of RFC 3206. Decides
 * about lines; the session sends, checks passwords and opens the mailbox. No socket and no clock.
 */
import { capabilities } from './capabilities.ts'
import { printable, splitCommand } from './command.ts'

/** What the session does next. */
export type Step =
  | { readonly kind: 'reply'; readonly line: string }
  /** A multi-line answer, line ends included. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'verify'; readonly user: string; readonly password: string; readonly method: string }
  | { readonly kind: 'starttls' }
  | { readonly kind: 'close'; readonly line: string; readonly reason: string }

export interface AuthorizationOptions {
  /** Whether passwords may be sent as things are: TLS, this very machine, or allowed by configuration. */
  readonly cleartext: boolean
  readonly stls: boolean
  readonly maxBadCommands: number
  /** Longest line that is not part of a SASL exchange, without its end. */
  readonly maxLine: number
}

const reply = (line: string): Step => ({ kind: 'reply', line })

const mechanisms = ['PLAIN', 'LOGIN'] as const
type Mechanism = (typeof mechanisms)[number]

const refusedCleartext = '-ERR [AUTH] passwords are not taken on a connection without TLS'
const malformed = '-ERR [AUTH] malformed authentication data'

export class Authorization {
  #options: AuthorizationOptions
  #user: string | undefined
  #sasl: { readonly mechanism: Mechanism; readonly user: string | undefined } | undefined
  #badCommands = 0

  constructor(options: AuthorizationOptions) {
    this.#options = options
  }

  /** The connection has TLS now: passwords are safe, and what was said in clear does not count. */
  secured(): void {
    this.#options = { ...this.#options, cleartext: true, stls: false }
    this.#user = undefined
    this.#sasl = undefined
  }

  /** Whether the next line answers a challenge, and so may be long. */
  get inExchange(): boolean {
    return this.#sasl !== undefined
  }

  /** Takes one line without its end. */
  line(text: string): Step {
    if (this.#sasl !== undefined) return this.#respond(text)
    const { verb, argument } = splitCommand(text)
    if (text.length > this.#options.maxLine && verb !== 'AUTH') {
      return { kind: 'close', line: '-ERR command line too long', reason: 'Command line too long' }
    }
    if (text.includes('\0')) return this.#bad('-ERR a command must not contain NUL octets')
    const step = this.#command(verb, argument, text)
    if (step === undefined) return this.#bad(`-ERR unknown command: ${printable(verbOf(text))}`)
    this.#badCommands = 0
    return step
  }

  #command(verb: string, argument: string, text: string): Step | undefined {
    switch (verb) {
      case 'CAPA':
        return {
          kind: 'text',
          text: capabilities({
            mechanisms: this.#mechanisms,
            user: this.#options.cleartext,
            stls: this.#options.stls,
          }),
        }
      case 'USER':
        if (!this.#options.cleartext) return reply(refusedCleartext)
        // The name is what follows the first space, as it stands.
        this.#user = afterFirstSpace(text)
        return reply('+OK')
      case 'PASS': {
        const user = this.#user
        this.#user = undefined
        if (!this.#options.cleartext) return reply(refusedCleartext)
        if (user === undefined) return reply('-ERR send USER first')
        // Spaces are part of the password, RFC 1939 section 7.
        return verify(user, afterFirstSpace(text), 'USER')
      }
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
        // Proxies send it without looking at the answer. Nobody is trusted here, so it changes nothing.
        return reply('+OK')
      default:
        return undefined
    }
  }

  get #mechanisms(): readonly string[] {
    return this.#options.cleartext ? mechanisms : []
  }

  /** AUTH mechanism [initial-response], RFC 5034 section 4. */
  #auth(argument: string): Step {
    if (argument === '') {
      // Not in any RFC: an old way to ask for the mechanisms that mail programs still use.
      return { kind: 'text', text: `+OK\r\n${this.#mechanisms.map((name) => `${name}\r\n`).join('')}.\r\n` }
    }
    const { verb: name, argument: initial } = splitCommand(argument)
    const mechanism = mechanisms.find((known) => known === name)
    if (mechanism === undefined) return reply('-ERR [AUTH] unsupported mechanism')
    if (!this.#options.cleartext) return reply(refusedCleartext)
    this.#sasl = { mechanism, user: undefined }
    if (initial === '') return reply(mechanism === 'LOGIN' ? loginChallenge('Username:') : '+ ')
    return this.#respond(initial === '=' ? '' : initial)
  }

  #respond(line: string): Step {
    const { mechanism, user } = this.#sasl!
    this.#sasl = undefined
    if (line === '*') return reply('-ERR authentication cancelled')
    const data = decodeBase64(line)
    if (data === undefined) return reply(malformed)
    if (mechanism === 'PLAIN') return plain(data)
    if (data.includes(0)) return reply(malformed)
    if (user !== undefined) return verify(user, data.toString('latin1'), 'LOGIN')
    this.#sasl = { mechanism, user: data.toString('latin1') }
    return reply(loginChallenge('Password:'))
  }

  #bad(line: string): Step {
    if (++this.#badCommands < this.#options.maxBadCommands) return reply(line)
    return { kind: 'close', line: `${line}\r\n-ERR too many wrong commands`, reason: 'Too many bad commands' }
  }
}

/** PLAIN, RFC 4616: authzid NUL authcid NUL password. Acting for somebody else is not offered. */
function plain(data: Buffer): Step {
  const parts = data.toString('latin1').split('\0')
  const [authorization, user, password] = parts
  if (parts.length !== 3 || user === undefined || user === '' || password === undefined)
    return reply(malformed)
  if (authorization !== '' && authorization !== user) {
    return reply('-ERR [AUTH] logging in for another user is not possible')
  }
  return verify(user, password, 'PLAIN')
}

const loginChallenge = (prompt: string): string => `+ ${Buffer.from(prompt).toString('base64')}`

/** Names and passwords are UTF-8; lines are latin1 strings of their octets. */
const verify = (user: string, password: string, method: string): Step => ({
  kind: 'verify',
  user: Buffer.from(user, 'latin1').toString('utf8'),
  password: Buffer.from(password, 'latin1').toString('utf8'),
  method,
})

/** Strict, RFC 5034 section 4: only the alphabet, `=` only at the end, whole groups. */
function decodeBase64(text: string): Buffer | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined
  return Buffer.from(text, 'base64')
}

function afterFirstSpace(line: string): string {
  const space = line.indexOf(' ')
  return space === -1 ? '' : line.slice(space + 1)
}

function verbOf(line: string): string {
  const space = line.indexOf(' ')
  return space === -1 ? line : line.slice(0, space)
}
