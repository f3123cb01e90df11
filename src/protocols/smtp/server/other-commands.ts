/** Commands outside the mail transaction: NOOP, VRFY, EXPN, HELP, ETRN, STARTTLS, QUIT. RFC 5321 sections 4.1.1.6 to 4.1.1.10, RFC 1985, RFC 3207. */
import type { Account } from '../../../auth/contract.ts'
import { canonicalAddress, parseDomain, parsePath } from '../address.ts'
import { placeOf } from './mail.ts'
import * as replies from './replies.ts'
import {
  answer,
  type Environment,
  limited,
  type SessionState,
  type Transition,
  withoutMail,
} from './state.ts'

export function noop(state: SessionState): Transition {
  return answer(state, replies.ok)
}

/** What RCPT would say, RFC 5321 section 3.5.3: whether there is a mailbox is no secret while mail for it is taken or refused. */
export function vrfy(state: SessionState, argument: string, environment: Environment): Transition {
  const { policy } = environment
  if (policy.smtpd.disable_vrfy_command) return answer(state, replies.notOffered)
  const words = argument.split(/ +/)
  const hasUtf8 = words.length > 1 && words.at(-1)!.toUpperCase() === 'SMTPUTF8'
  const text = hasUtf8 ? words.slice(0, -1).join(' ') : argument
  if (text === '') return answer(state, replies.syntax('VRFY address'))
  return limited(state, environment, 'recipient', () => {
    const path = parsePath(text)
    if (!path.ok || path.mailbox === null || path.rest !== '')
      return answer(state, replies.badRecipient('no address'))
    const { localPart, domain } = path.mailbox
    const address = canonicalAddress({ localPart, domain: domain || policy.hostname })
    const place = placeOf(localPart, domain, environment)
    if (place.kind === 'local')
      return { state, reply: '', effect: { kind: 'verify', key: place.key, address } }
    if (place.kind === 'refused' && state.user === undefined)
      return answer(state, replies.relayDenied(address))
    return answer(state, replies.notVerified(address))
  })
}

/** The answer to a `verify` effect. `unavailable`: the lookup failed. */
export function verified(
  state: SessionState,
  address: string,
  account: Account | null | 'unavailable',
): Transition {
  if (account === 'unavailable') return { state, reply: replies.lookupFailed, isForgiven: true }
  return answer(state, account === null ? replies.unknownUser(address) : replies.notVerified(address))
}

export function expn(state: SessionState): Transition {
  return answer(state, replies.notOffered)
}

export function help(state: SessionState, _argument: string, environment: Environment): Transition {
  const hello = environment.peer.service === 'lmtp' ? 'LHLO' : 'HELO EHLO'
  return answer(state, `214 2.0.0 ${hello} MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT, see RFC 5321\r\n`)
}

/** Asks for the mail that waits for a domain. The replies of RFC 1985 have no enhanced codes. */
export function etrn(state: SessionState, argument: string, { peer, policy }: Environment): Transition {
  if (peer.service === 'lmtp' || !policy.offers('ETRN')) return answer(state, replies.notOffered)
  if (state.greeting === undefined && policy.smtpd.helo_required) return answer(state, replies.etrnEarly)
  if (state.mail !== undefined) return answer(state, replies.etrnWithinMail)
  if (argument === '' || argument.includes(' ')) return answer(state, replies.etrnSyntax)
  const domain = parseDomain(argument.replace(/^[@#]/, ''))
  if (domain === undefined) return answer(state, replies.etrnDomain)
  if (!policy.flushes(domain)) return answer(state, replies.etrnUnserved(domain))
  return { state, reply: '', effect: { kind: 'flush', domain } }
}

/** The answer to a `flush` effect. */
export function flushed(state: SessionState, isStarted: boolean): Transition {
  return isStarted
    ? answer(state, replies.etrnStarted)
    : { state, reply: replies.etrnFailed, isForgiven: true }
}

export function starttls(state: SessionState, argument: string, environment: Environment): Transition {
  if (argument !== '') return answer(state, replies.syntax('STARTTLS'))
  if (state.isSecured) return answer(state, replies.tlsActive)
  if (!environment.offersTls) return answer(state, replies.notOffered)
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('No STARTTLS within a mail'))
  return limited(state, environment, 'tls', () => ({
    state,
    reply: replies.readyForTls,
    effect: { kind: 'starttls' },
  }))
}

/** After the handshake nothing the client said before it counts (RFC 3207 section 4.2). */
export function tlsStarted(state: SessionState): SessionState {
  return { ...withoutMail(state), isSecured: true, greeting: undefined, helo: '', user: undefined }
}

export function quit(state: SessionState): Transition {
  return { state, reply: replies.goodbye, effect: { kind: 'close', reason: 'quit' } }
}
