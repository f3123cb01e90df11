/**
 * One command line in, one transition out: finds the verb, keeps count of errors and decides when a client has
 * made enough of them. Pure: see `state.ts`.
 */
import { hasStrayLineEnd } from '../../line-reader.ts'
import { auth, authResponse } from './authentication.ts'
import { parseCommand } from './command.ts'
import { ehlo, helo, lhlo } from './greeting.ts'
import { data, mail, rcpt, rset } from './mail.ts'
import { expn, help, noop, quit, starttls, vrfy } from './other-commands.ts'
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
  ['RSET', rset],
  ['NOOP', noop],
  ['VRFY', vrfy],
  ['EXPN', expn],
  ['HELP', help],
  ['AUTH', auth],
  ['STARTTLS', starttls],
  ['QUIT', quit],
])

/** Harmless alone, a way to keep a session busy in numbers. */
const junkVerbs: ReadonlySet<string> = new Set(['NOOP', 'VRFY', 'EXPN', 'RSET', 'HELP'])

/** Carries out one line, its CRLF removed, one character per octet. */
export function execute(state: SessionState, line: string, environment: Environment): Transition {
  return count(dispatch(state, line, environment), environment)
}

/** A line over the limit. */
export function executeTooLong(state: SessionState, environment: Environment): Transition {
  return count(answer({ ...state, inExchange: false }, replies.lineTooLong), environment)
}

function dispatch(state: SessionState, line: string, environment: Environment): Transition {
  if (isControl(line)) return { state, reply: replies.notSmtp, effect: { kind: 'close', reason: 'not SMTP' } }
  if (hasStrayLineEnd(line)) return answer({ ...state, inExchange: false }, replies.strayLineEnd)
  if (state.inExchange) return authResponse(state, line)
  const command = parseCommand(line)
  if (command === undefined) return answer(state, replies.notUtf8)
  const verb = verbs.get(command.verb)
  if (verb === undefined) {
    if (environment.policy.isForbiddenCommand(command.verb)) {
      return { state, reply: replies.notSmtp, effect: { kind: 'close', reason: 'not SMTP' } }
    }
    return answer(state, /^[A-Z]+$/.test(command.verb) ? replies.unknownCommand : replies.malformed)
  }
  if (!junkVerbs.has(command.verb)) return verb(state, command.argument, environment)
  const junk = state.junk + 1
  const isTooMuch = junk > environment.policy.smtpd.junk_command_limit
  return verb({ ...state, junk, errors: state.errors + (isTooMuch ? 1 : 0) }, command.argument, environment)
}

/** TLS and other binary protocols begin with such an octet; no command does. A CR or LF is a line end gone wrong. */
function isControl(line: string): boolean {
  const first = line.charCodeAt(0)
  return (first < 32 && first !== 10 && first !== 13) || first === 127
}

/**
 * Adds a refusal to the count of errors: over the soft limit its reply is late, at the hard limit it is the
 * last one. To be applied to every transition that comes out of an effect, too.
 */
export function count(transition: Transition, environment: Environment): Transition {
  const { soft_error_limit, hard_error_limit, error_sleep_time } = environment.policy.smtpd
  const first = transition.reply.charCodeAt(0)
  const isError = (first === 52 || first === 53) && transition.isForgiven !== true
  const errors = transition.state.errors + (isError ? 1 : 0)
  if (errors === 0) return transition
  const state = errors === transition.state.errors ? transition.state : { ...transition.state, errors }
  if (transition.effect?.kind === 'close') return { ...transition, state }
  if (errors >= hard_error_limit && transition.effect === undefined) {
    return {
      state,
      reply: transition.reply + replies.tooManyErrors(environment.policy.hostname),
      effect: { kind: 'close', reason: 'too many errors' },
    }
  }
  if (isError && errors > soft_error_limit && error_sleep_time > 0) {
    return { ...transition, state, delayMs: error_sleep_time }
  }
  return { ...transition, state }
}
