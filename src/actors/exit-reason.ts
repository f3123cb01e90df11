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

/** Turns what was thrown into a reason. Anything can be thrown, so nothing is assumed of `thrown`. */
export function errorReason(thrown: unknown): ExitReason {
  try {
    if (!(thrown instanceof Error)) return { kind: 'error', message: String(thrown) }
    const { message, stack, code } = thrown as { message: unknown; stack: unknown; code?: unknown }
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
