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
  if (thrown instanceof Error) {
    const code = (thrown as { code?: unknown }).code
    return {
      kind: 'error',
      message: thrown.message,
      ...(thrown.stack === undefined ? {} : { stack: thrown.stack }),
      ...(typeof code === 'string' ? { code } : {}),
    }
  }
  return { kind: 'error', message: String(thrown) }
}

/** OTP's rule for `transient` children: these endings are no reason to restart. */
export function isExpected(reason: ExitReason): boolean {
  return reason.kind === 'normal' || reason.kind === 'shutdown'
}
