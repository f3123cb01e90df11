/** The mail transaction: MAIL, RCPT, DATA and RSET. RFC 5321 sections 3.3 and 4.1.1.2 to 4.1.1.5, RFC 2033. */
import type { Account } from '../../../auth/contract.ts'
import type { EnvelopeRecipient } from '../../../queue/contract.ts'
import { canonicalAddress, isUtf8Address } from '../address.ts'
import { parsePathArgument } from './command.ts'
import { readMailParameters, readRecipientParameters } from './parameters.ts'
import * as replies from './replies.ts'
import {
  type AcceptedRecipient,
  answer,
  type Environment,
  type MailTransaction,
  type SessionState,
  type Transition,
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
  if (peer.service === 'submission' && state.user === undefined) return answer(state, replies.authRequired)

  const path = parsePathArgument(argument, 'FROM')
  if (!path.ok) {
    if (path.part === 'command') return answer(state, replies.syntax(mailForm))
    return answer(state, path.part === 'address' ? replies.badSender(path.reason) : replies.badParameters)
  }
  const parameters = readMailParameters(path.parameters)
  if (typeof parameters === 'string') return answer(state, parameters)

  // A sender without a domain is one of this machine: root, or what cron calls itself.
  const sender =
    path.mailbox === null
      ? ''
      : canonicalAddress({ ...path.mailbox, domain: path.mailbox.domain || policy.hostname })
  if (isUtf8Address(sender) && !parameters.smtputf8) return answer(state, replies.needsUtf8)
  const limit = policy.smtpd.message_size_limit
  if (limit !== 0 && parameters.size !== undefined && parameters.size > limit) {
    return answer(state, replies.tooLarge)
  }
  const { body, smtputf8, ret, envid } = parameters
  const transaction = { sender, body, smtputf8, ret, envid, recipients: [], overshoot: 0 }
  return { state: { ...state, mail: transaction }, reply: replies.senderOk }
}

export function rcpt(state: SessionState, argument: string, environment: Environment): Transition {
  const { peer, policy } = environment
  const transaction = state.mail
  if (transaction === undefined) return answer(state, replies.outOfOrder('MAIL comes before RCPT'))

  const path = parsePathArgument(argument, 'TO')
  if (!path.ok) {
    if (path.part === 'command') return answer(state, replies.syntax(recipientForm))
    return answer(state, path.part === 'address' ? replies.badRecipient(path.reason) : replies.badParameters)
  }
  if (path.mailbox === null) return answer(state, replies.badRecipient('no address'))
  const parameters = readRecipientParameters(path.parameters, transaction.smtputf8)
  if (typeof parameters === 'string') return answer(state, parameters)

  const { localPart, domain } = path.mailbox
  const address = canonicalAddress({ localPart, domain: domain || policy.hostname })
  if (isUtf8Address(address) && !transaction.smtputf8) return answer(state, replies.needsUtf8)
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
  // LMTP hands mail to its final place (RFC 2033 section 2), so nothing there goes on to the queue: what comes
  // for a domain we do not know would otherwise run in circles. No domain at all means a user of this machine,
  // as in `RCPT TO:<postmaster>` (RFC 5321 section 4.1.1.3).
  const isLocal = domain === '' || policy.isLocalDomain(domain, peer)
  if (peer.service === 'lmtp' || (isLocal && !policy.isRoutedDomain(domain))) {
    const key = domain === '' ? localPart : `${localPart}@${domain}`
    return { state, reply: '', effect: { kind: 'account', key, recipient } }
  }
  if (!isLocal && !peer.isTrusted && state.user === undefined)
    return answer(state, replies.relayDenied(address))
  return accept(state, transaction, { envelope: recipient, account: undefined })
}

/** The answer to an `account` effect. `unavailable`: the lookup failed. */
export function recipientLookedUp(
  state: SessionState,
  recipient: EnvelopeRecipient,
  account: Account | null | 'unavailable',
): Transition {
  if (account === 'unavailable') return { state, reply: replies.lookupFailed, isForgiven: true }
  if (account === null) return answer(state, replies.unknownUser(recipient.address))
  return accept(state, state.mail!, { envelope: recipient, account })
}

function accept(state: SessionState, transaction: MailTransaction, recipient: AcceptedRecipient): Transition {
  transaction.recipients.push(recipient)
  return answer(state, replies.recipientOk)
}

export function data(state: SessionState, argument: string, environment: Environment): Transition {
  if (argument !== '') return answer(state, replies.syntax('DATA'))
  if (state.mail === undefined) return answer(state, replies.outOfOrder('MAIL and RCPT come before DATA'))
  if (state.mail.recipients.length === 0) {
    // RFC 2033 section 4.2 wants 503 of LMTP. In SMTP a pipelining client learns why: its RCPTs were refused.
    const reply =
      environment.peer.service === 'lmtp' ? replies.outOfOrder('No recipient') : replies.noRecipients
    return answer(state, reply)
  }
  return { state, reply: replies.startContent, effect: { kind: 'content' } }
}

/**
 * The content was received and `reply` says what became of the mail. An accepted mail clears the count of
 * errors: a client that delivers is no nuisance.
 */
export function mailFinished(state: SessionState, reply: string, wasAccepted: boolean): Transition {
  const after = { ...state, mail: undefined }
  if (wasAccepted) return { state: { ...after, errors: 0, junk: 0 }, reply, isForgiven: true }
  // Our own trouble (4xx) is not the client's error.
  return { state: after, reply, isForgiven: reply.startsWith('4') }
}

export function rset(state: SessionState, argument: string): Transition {
  if (argument !== '') return answer(state, replies.syntax('RSET'))
  return { state: { ...state, mail: undefined }, reply: replies.ok }
}
