import type { ExitReason } from './exit-reason.ts'

/** Facts for a log line: ids, limits, sizes. No secrets, no mail content. */
export type ErrorDetails = { readonly [key: string]: string | number | boolean | null | undefined }

/**
 * Base of every error that mailactors throws on purpose. Match on `code`, not with `instanceof`: two copies
 * of the package can be loaded in one process.
 */
export abstract class MailactorsError extends Error {
  abstract readonly code: `MA_${string}`
  readonly details: ErrorDetails

  constructor(message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.details = details
  }
}

/** An ask that got no reply. Every ask settles exactly once: with the reply or with one of these. */
export type AskFailure = 'down' | 'no_actor' | 'timeout' | 'overloaded' | 'cancelled'

const askCodes = {
  down: 'MA_DOWN',
  no_actor: 'MA_NO_ACTOR',
  timeout: 'MA_TIMEOUT',
  overloaded: 'MA_OVERLOADED',
  cancelled: 'MA_CANCELLED',
} as const

/**
 * - `MA_DOWN`: the callee ended before it replied; `exitReason` says how. It may have done the work.
 * - `MA_NO_ACTOR`: there was no such actor; nothing was done.
 * - `MA_TIMEOUT`: no reply in time. The callee may still do the work.
 * - `MA_OVERLOADED`: a message queue or ring was full; nothing was done.
 * - `MA_CANCELLED`: the caller's AbortSignal fired, or the caller itself ended.
 */
export class AskError extends MailactorsError {
  readonly code: (typeof askCodes)[AskFailure]
  readonly failure: AskFailure
  readonly exitReason: ExitReason | undefined

  constructor(failure: AskFailure, message: string, details: ErrorDetails = {}, exitReason?: ExitReason) {
    super(message, details)
    this.code = askCodes[failure]
    this.failure = failure
    this.exitReason = exitReason
  }
}

/** The program uses the library in a way that cannot work: a wrong child spec, an actor that is not exported. */
export class UsageError extends MailactorsError {
  readonly code = 'MA_USAGE'
}
