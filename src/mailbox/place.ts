/**
 * Where a mailbox is: its Maildir, and the folder of the files that describe it. Where that is not the Maildir it has
 * a folder for each mailbox of the user, as Dovecot's `CONTROL=`: `.INBOX` for this one.
 */
import { join } from 'node:path'

export interface MailboxPlace {
  readonly maildir: string
  /** Undefined: the Maildir itself. */
  readonly control?: string | undefined
}

/** The name of a mailbox in the contract: the path of its Maildir; behind an LF the control folder where that is another. */
export const placeName = ({ maildir, control }: MailboxPlace): string =>
  control === undefined || control === maildir ? maildir : `${maildir}\n${control}`

export function placeOf(name: string): Required<MailboxPlace> & { readonly control: string } {
  const [maildir = '', control = maildir] = name.split('\n')
  return { maildir, control }
}

/** Folder of the uid list and the keywords; that of `dovecot-uidvalidity` and `maildirsize`, for all mailboxes, is `control`. */
export const listFolder = ({ maildir, control = maildir }: MailboxPlace): string =>
  control === maildir ? maildir : join(control, '.INBOX')
