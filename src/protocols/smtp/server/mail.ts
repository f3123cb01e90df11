/** The mail transaction: MAIL, RCPT, DATA and RSET. RFC 5321 sections 3.3 and 4.1.1.2 to 4.1.1.5, RFC 2033. */
import type { Account } from '../../../auth/contract.ts'
import type { EnvelopeRecipient } from '../../../queue/contract.ts'
import { canonicalAddress, isUtf8Address } from '../address.ts'
import { type ParsedPathArgument, parsePathArgument } from './command.ts'
import { readMailParameters, readRecipientParameters } from './parameters.ts'
import * as replies from './replies.ts'
import {
  type AcceptedRecipient,
  answer,
  type Environment,
  limited,
  type MailTransaction,
  type SessionState,
  type Transition,
  withoutMail,
} from './state.ts'

const mailForm = 'MAIL FROM:<address>'
const recipientForm = 'RCPT TO:<address>'

export function mail(state: SessionState, argument: string, environment: Environment): Transition {
  const { peer, policy } = environment
  if (state.greeting === undefined && (peer.service === 'lmtp' || policy.smtpd.helo_required)) {
    return answer(
      state,
      replies.outOfOrder(peer.service === 'lmtp' ? 'Begin with LHLO' : 'Begin with EHLO or HELO'),
    )
  }
  if (state.mail !== undefined) return answer(state, replies.outOfOrder('A mail has begun already'))
  if (state.chunking !== 'none') return answer(state, replies.outOfOrder('No MAIL between chunks'))
  if (peer.service === 'submission' && state.user === undefined) return answer(state, replies.authRequired)
  const path = parsePathArgument(argument, 'FROM', policy.smtpd.strict_rfc821_envelopes)
  if (!path.ok && path.part === 'command') return answer(state, replies.syntax(mailForm))
  return limited(state, environment, 'message', () => mailFrom(state, path, environment))
}

function mailFrom(state: SessionState, path: ParsedPathArgument, environment: Environment): Transition {
  const { policy } = environment
  if (!path.ok) return answer(state, replies.badSender(path.reason))
  const parameters = readMailParameters(path.parameters, {
    dsn: policy.offers('DSN'),
    requireTls: state.isSecured && policy.offers('REQUIRETLS'),
  })
  if (typeof parameters === 'string') return answer(state, parameters)

  // A sender without a domain is one of this machine: root, or what cron calls itself.
  const sender =
    path.mailbox === null
      ? ''
      : canonicalAddress({ ...path.mailbox, domain: path.mailbox.domain || policy.hostname })
  const problem = utf8Problem(sender, parameters.smtputf8, policy.smtpd.strict_smtputf8)
  if (problem !== undefined)
    return answer(state, problem === 'syntax' ? replies.badSender(utf8Domain) : problem)
  const limit = policy.smtpd.message_size_limit
  if (limit !== 0 && parameters.size !== undefined && parameters.size > limit) {
    return answer(state, replies.tooLarge)
  }
  if (!environment.hasRoom(parameters.size ?? 0)) return { state, reply: replies.noRoom, isForgiven: true }
  const { body, smtputf8, requiretls, ret, envid } = parameters
  const transaction = { sender, body, smtputf8, requiretls, ret, envid, recipients: [], overshoot: 0 }
  return { state: { ...state, mail: transaction }, reply: replies.senderOk }
}

const utf8Domain = 'domain beyond ASCII without SMTPUTF8'

/** What is wrong with an address beyond ASCII: a reply, or its syntax; undefined: nothing. */
function utf8Problem(address: string, smtputf8: boolean, isStrict: boolean): string | undefined {
  if (smtputf8 || !isUtf8Address(address)) return undefined
  if (isStrict) return replies.needsUtf8
  // What stands left of the @ is the receiver's business, and was sent raw long before there was an extension for it.
  return isUtf8Address(address.slice(address.lastIndexOf('@') + 1)) ? 'syntax' : undefined
}

export function rcpt(state: SessionState, argument: string, environment: Environment): Transition {
  const transaction = state.mail
  if (transaction === undefined) return answer(state, replies.outOfOrder('MAIL comes before RCPT'))
  if (state.chunking !== 'none') return answer(state, replies.outOfOrder('No RCPT between chunks'))
  const path = parsePathArgument(argument, 'TO', environment.policy.smtpd.strict_rfc821_envelopes)
  if (!path.ok && path.part === 'command') return answer(state, replies.syntax(recipientForm))
  return limited(state, environment, 'recipient', () => rcptTo(state, transaction, path, environment))
}

