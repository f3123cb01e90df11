import { MailactorsError } from '../actors/index.ts'

/** A user name that cannot be used, or a password that cannot be stored. The message is for the person who gave it. */
export class UserError extends MailactorsError {
  readonly code = 'MA_USER'
}

/** The passwd-file cannot be read or written. */
export class PasswdFileError extends MailactorsError {
  readonly code = 'MA_PASSWD_FILE'
}
