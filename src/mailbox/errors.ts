import { type ErrorDetails, MailactorsError } from '../actors/index.ts'

/**
 * - `MA_MAILBOX_FULL`: no space or quota left on the file system. Passes when someone makes room.
 * - `MA_MAILBOX_QUOTA`: the user may not have more mail. Passes when mail is removed.
 * - `MA_MAILBOX_PERMISSION`: the Maildir may not be read or written; needs an administrator.
 * - `MA_MAILBOX_IO`: anything else the file system said.
 * - `MA_MAILBOX_CONTENT`: the file that was to be stored is not what it was.
 * - `MA_MAILBOX_CORRUPT`: what is stored cannot be understood.
 */
export type MailboxErrorCode =
  | 'MA_MAILBOX_FULL'
  | 'MA_MAILBOX_QUOTA'
  | 'MA_MAILBOX_PERMISSION'
  | 'MA_MAILBOX_IO'
  | 'MA_MAILBOX_CONTENT'
  | 'MA_MAILBOX_CORRUPT'

/** A mailbox could not be read or written. `details.errno` has the system's code, `details.path` where. */
export class MailboxError extends MailactorsError {
  readonly code: MailboxErrorCode
  /** Whether trying again later makes sense without an administrator. */
  readonly temporary: boolean

  constructor(code: MailboxErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, details, options)
    this.code = code
    this.temporary = code !== 'MA_MAILBOX_PERMISSION' && code !== 'MA_MAILBOX_CORRUPT'
  }
}

/** The system's code of a failed file operation, `ENOENT` and so on; undefined for other errors. */
export function errnoOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}

/** Says which part of `MailboxError` a file system error is; an error of another kind is thrown again as it is. */
export function mailboxError(error: unknown, attempted: string, path: string): MailboxError {
  if (error instanceof MailboxError) return error
  const errno = errnoOf(error)
  if (errno === undefined) throw error
  const code: MailboxErrorCode =
    errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EFBIG'
      ? 'MA_MAILBOX_FULL'
      : errno === 'EACCES' || errno === 'EPERM' || errno === 'EROFS'
        ? 'MA_MAILBOX_PERMISSION'
        : 'MA_MAILBOX_IO'
  return new MailboxError(code, `${attempted} failed: ${errno}`, { errno, path }, { cause: error })
}
