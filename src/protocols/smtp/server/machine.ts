/**
 * One command line in, one transition out: finds the verb, keeps count of errors and decides when a client has
 * made enough of them. Pure: see `state.ts`.
 */
import { hasStrayLineEnd } from '../../line-reader.ts'
import { auth, authResponse } from './authentication.ts'
import { bdat } from './chunks.ts'
import { xclient, xforward } from './client-facts.ts'
import { parseCommand } from './command.ts'
import { ehlo, helo, lhlo } from './greeting.ts'
import { data, mail, rcpt, rset } from './mail.ts'
import { etrn, expn, help, noop, quit, starttls, vrfy } from './other-commands.ts'
import type { ServerPolicy } from './policy.ts'
import * as replies from './replies.ts'
import { answer, type Environment, type SessionState, type Transition } from './state.ts'

type Verb = (state: SessionState, argument: string, environment: Environment) => Transition

const verbs: ReadonlyMap<string, Verb> = new Map<string, Verb>([
  ['HELO', helo],
  ['EHLO', ehlo],
  ['LHLO', lhlo],
  ['MAIL', mail],
  ['RCPT', rcpt],
  ['DATA', data],
  ['BDAT', bdat],
  ['RSET', rset],
  ['NOOP', noop],
  ['VRFY', vrfy],
  ['EXPN', expn],
  ['ETRN', etrn],
  ['XCLIENT', xclient],
  ['XFORWARD', xforward],
  ['HELP', help],
  ['AUTH', auth],
  ['STARTTLS', starttls],
  ['QUIT', quit],
])

/** Harmless alone, a way to keep a session busy in numbers. What is refused as no command of the protocol is an error anyway. */
const junkVerbs: ReadonlySet<string> = new Set(['HELO', 'EHLO', 'NOOP', 'VRFY', 'RSET', 'ETRN'])
const lmtpJunkVerbs: ReadonlySet<string> = new Set(['LHLO', 'NOOP', 'VRFY', 'RSET', 'ETRN'])
/** What a client may say before TLS where `tls_security_level` asks for it. */
const clearVerbs: ReadonlySet<string> = new Set([
  ...['HELO', 'EHLO', 'LHLO', 'NOOP', 'STARTTLS', 'XCLIENT', 'QUIT', 'HELP'],
])
/** Nothing may follow these before their reply, RFC 2920 section 3.1. */
const lastVerbs: ReadonlySet<string> = new Set(['HELO', 'EHLO', 'LHLO', 'DATA', 'NOOP', 'VRFY'])

/** How a line arrived. */
export interface LineFacts {
  /** It ended in LF alone. */
  readonly isBare?: boolean
  /** More has come behind it. */
  readonly isFollowed?: boolean
}

/** Carries out one line, its line end removed, one character per octet. */
export function execute(
  state: SessionState,
  line: string,
  environment: Environment,
  facts: LineFacts = {},
): Transition {
  return count(dispatch(state, line, environment, facts), environment)
}

/** A line over the limit. */
export function executeTooLong(state: SessionState, environment: Environment): Transition {
  return count(answer({ ...state, inExchange: false }, replies.lineTooLong), environment)
}

function dispatch(
  state: SessionState,
  line: string,
  environment: Environment,
  { isBare = false, isFollowed = false }: LineFacts,
): Transition {
  const { policy, peer } = environment
  if (isControl(line)) return hangUp(state, replies.notSmtp, 'not SMTP')
  if (isBare && policy.bareNewlines(peer.address) === 'reject') {
    return hangUp(state, replies.bareNewline, 'bare newline')
  }
  if (hasStrayLineEnd(line)) return answer({ ...state, inExchange: false }, replies.strayLineEnd)
  if (state.inExchange) return authResponse(state, line)
  const command = parseCommand(line)
  if (command === undefined) return answer(state, replies.notUtf8)
  const { verb, argument } = command
  const isPointless = policy.isNoopCommand(verb)
  const act = isPointless ? noop : verbs.get(verb)
  if (act === undefined) {
    if (isForeign(verb, policy)) return hangUp(state, replies.notSmtp, 'not SMTP')
    return answer(state, verb === '' ? replies.malformed : replies.unknownCommand)
  }
  if (policy.smtpd.tls_security_level === 'encrypt' && mustEncrypt(state, verb, environment)) {
    return answer(state, replies.tlsRequired)
  }
  if (isFollowed && policy.smtpd.forbid_unauth_pipelining) {
    const isEsmtp = state.greeting === 'EHLO' || state.greeting === 'LHLO'
    if (!isEsmtp || lastVerbs.has(verb)) return hangUp(state, replies.outOfStep, 'unauthorized pipelining')
  }
  const isJunk = isPointless || (peer.service === 'lmtp' ? lmtpJunkVerbs : junkVerbs).has(verb)
  if (!isJunk) return act(state, argument, environment)
  const isTooMuch = state.junk > policy.junkLimit(peer)
  const done = act(state, argument, environment)
  const { junk, errors } = done.state
  return { ...done, state: { ...done.state, junk: junk + 1, errors: errors + (isTooMuch ? 1 : 0) } }
}

const hangUp = (state: SessionState, reply: string, reason: string): Transition => ({
  state,
  reply,
  effect: { kind: 'close', reason },
})

/** A browser that was sent here, a mail that follows an error: what it says next would be taken for commands. */
const isForeign = (verb: string, policy: ServerPolicy): boolean =>
  verb !== '' && (/^[^A-Z]/.test(verb) || /^[!-9;-~]+:/.test(verb) || policy.isForbiddenCommand(verb))

function mustEncrypt(state: SessionState, verb: string, { peer, isBehindTls }: Environment): boolean {
  return !state.isSecured && !isBehindTls && peer.address !== 'unix' && !clearVerbs.has(verb)
}

/** TLS and other binary protocols begin with such an octet; no command does. A CR is a line end gone wrong, a tab a blank. */
function isControl(line: string): boolean {
  const first = line.charCodeAt(0)
  return (first < 32 && first !== 9 && first !== 13) || first === 127
}

/**
 * Adds a refusal to the count of errors: over the soft limit every reply is late, at the hard limit the refusal is the
 * last one. To be applied to every transition that comes out of an effect, too.
 */
export function count(transition: Transition, { policy, peer }: Environment): Transition {
  const { soft_error_limit, error_sleep_time } = policy.smtpd
  const { state, reply, effect, isForgiven } = transition
  const first = reply.charCodeAt(0)
  const isError = (first === 52 || first === 53) && isForgiven !== true
  const before = state.errors
  if (before === 0 && !isError) return transition
  const counted = isError ? { ...transition, state: { ...state, errors: before + 1 } } : transition
  if (effect?.kind === 'close' || reply === '') return counted
  if (counted.state.errors >= policy.hardErrorLimit(peer) && effect === undefined) {
    return {
      state: counted.state,
      reply: reply + replies.tooManyErrors(policy.hostname),
      effect: { kind: 'close', reason: 'too many errors' },
    }
  }
  if (before < soft_error_limit || error_sleep_time === 0) return counted
  return { ...counted, delayMs: error_sleep_time }
}
