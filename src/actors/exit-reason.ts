import { MailactorsError, UsageError } from './errors.ts'

/** Why an actor ended, in OTP's words. Plain data: it crosses threads as it is. */
export interface ExitReason {
  /**
   * - `normal`: it stopped by itself, its work done.
   * - `shutdown`: its supervisor, or the system, asked it to stop. Not an error.
   * - `killed`: it was stopped without being asked (brutal kill, or it outlived its shutdown time).
   * - `error`: a handler, a timer or a bound callback threw.
   * - `thread_exit`: the thread it lived on died.
   * - `no_actor`: it was not there when it was monitored or linked.
   */
  readonly kind: 'normal' | 'shutdown' | 'killed' | 'error' | 'thread_exit' | 'no_actor'
  /** One line for people. */
  readonly message?: string
  /** Stack of the error, for the log; never for a peer. */
  readonly stack?: string
  /** `code` of the error, when it had one. */
  readonly code?: string
}

export const normal: ExitReason = { kind: 'normal' }
export const shutdown: ExitReason = { kind: 'shutdown' }
export const killed: ExitReason = { kind: 'killed' }
export const noActor: ExitReason = { kind: 'no_actor' }

/**
 * Thrown by `init`, a handler or a callback, it ends the actor with just this reason, as Erlang's `exit(Reason)`: with
 * `shutdown` for instance the end is no error to anyone. In `init` it is a start that failed, whatever the reason.
 */
export class ActorExit extends MailactorsError {
  readonly code = 'MA_EXIT'
  readonly exitReason: ExitReason

  /** @throws UsageError when it is no exit reason. */
  constructor(reason: ExitReason) {
    checkReason(reason)
    super(reason.message ?? `exit: ${reason.kind}`, { kind: reason.kind })
    this.exitReason = reason
  }
}

const kinds: readonly unknown[] = ['normal', 'shutdown', 'killed', 'error', 'thread_exit', 'no_actor']

/** @internal @throws UsageError when it is no exit reason: whoever is told of it would fail. */
export function checkReason(reason: ExitReason): void {
  const kind: unknown = typeof reason === 'object' && reason !== null ? reason.kind : undefined
  if (kinds.includes(kind)) return
  throw new UsageError(`not an exit reason: its kind must be one of ${kinds.join(', ')}`)
}

/** What `init` returns to say that the actor is not needed now: it ends `normal`, and its supervisor goes on without it. */
export const ignore: unique symbol = Symbol.for('mailactors.ignore') as never

/** @internal The end of an actor whose `init` returned `ignore`. */
export const ignored: ExitReason = { kind: 'normal', message: 'ignored', code: 'MA_IGNORED' }

/** @internal */
export function isIgnored(reason: ExitReason): boolean {
  return reason.code === ignored.code && reason.kind === 'normal'
}

/** Turns what was thrown into a reason. Anything can be thrown, so nothing is assumed of `thrown`. */
export function errorReason(thrown: unknown): ExitReason {
  try {
    if (!(thrown instanceof Error)) return { kind: 'error', message: String(thrown) }
    const { message, stack, code, exitReason } = thrown as {
      message: unknown
      stack: unknown
      code?: unknown
      exitReason?: ExitReason
    }
    if (code === 'MA_EXIT' && typeof exitReason?.kind === 'string') return exitReason
    return {
      kind: 'error',
      message: String(message),
      ...(typeof stack === 'string' ? { stack } : {}),
      ...(typeof code === 'string' ? { code } : {}),
    }
  } catch {
    // An object without a prototype has no text, and a getter may throw: that must not end others too.
    return { kind: 'error', message: 'what was thrown has no text' }
  }
}

/** OTP's rule for `transient` children: these endings are no reason to restart. */
export function isExpected(reason: ExitReason): boolean {
  return reason.kind === 'normal' || reason.kind === 'shutdown'
}
