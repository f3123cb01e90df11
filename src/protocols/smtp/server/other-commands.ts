/** Commands outside the mail transaction: NOOP, VRFY, EXPN, HELP, STARTTLS, QUIT. RFC 5321 sections 4.1.1.6 to 4.1.1.10, RFC 3207. */
import * as replies from './replies.ts'
import { answer, type Environment, type SessionState, type Transition } from './state.ts'

export function noop(state: SessionState): Transition {
  return answer(state, replies.ok)
}

/** Never says who exists: RFC 5321 section 7.3. */
export function vrfy(state: SessionState, argument: string, environment: Environment): Transition {
  if (environment.policy.smtpd.disable_vrfy_command) return answer(state, replies.notOffered)
  return answer(state, argument === '' ? replies.syntax('VRFY address') : replies.cannotVerify)
}

export function expn(state: SessionState): Transition {
  return answer(state, replies.notOffered)
}

export function help(state: SessionState, _argument: string, environment: Environment): Transition {
  const hello = environment.peer.service === 'lmtp' ? 'LHLO' : 'HELO EHLO'
  return answer(state, `214 2.0.0 ${hello} MAIL RCPT DATA RSET NOOP VRFY HELP QUIT, see RFC 5321\r\n`)
}

export function starttls(state: SessionState, argument: string, environment: Environment): Transition {
  if (!environment.offersTls && !state.isSecured) return answer(state, replies.notOffered)
  if (argument !== '') return answer(state, replies.syntax('STARTTLS'))
  if (state.isSecured) return answer(state, replies.outOfOrder('TLS is active already'))
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('No STARTTLS within a mail'))
  return { state, reply: replies.readyForTls, effect: { kind: 'starttls' } }
}

/** After the handshake nothing the client said before it counts (RFC 3207 section 4.2). */
export function tlsStarted(state: SessionState): SessionState {
  return { ...state, isSecured: true, greeting: undefined, helo: '', user: undefined, mail: undefined }
}

export function quit(state: SessionState, argument: string): Transition {
  if (argument !== '') return answer(state, replies.syntax('QUIT'))
  return { state, reply: replies.goodbye, effect: { kind: 'close', reason: 'quit' } }
}
