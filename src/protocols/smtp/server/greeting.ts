/** HELO, EHLO and LHLO: RFC 5321 section 4.1.1.1, RFC 2033 section 4.1. */
import { offeredMechanisms } from '../../../auth/sasl/offer.ts'
import * as replies from './replies.ts'
import { answer, type Environment, type SessionState, type Transition } from './state.ts'

/** Longest name kept; it goes into Received fields and logs. */
const maxHeloOctets = 255

/** Every greeting ends the mail transaction, as RSET does. A login stays. */
function greet(
  state: SessionState,
  verb: 'HELO' | 'EHLO' | 'LHLO',
  argument: string,
  reply: string,
): Transition {
  const helo = argument.length > maxHeloOctets ? argument.slice(0, maxHeloOctets) : argument
  return { state: { ...state, greeting: verb, helo, mail: undefined }, reply }
}

export function helo(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.peer.service === 'lmtp') return answer(state, replies.lmtpGreeting)
  // Any name is taken: many clients do not know their own, and RFC 5321 section 4.1.4 forbids refusing for it.
  if (argument === '') return answer(state, replies.syntax('HELO hostname'))
  return greet(state, 'HELO', argument, `250 ${environment.policy.hostname}\r\n`)
}

export function ehlo(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.peer.service === 'lmtp') return answer(state, replies.lmtpGreeting)
  if (argument === '') return answer(state, replies.syntax('EHLO hostname'))
  return greet(state, 'EHLO', argument, extensions(state, environment))
}

export function lhlo(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.peer.service !== 'lmtp') return answer(state, replies.unknownCommand)
  if (argument === '') return answer(state, replies.syntax('LHLO hostname'))
  return greet(state, 'LHLO', argument, extensions(state, environment))
}

/** Whether passwords may be sent in this session as it is now. */
export function allowsCleartext(state: SessionState, environment: Environment): boolean {
  const { peer, policy } = environment
  return state.isSecured || peer.isLoopback || policy.config.auth.allow_cleartext
}

/** SASL mechanisms that can be used in this session as it is now. */
export function authMechanisms(state: SessionState, environment: Environment): readonly string[] {
  if (!hasAuth(environment)) return []
  const cleartext = allowsCleartext(state, environment)
  return offeredMechanisms(environment.policy.config.auth.mechanisms, { cleartext, tls: state.isSecured })
}

/** Whether this service has logins at all. */
export function hasAuth(environment: Environment): boolean {
  return environment.peer.service !== 'lmtp' && environment.policy.smtpd.sasl_auth_enable
}

function extensions(state: SessionState, environment: Environment): string {
  const { policy } = environment
  const limit = policy.smtpd.message_size_limit
  let reply = `250-${policy.hostname}\r\n250-PIPELINING\r\n250-SIZE${limit === 0 ? '' : ` ${limit}`}\r\n`
  if (environment.offersTls && !state.isSecured) reply += '250-STARTTLS\r\n'
  const mechanisms = authMechanisms(state, environment)
  if (mechanisms.length > 0) reply += `250-AUTH ${mechanisms.join(' ')}\r\n`
  return `${reply}250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n`
}
