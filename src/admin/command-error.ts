/** What commands of the control socket fail with. */
import { MailactorsError } from '../actors/index.ts'

/** A command that cannot be done; `exitCode` is of sysexits.h. */
export class CommandError extends MailactorsError {
  readonly code = 'MA_COMMAND'
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

export const usage = 64
export const badData = 65
export const noInput = 66
export const internal = 70
export const temporary = 75
export const unavailable = 69
