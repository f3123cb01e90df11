/** Where a mailbox is: its Maildir, and the folder of the files that describe it, such as the uid list. */

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
