/** The log lines of an actor's life. Each end and each restart is one line. */
import type { RestartedChild } from '../actors/context.ts'
import { type ExitReason, errorReason, isExpected, type Logger } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'

/** `debug` for ends that are part of the work, `error` for failures, `warn` for what others did to the actor. */
export function logEnd(log: Logger, cell: ActorCell, reason: ExitReason): void {
  const quiet = isExpected(reason) || isRefusal(cell, reason)
  if (quiet && !log.isLevelEnabled('debug')) return
  const facts = {
    event: 'actor.terminated',
    component: cell.definition.name,
    actor: cell.id,
    reason: reason.kind,
    restarts: cell.restarts,
    ...(reason.message === undefined ? {} : { error: reason.message }),
    ...(reason.code === undefined ? {} : { code: reason.code }),
    ...(reason.stack === undefined ? {} : { stack: reason.stack }),
  }
  if (quiet) log.debug(facts, 'actor ended')
  else if (reason.kind === 'error') log.error(facts, 'actor failed')
  else log.warn(facts, 'actor was ended')
}

/** An `init` that said in words alone, without a stack, why there is no actor: whoever asked for it gets that as the answer. */
function isRefusal(cell: ActorCell, reason: ExitReason): boolean {
  return reason.kind === 'error' && reason.stack === undefined && !cell.isInitialised && cell.restarts === 0
}

export function logRestart(log: Logger, { childId, name, actorId, reason, restarts }: RestartedChild): void {
  const facts = {
    event: 'actor.restarted',
    component: name,
    actor: actorId,
    childId,
    reason: reason.kind,
    restarts,
    ...(reason.message === undefined ? {} : { error: reason.message }),
  }
  log.warn(facts, 'actor was restarted')
}

/** Code that an actor left behind threw after its end: there is nobody to end for it any more. */
export function logLateError(log: Logger, cell: ActorCell, thrown: unknown): void {
  const { message, stack } = errorReason(thrown)
  const facts = {
    event: 'actor.late-error',
    component: cell.definition.name,
    actor: cell.id,
    error: message,
    stack,
  }
  log.error(facts, 'code of an actor that has ended failed')
}
