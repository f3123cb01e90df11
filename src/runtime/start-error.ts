import { MailactorsError } from '../actors/index.ts'

/**
 * The system, or a thread of one that runs, could not start; `cause` says why, if there is an error. Everything that had been
 * started for it was stopped again.
 */
export class StartError extends MailactorsError {
  readonly code = 'MA_START'
}
