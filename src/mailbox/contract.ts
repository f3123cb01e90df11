/**
 * Stored mail as sessions see it. One actor, registered as `mailboxes`, finds or starts the actor of a mailbox;
 * that one is the only writer of the mailbox's UIDs and index. A mailbox is named by the absolute path of its
 * Maildir. Sessions read the mails themselves, from the files.
 */
import type { Contract } from '../actors/index.ts'

/**
 * What a mailbox looked like at one moment; it stays as it is. Columns as bytes, because 100 000 objects would
 * take long to cross a thread. Typed arrays in the byte order of the machine; see `snapshot.ts` for reading.
 */
export interface Snapshot {
  readonly uidValidity: number
  readonly count: number
  /** u32 for each mail. In the order mails are numbered, which need not be the order of UIDs. */
  readonly uids: Uint8Array
  /** f64 for each mail: octets with CRLF line ends; -1: not known, who reads the mail tells `update`. */
  readonly sizes: Uint8Array
  /** u8 for each mail: bit 0 seen, bit 1 the file is in `new/` and not in `cur/`. */
  readonly flags: Uint8Array
  /** File names in latin1, each with an LF behind it. */
  readonly names: string
  /** UIDLs that were fixed earlier, each with an LF behind it, empty for most mails; empty altogether if there are none. */
  readonly uidls: string
}

export const seenFlag = 1
export const inNewFlag = 2

/** `temporary`: trying again later makes sense. `reason` is for the log, it may contain paths. */
export interface MailboxRefusal {
  readonly ok: false
  readonly temporary: boolean
  readonly reason: string
}

export type OpenResult = { readonly ok: true; readonly snapshot: Snapshot } | MailboxRefusal

/** What a session wants changed. Mails are named by uid, so that numbers of different sessions cannot be mixed up. */
export interface UpdateRequest {
  /** Of the snapshot the uids are from. If it has changed since, nothing is done. */
  readonly uidValidity: number
  /** u32 each: remove for good. Uids that are gone already count as removed. */
  readonly expunge?: Uint8Array
  /** u32 each: mark as seen. */
  readonly seen?: Uint8Array
  /** u32 each: take the seen mark away. */
  readonly unseen?: Uint8Array
  /** u32 each, and the sizes found for them, f64 each. */
  readonly sized?: { readonly uids: Uint8Array; readonly sizes: Uint8Array }
}

/** `failed` of `expunge` could not be removed; all else was done. */
export type UpdateResult = { readonly ok: true; readonly failed: number } | MailboxRefusal

export type LocateResult = { readonly name: string; readonly inNew: boolean } | null

export type MailboxesContract = Contract<{
  /**
   * Creates the Maildir if it is missing, takes in new mail and gives a snapshot. Its UIDs are on the disk.
   * `user` is for the log. `keepNew`: do not move mails from `new/` to `cur/`.
   */
  open(user: string, maildir: string, keepNew: boolean): OpenResult
  /** Answers when it is done, on the disk. */
  update(maildir: string, request: UpdateRequest): UpdateResult
  /** Where a mail is now, if its file was not where the snapshot said; null: it is gone. */
  locate(maildir: string, uid: number): LocateResult
  /** Mail was delivered there; the next `open` looks. Never needed, only quicker than file times. */
  arrived(maildir: string): void
  /** Mailboxes that are in memory. */
  list(): readonly { readonly maildir: string; readonly mails: number }[]
}>

/** The actor of one mailbox: the same, without the path. */
export type MailboxContract = Contract<{
  open(user: string, keepNew: boolean): OpenResult
  update(request: UpdateRequest): UpdateResult
  locate(uid: number): LocateResult
  arrived(): void
  count(): number
  /** To itself: time to store what can wait, or to end. */
  tick(): void
}>

// For who reads what the contract speaks of: columns, file names, and the files themselves.
export { countBareLf, toCrlf } from './line-ends.ts'
export { baseOf, mailPath } from './maildir-name.ts'
export { readSizes, readUids, sizeBytes, uidBytes } from './snapshot.ts'
