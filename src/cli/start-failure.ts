import { CommandFailure, exitCodes } from './exit.ts'

/** Why the service could not start, as a line and an exit code. What is no failure we know stays as it is. */
export function startFailure(error: unknown): unknown {
  if (error instanceof CommandFailure) return error
  const { message, isOurs } = innermost(error)
  const text = message.replace(/^the system did not start: /, '')
  if (/EADDRINUSE|another process does/.test(text)) {
    const address = addressIn(text)
    return new CommandFailure(
      exitCodes.unavailable,
      `${address}: already in use by another program (stop it, or listen elsewhere: [[listener]] in the configuration)`,
    )
  }
  if (/EADDRNOTAVAIL|ENOTFOUND|EAI_AGAIN/.test(text)) {
    return new CommandFailure(
      exitCodes.unavailable,
      `${addressIn(text)}: not an address of this machine (see [[listener]] in the configuration)`,
    )
  }
  if (/listen.*\b(EACCES|EPERM)\b|\b(EACCES|EPERM)\b.*listen/i.test(text)) {
    const address = addressIn(text)
    const cure = address.includes('/')
      ? 'check owner and mode of its folder'
      : 'ports below 1024 need a privilege'
    return new CommandFailure(
      exitCodes.noPermission,
      `${address}: permission denied (${cure}; see [[listener]])`,
    )
  }
  if (/written by a later version/.test(text)) {
    return new CommandFailure(
      exitCodes.badData,
      `${innermostWords(text)} (use that version again, or choose another data_dir)`,
    )
  }
  const [, place, why] = /cannot listen on (\S+): (there is .*)$/.exec(text) ?? []
  if (place !== undefined) {
    return new CommandFailure(
      exitCodes.cannotCreate,
      `cannot listen on ${place}: ${why} (make room for the socket, or listen elsewhere: [[listener]])`,
    )
  }
  if (/\b(EACCES|EPERM)\b|readonly database|permission denied/i.test(text)) {
    return new CommandFailure(
      exitCodes.noPermission,
      `cannot start: ${text} (check owner and mode of data_dir)`,
    )
  }
  if (/\b(ENOSPC|EDQUOT)\b|database or disk is full/i.test(text)) {
    return new CommandFailure(
      exitCodes.cannotCreate,
      `cannot start: ${text} (make room on the disk of data_dir)`,
    )
  }
  return isOurs ? new CommandFailure(exitCodes.unavailable, `cannot start: ${text}`) : error
}

/** The first cause: what wraps it only says where it happened. */
function innermost(error: unknown): { readonly message: string; readonly isOurs: boolean } {
  let isOurs = false
  let message = String((error as Error).message ?? error)
  let at = error as { message?: string; code?: unknown; cause?: unknown } | undefined
  for (let depth = 0; at !== undefined && at !== null && depth < 10; depth++) {
    if (typeof at.code === 'string' && at.code.startsWith('MA_')) isOurs = true
    if (typeof at.message === 'string') message = at.message
    at = at.cause as typeof at
  }
  return { message, isOurs }
}

/** Without the names of the supervisors that it came through. */
function innermostWords(text: string): string {
  return text.replace(/^(?:child \S+(?: \S+)? did not start: )+/, '')
}

function addressIn(text: string): string {
  const match = /cannot listen on (\S+?):? /.exec(`${text} `) ?? /(\S+:\d+)$/.exec(text)
  return match?.[1] === undefined ? 'cannot listen' : `cannot listen on ${match[1]}`
}
