/** How a command ends: exit codes of sysexits.h, and one line on stderr. */
import { WrongKind } from './directory.ts'

export const exitCodes = {
  ok: 0,
  usage: 64,
  badData: 65,
  noInput: 66,
  unavailable: 69,
  internal: 70,
  cannotCreate: 73,
  io: 74,
  temporary: 75,
  noPermission: 77,
  badConfig: 78,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** A command that ends here. Printed as `mailactors: WHAT: WHY (HOW TO MEND)`, one line for each of `lines`. */
export class CommandFailure extends Error {
  readonly exitCode: number
  readonly lines: readonly string[]

  constructor(exitCode: number, lines: string | readonly string[]) {
    const all = typeof lines === 'string' ? [lines] : lines
    super(all.join('\n'))
    this.name = 'CommandFailure'
    this.exitCode = exitCode
    this.lines = all
  }
}

/** The text of a failure as one line, whatever line ends and controls were in it. */
export function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, ' ').replace(/\p{Cc}/gu, '?')
}

/** What an error of the file system is for the user: the words, and the code to end with. */
export function systemFailure(error: unknown): { readonly why: string; readonly exitCode: ExitCode } {
  if (error instanceof WrongKind) return { why: error.message, exitCode: exitCodes.cannotCreate }
  const { code = '', message } = error as NodeJS.ErrnoException
  const known = systemErrors[code]
  return known === undefined
    ? { why: message, exitCode: exitCodes.io }
    : { why: known[0], exitCode: known[1] }
}

/** What an error of SQLite's is for the user, by its primary code; undefined: it is none. */
export function databaseFailure(error: unknown, what: string): CommandFailure | undefined {
  const { errcode, message } = error as { errcode?: unknown; message?: string }
  if (typeof errcode !== 'number') return undefined
  const [exitCode, cure] = databaseErrors[errcode & 0xff] ?? [exitCodes.io, 'check the file and its disk']
  return new CommandFailure(exitCode, `${what}: ${message ?? 'failed'} (${cure})`)
}

const databaseErrors: Readonly<Record<number, readonly [exitCode: ExitCode, cure: string]>> = {
  5: [exitCodes.temporary, 'another program holds it: try again'],
  8: [exitCodes.noPermission, 'check owner and mode of it and of its folder'],
  11: [exitCodes.badData, 'it is damaged: mailactors serve sets it aside and takes over what can be read'],
  13: [exitCodes.io, 'make room on the disk'],
  14: [exitCodes.noPermission, 'check owner and mode of it and of its folder'],
  26: [exitCodes.badData, 'it is damaged: mailactors serve sets it aside and takes over what can be read'],
}

const systemErrors: Readonly<Record<string, readonly [why: string, exitCode: ExitCode]>> = {
  ENOENT: ['no such file or directory', exitCodes.noInput],
  EACCES: ['permission denied', exitCodes.noPermission],
  EPERM: ['operation not permitted', exitCodes.noPermission],
  ENOTDIR: ['a part of the path is no directory', exitCodes.cannotCreate],
  EISDIR: ['it is a directory', exitCodes.noInput],
  EEXIST: ['it exists already', exitCodes.cannotCreate],
  EROFS: ['the file system is read-only', exitCodes.cannotCreate],
  ENOSPC: ['no space left on the disk', exitCodes.io],
  EDQUOT: ['the disk quota is used up', exitCodes.io],
  ENAMETOOLONG: ['the name is too long', exitCodes.cannotCreate],
  ELOOP: ['too many symbolic links', exitCodes.cannotCreate],
}
