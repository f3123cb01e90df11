/**
 * XCLIENT and XFORWARD: a client that is trusted says who its own client is.
 *
 *     XCLIENT 1*( SP name "=" xtext )     NAME REVERSE_NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
 *     XFORWARD 1*( SP name "=" xtext )    NAME ADDR PORT PROTO HELO IDENT SOURCE
 *
 * After XCLIENT the session begins again as if that client had connected. XFORWARD is only about the next mail: for the
 * log, and for XFORWARD to the next server. A value of `[UNAVAILABLE]` or `[TEMPUNAVAIL]` says that there is none.
 */
import { isIP } from 'node:net'
import { plainAddress } from '../../endpoints.ts'
import { decodeXtext } from '../xtext.ts'
import * as replies from './replies.ts'
import { answer, type Environment, type SessionState, type Transition, withoutMail } from './state.ts'

/** `null`: the client says that it is not known. */
export interface ClientFacts {
  readonly name?: string | null
  readonly reverseName?: string | null
  readonly address?: string | null
  readonly port?: number | null
  readonly protocol?: string | null
  readonly helo?: string | null
  readonly login?: string | null
  readonly localAddress?: string | null
  readonly localPort?: number | null
  readonly ident?: string | null
  readonly source?: 'LOCAL' | 'REMOTE'
}

type Reader = (value: string) => Partial<ClientFacts> | undefined

const hostName =
  /^(?=.{1,255}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/

const readAddress = (value: string): string | undefined => {
  const bare = value.replace(/^IPv6:/i, '')
  return isIP(bare) === 0 || bare.includes('%') ? undefined : plainAddress(bare)
}
const readPort = (value: string): number | undefined =>
  /^[0-9]{1,5}$/.test(value) ? Number(value) : undefined

/** Makes one of the facts out of a value; undefined when `read` finds it malformed. */
const fact =
  <K extends keyof ClientFacts>(
    key: K,
    read: (value: string) => NonNullable<ClientFacts[K]> | undefined,
  ): Reader =>
  (value) => {
    if (isUnavailable(value)) return { [key]: null }
    const known = read(value)
    return known === undefined ? undefined : { [key]: known }
  }

const isUnavailable = (value: string) => /^\[(?:UNAVAILABLE|TEMPUNAVAIL)\]$/i.test(value)

const name = fact('name', (value) => (hostName.test(value) ? value : undefined))
const address = fact('address', readAddress)
const port = fact('port', readPort)
const helo = fact('helo', (value) => (value.length > 255 ? undefined : value))

const clientReaders: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ['NAME', name],
  ['ADDR', address],
  ['PROTO', fact('protocol', (value) => (/^E?SMTP$/i.test(value) ? value.toUpperCase() : undefined))],
  ['HELO', helo],
  ['REVERSE_NAME', fact('reverseName', (value) => (hostName.test(value) ? value : undefined))],
  ['PORT', port],
  ['LOGIN', fact('login', (value) => value)],
  ['DESTADDR', fact('localAddress', readAddress)],
  ['DESTPORT', fact('localPort', readPort)],
])

const forwardReaders: ReadonlyMap<string, Reader> = new Map<string, Reader>([
  ['NAME', name],
  ['ADDR', address],
  ['PROTO', fact('protocol', (value) => (value.length > 64 ? undefined : value))],
  ['HELO', helo],
  ['SOURCE', readSource],
  ['PORT', port],
  ['IDENT', fact('ident', (value) => value)],
])

function readSource(value: string): Partial<ClientFacts> | undefined {
  const word = isUnavailable(value) ? 'LOCAL' : value.toUpperCase()
  return word === 'LOCAL' || word === 'REMOTE' ? { source: word } : undefined
}

/** Names of the attributes, as they are offered after EHLO. */
export const clientAttributes = [...clientReaders.keys()].join(' ')
export const forwardAttributes = [...forwardReaders.keys()].join(' ')

export function xclient(state: SessionState, argument: string, environment: Environment): Transition {
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('No XCLIENT within a mail'))
  if (argument === '') return answer(state, replies.syntax('XCLIENT attribute=value...'))
  if (!environment.policy.mayXclient(environment.peer.address)) return answer(state, replies.notAuthorized)
  const facts = readFacts(argument, clientReaders, 'XCLIENT')
  if (typeof facts === 'string') return answer(state, facts)
  return { state, reply: '', effect: { kind: 'client', facts } }
}

export function xforward(state: SessionState, argument: string, environment: Environment): Transition {
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('No XFORWARD within a mail'))
  if (argument === '') return answer(state, replies.syntax('XFORWARD attribute=value...'))
  if (!environment.mayXforward) return answer(state, replies.notAuthorized)
  const facts = readFacts(argument, forwardReaders, 'XFORWARD')
  if (typeof facts === 'string') return answer(state, facts)
  return { state: { ...state, forwarded: { ...state.forwarded, ...facts } }, reply: replies.ok }
}

/** A string is the reply that refuses them. */
function readFacts(
  argument: string,
  readers: ReadonlyMap<string, Reader>,
  command: string,
): ClientFacts | string {
  let facts: ClientFacts = {}
  for (const word of argument.split(/ +/)) {
    const equals = word.indexOf('=')
    if (equals < 1 || equals === word.length - 1) return replies.syntax(`${command} attribute=value...`)
    const attribute = word.slice(0, equals).toUpperCase()
    const raw = word.slice(equals + 1)
    if (raw.length > 255) return replies.badAttribute(attribute)
    const read = readers.get(attribute)
    if (read === undefined) return replies.unknownAttribute(command)
    // Old clients do not encode: what is no xtext is the value itself.
    const value = (decodeXtext(raw) ?? raw).replace(/[^ -~\u0080-\u{10ffff}]/gu, '?')
    const known = read(value)
    if (known === undefined) return replies.badAttribute(attribute)
    facts = { ...facts, ...known }
  }
  return facts
}

/** The session after XCLIENT: nothing of the client before remains but its TLS, which is of the connection. */
export function asClient(state: SessionState, facts: ClientFacts): SessionState {
  const { helo = null, protocol = null, login = null } = facts
  const greeting = protocol === 'ESMTP' ? 'EHLO' : helo === null ? undefined : 'HELO'
  return { ...withoutMail(state), greeting, helo: helo ?? '', user: login ?? undefined }
}
