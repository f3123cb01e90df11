/** What can go wrong on the way to a server, and what it means for the recipients. */
import { enhancedCode, oneLine, type Reply } from './reply-parser.ts'

/**
 * How far a failure reaches: one recipient, the mail with all its recipients, this server (`site`), or everything
 * before there was a session (`lookup`).
 */
export type FailureScope = 'recipient' | 'message' | 'site' | 'lookup'

export interface Failure {
  readonly scope: FailureScope
  /** RFC 3463 code; class 5 is final, class 4 may be tried elsewhere and later. */
  readonly dsn: string
  /** One printable line: the server's reply, or our own words. */
  readonly reason: string
  /** Whether `reason` is a reply of the server. */
  readonly remote: boolean
  /** The server broke the protocol: its connection is not kept, RFC 5321 section 4.2. */
  readonly protocol?: boolean
  /** Trouble with data of our own, such as a table. */
  readonly data?: boolean
  /** Says nothing about the site as a whole: mail to it is not slowed down. */
  readonly noThrottle?: boolean
  /** Another server may do better although the code is final. */
  readonly softUntilFinal?: boolean
}

export function isHard(failure: Failure): boolean {
  return failure.dsn.startsWith('5')
}

/** Data of our own that a delivery needs cannot be had, such as a lookup table: the mail waits. */
export class LocalDataError extends Error {}

/** A failure in our own words. */
export function localFailure(scope: FailureScope, dsn: string, reason: string): Failure {
  return { scope, dsn, reason, remote: false }
}

/** A local data error: as bad for the session as a lost connection. */
export function dataFailure(reason: string): Failure {
  return { ...localFailure('site', '4.3.0', `local data error: ${reason}`), data: true }
}

/** A reply that is not the one that was hoped for. */
export function replyFailure(scope: FailureScope, reply: Reply): Failure {
  const protocol = isProtocolError(reply.code)
  const dsn = reply.code >= 400 && reply.code <= 599 ? enhancedCode(reply) : '5.5.0'
  const reason =
    protocol && (reply.code < 400 || reply.code > 599) ? `protocol error: ${oneLine(reply)}` : oneLine(reply)
  return { scope, dsn, reason, remote: true, ...(protocol ? { protocol } : {}) }
}

/** The connection broke or stood still: nothing the server said. */
export function isLoss({ scope, dsn, remote }: Failure): boolean {
  return scope === 'site' && dsn === '4.4.2' && !remote
}

/** No failure code at all, a complaint about our syntax, or a parameter the server had offered. */
export function isProtocolError(code: number): boolean {
  return code < 400 || code > 599 || (code >= 500 && code <= 509) || code === 555
}

/** The same failure, to be tried again later. */
export function softened(failure: Failure): Failure {
  return isHard(failure) ? { ...failure, dsn: `4${failure.dsn.slice(1)}` } : failure
}
