/** HELO, EHLO and LHLO: RFC 5321 section 4.1.1.1, RFC 2033 section 4.1. */
import { offeredMechanisms } from '../../../auth/sasl/offer.ts'
import { clientAttributes, forwardAttributes } from './client-facts.ts'
import * as replies from './replies.ts'
import { answer, type Environment, type SessionState, type Transition, withoutMail } from './state.ts'

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
  return { state: { ...withoutMail(state), greeting: verb, helo }, reply }
}

export function helo(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.peer.service === 'lmtp') return answer(state, replies.lmtpGreeting)
  // Any name is taken: many clients do not know their own, and RFC 5321 section 4.1.4 forbids refusing for it.
  if (argument === '') return answer(state, replies.greetingSyntax('HELO'))
  return greet(state, 'HELO', argument, `250 ${environment.policy.hostname}\r\n`)
}

export function ehlo(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.peer.service === 'lmtp') return answer(state, replies.lmtpGreeting)
  if (argument === '') return answer(state, replies.greetingSyntax('EHLO'))
  return greet(state, 'EHLO', argument, extensions(state, environment))
}

export function lhlo(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.peer.service !== 'lmtp') return answer(state, replies.unknownCommand)
  if (argument === '') return answer(state, replies.greetingSyntax('LHLO'))
  return greet(state, 'LHLO', argument, extensions(state, environment))
}

/** Whether passwords may be sent in this session as it is now. */
export function allowsCleartext(state: SessionState, environment: Environment): boolean {
  const { peer, policy } = environment
  return state.isSecured || environment.isBehindTls || peer.isLoopback || policy.config.auth.allow_cleartext
}

/** SASL mechanisms that can be used in this session as it is now. */
export function authMechanisms(state: SessionState, environment: Environment): readonly string[] {
  if (!hasAuth(environment)) return []
  const cleartext = allowsCleartext(state, environment)
  const { mechanisms } = environment.policy.config.auth
  const certificate =
    mechanisms.some((name) => name.toUpperCase() === 'EXTERNAL') &&
    environment.certificateName() !== undefined
  return offeredMechanisms(mechanisms, { cleartext, tls: state.isSecured, certificate })
}

/** Whether this service has logins at all. */
export function hasAuth(environment: Environment): boolean {
  return environment.peer.service !== 'lmtp' && environment.policy.smtpd.sasl_auth_enable
}

/** In the order of Postfix, which scripts may know. */
function extensions(state: SessionState, environment: Environment): string {
  const { policy, peer, offersTls } = environment
  const { message_size_limit: limit, disable_vrfy_command: hasNoVrfy } = policy.smtpd
  const isSmtp = peer.service !== 'lmtp'
  const mechanisms = authMechanisms(state, environment)
  const offered: readonly (readonly [keyword: string, isOffered?: boolean, value?: string])[] = [
    ['PIPELINING'],
    ['SIZE', true, limit === 0 ? '' : ` ${limit}`],
    ['VRFY', isSmtp && !hasNoVrfy],
    ['ETRN', isSmtp],
    ['STARTTLS', offersTls && !state.isSecured],
    ['AUTH', mechanisms.length > 0, ` ${mechanisms.join(' ')}`],
    ['XCLIENT', isSmtp && policy.mayXclient(peer.address), ` ${clientAttributes}`],
    ['XFORWARD', isSmtp && environment.mayXforward, ` ${forwardAttributes}`],
    ['ENHANCEDSTATUSCODES'],
    ['8BITMIME'],
    ['DSN'],
    ['SMTPUTF8'],
    // RFC 8689 section 2: only within TLS.
    ['REQUIRETLS', state.isSecured],
    ['CHUNKING'],
  ]
  let lines = policy.hostname
  let reply = ''
  for (const [keyword, isOffered = true, value = ''] of offered) {
    if (!isOffered || !policy.offers(keyword)) continue
    reply += `250-${lines}\r\n`
    lines = keyword + value
  }
  return `${reply}250 ${lines}\r\n`
}
