/**
 * BDAT, RFC 3030: content in chunks of a size that the client says before each.
 *
 *     BDAT size [ "LAST" ]
 *
 * A client may send everything at once, also after a chunk was refused. So the octets of a refused chunk are read and
 * dropped, and every BDAT has its reply, until LAST or RSET. Only where its size cannot be known, or is absurd, can
 * nothing be told any more.
 */
import * as replies from './replies.ts'
import { type Environment, type SessionState, type Transition, withoutMail } from './state.ts'

export function bdat(state: SessionState, argument: string, environment: Environment): Transition {
  const { policy } = environment
  const match = /^([0-9]+)(?: +(LAST))?$/i.exec(argument)
  const octets = Number(match?.[1])
  if (!policy.offers('CHUNKING')) {
    return { state, reply: replies.chunksNotOffered, effect: { kind: 'close', reason: 'BDAT not offered' } }
  }
  if (match === null || !Number.isSafeInteger(octets)) {
    return { state, reply: replies.badChunk, effect: { kind: 'close', reason: 'malformed BDAT' } }
  }
  const isLast = match[2] !== undefined
  const refusal = refusalOf(state, octets, isLast, environment)
  const chunked = state.chunked + octets
  const limit = policy.smtpd.message_size_limit
  if (refusal !== undefined && limit !== 0 && chunked > limit * 1.5) {
    // Reading all that to stay in step is what an attacker would like.
    return { state, reply: refusal, effect: { kind: 'close', reason: 'too much BDAT content' } }
  }
  const chunking = refusal === undefined ? 'open' : 'failed'
  return {
    state: { ...state, chunking, chunked },
    reply: '',
    effect: { kind: 'chunk', octets, isLast, refusal },
  }
}

function refusalOf(
  state: SessionState,
  octets: number,
  isLast: boolean,
  { policy }: Environment,
): string | undefined {
  // Costs us a reply and the client nothing, so it would be a way to keep us busy.
  if (octets === 0 && !isLast) return replies.emptyChunk
  if (state.chunking === 'failed') return replies.chunkSkipped
  if (state.chunking === 'none') {
    if (state.mail === undefined) return replies.outOfOrder('MAIL and RCPT come before BDAT')
    if (state.mail.recipients.length === 0) return replies.noRecipients
  }
  const limit = policy.smtpd.message_size_limit
  return limit !== 0 && state.chunked + octets > limit ? replies.chunkTooLarge : undefined
}

/** All octets of a chunk have come that is not the last, or that was refused. */
export function chunkReceived(
  state: SessionState,
  octets: number,
  isLast: boolean,
  refusal: string | undefined,
  { peer }: Environment,
): Transition {
  if (refusal === undefined) return { state, reply: `250 2.0.0 Ok: ${octets} octets\r\n` }
  if (!isLast) return { state: { ...state, chunking: 'failed' }, reply: refusal }
  // LMTP has a reply for each recipient, RFC 2033 section 4.3.
  const replyCount = peer.service === 'lmtp' ? Math.max(1, state.mail?.recipients.length ?? 0) : 1
  return { state: withoutMail(state), reply: refusal.repeat(replyCount) }
}