function rcptTo(
  state: SessionState,
  transaction: MailTransaction,
  path: ParsedPathArgument,
  environment: Environment,
): Transition {
  const { policy } = environment
  if (!path.ok) return answer(state, replies.badRecipient(path.reason))
  if (path.mailbox === null) return answer(state, replies.badRecipient('no address'))
  const parameters = readRecipientParameters(path.parameters, policy.offers('DSN'))
  if (typeof parameters === 'string') return answer(state, parameters)

  const { localPart, domain } = path.mailbox
  const address = canonicalAddress({ localPart, domain: domain || policy.hostname })
  const problem = utf8Problem(address, transaction.smtputf8, policy.smtpd.strict_smtputf8)
  if (problem !== undefined) {
    return answer(state, problem === 'syntax' ? replies.badRecipient(utf8Domain) : problem)
  }
  if (transaction.recipients.length >= policy.smtpd.recipient_limit) {
    const overshoot = transaction.overshoot + 1
    return {
      state: { ...state, mail: { ...transaction, overshoot } },
      reply: replies.tooManyRecipients,
      isForgiven: overshoot <= policy.smtpd.recipient_overshoot_limit,
    }
  }
  const recipient: EnvelopeRecipient = {
    address,
    ...(parameters.orcpt === undefined ? {} : { orcpt: parameters.orcpt }),
    ...(parameters.notify === undefined ? {} : { notify: parameters.notify }),
  }
  const place = placeOf(localPart, domain, environment)
  if (place.kind === 'local')
    return { state, reply: '', effect: { kind: 'account', key: place.key, recipient } }
  if (place.kind === 'refused' && state.user === undefined) return answer(state, replies.relayDenied(address))
  return accept(state, transaction, { envelope: recipient, account: undefined })
}

/**
 * Where mail for an address goes: to an account of ours, on to another server, or neither unless there is a login.
 *
 * LMTP hands mail to its final place (RFC 2033 section 2), so nothing there goes on to the queue: what comes
 * for a domain we do not know would otherwise run in circles. No domain at all means a user of this machine,
 * as in `RCPT TO:<postmaster>` (RFC 5321 section 4.1.1.3).
 */
export function placeOf(
  localPart: string,
  domain: string,
  { peer, policy }: Environment,
): { readonly kind: 'local'; readonly key: string } | { readonly kind: 'remote' | 'refused' } {
  const isLocal = domain === '' || policy.isLocalDomain(domain, peer)
  if (peer.service === 'lmtp' || (isLocal && !policy.isRoutedDomain(domain))) {
    return { kind: 'local', key: domain === '' ? localPart : `${localPart}@${domain}` }
  }
  return { kind: isLocal || peer.isTrusted ? 'remote' : 'refused' }
}

/** The answer to an `account` effect. `unavailable`: the lookup failed. */
export function recipientLookedUp(
  state: SessionState,
  recipient: EnvelopeRecipient,
  account: Account | null | 'unavailable' | { readonly refused: string },
): Transition {
  if (account === 'unavailable') return { state, reply: replies.lookupFailed, isForgiven: true }
  if (account !== null && 'refused' in account) return { state, reply: account.refused, isForgiven: true }
  if (account === null) return answer(state, replies.unknownUser(recipient.address))
  return accept(state, state.mail!, { envelope: recipient, account })
}

function accept(state: SessionState, transaction: MailTransaction, recipient: AcceptedRecipient): Transition {
  transaction.recipients.push(recipient)
  return answer(state, replies.recipientOk)
}

export function data(state: SessionState, argument: string, environment: Environment): Transition {
  if (state.chunking !== 'none') return answer(state, replies.outOfOrder('No DATA between chunks'))
  if (state.mail === undefined) return answer(state, replies.outOfOrder('MAIL and RCPT come before DATA'))
  if (state.mail.recipients.length === 0) {
    // RFC 2033 section 4.2 wants 503 of LMTP. In SMTP a pipelining client learns why: its RCPTs were refused.
    const reply =
      environment.peer.service === 'lmtp' ? replies.outOfOrder('No recipient') : replies.noRecipients
    return answer(state, reply)
  }
  if (argument !== '') return answer(state, replies.syntax('DATA'))
  return { state, reply: replies.startContent, effect: { kind: 'content' } }
}

/**
 * The content was received and `reply` says what became of the mail. An accepted mail clears the count of
 * errors: a client that delivers is no nuisance.
 */
export function mailFinished(state: SessionState, reply: string, wasAccepted: boolean): Transition {
  const after = withoutMail(state)
  if (wasAccepted) return { state: { ...after, errors: 0, junk: 0 }, reply, isForgiven: true }
  // Our own trouble (4xx) is not the client's error.
  return { state: after, reply, isForgiven: reply.startsWith('4') }
}

export function rset(state: SessionState, argument: string): Transition {
  if (argument !== '') return answer(state, replies.syntax('RSET'))
  return { state: withoutMail(state), reply: replies.ok }
}
