/**
 * Stored mail as sessions see it. One actor, registered as `mailboxes`, finds or starts the actor of a mailbox;
 * that one is the only writer of the mailbox's UIDs and index. A mailbox is named by the absolute path of its
 * Maildir (`placeName`, where its control files are elsewhere). Sessions read the mails themselves, from the files.
 */
import type { Contract } from '../actors/index.ts'

/**
 * What a mailbox looked like at one moment; it stays as it is. Mails in the order POP3 numbers them, in pages (see
 * `page.ts`) of up to 256: a hundred thousand objects would take long to cross a thread, and all of them at once
 * would keep the thread from everybody else.
 */
export interface Snapshot {
  readonly uidValidity: number
  readonly count: number
  /** Names this state for `pages`. */
  readonly generation: number
  /** When `new/` was changed last, nanoseconds since the epoch: once it differs, mail has come since. */
  readonly newTime: string
  /** The first ones. Small mailboxes come whole, with file names; of others the rest is asked for with `pages`. */
  readonly pages: readonly Uint8Array[]
}

export interface OpenOptions {
  /** Do not move mails from `new/` to `cur/`. */
  readonly keepNew: boolean
  /** Mails with this keyword are not shown. Empty: none is hidden. */
  readonly deletedFlag: string
}

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
  /** u32 each: give them this keyword instead of removing them. */
  readonly flag?: { readonly uids: Uint8Array; readonly keyword: string }
  /** u32 each: UIDLs that stay what they are, whatever `pop3.uidl_format` becomes; each with an LF behind it. */
  readonly uidls?: { readonly uids: Uint8Array; readonly values: string }
  /** u32 each: the sizes in their file names are wrong. They get names with the right ones, and keep their UIDs. */
  readonly misnamed?: Uint8Array
  /** u32 each: what their X-UIDL fields say, so that the next session need not look; each with an LF behind it, empty for none. */
  readonly xuidls?: { readonly uids: Uint8Array; readonly values: string }
  /** Then take in what has come into `new/` since. It may fail: the next `open` does it. */
  readonly takeIn?: Pick<OpenOptions, 'keepNew'>
}

/** `failed` of `expunge` could not be removed; all else was done. */
export type UpdateResult = { readonly ok: true; readonly failed: number } | MailboxRefusal

/** Null: this state is no longer kept, so open the mailbox again. */
export type PagesResult = readonly Uint8Array[] | null

export type RebuildResult = { readonly ok: true; readonly mails: number } | MailboxRefusal

/** Where a file is now, null: nowhere. `gone`, u32 each: mails of the snapshot that are not there any more. */
export type LocateResult =
  | {
      readonly ok: true
      readonly place: { readonly name: string; readonly inNew: boolean } | null
      readonly gone: Uint8Array
    }
  | MailboxRefusal

export interface LocateRequest extends Pick<OpenOptions, 'keepNew'> {
  readonly uid: number
  /** Of the snapshot. */
  readonly generation: number
}

export type MailboxesContract = Contract<{
  /**
   * Creates the Maildir if it is missing, takes in new mail and gives a snapshot. Its UIDs are on the disk.
   * `user` is for the log.
   */
  open(user: string, mailbox: string, options: OpenOptions): OpenResult
  /** Pages of a snapshot from number `from` on, as many as a message should carry, at least one. */
  pages(mailbox: string, generation: number, from: number, withNames: boolean): PagesResult
  /** Answers when it is done, on the disk. */
  update(mailbox: string, request: UpdateRequest): UpdateResult
  /** Where a mail is now, if its file was not where the snapshot said. Looks through the folders, as `open` does. */
  locate(mailbox: string, request: LocateRequest): LocateResult
  /** Mail was delivered there: it gets a UID soon, or at the next `open`. Never needed. */
  arrived(mailbox: string): void
  /** A session has ended: old mails go, if `mail.autoexpunge` says so. `home` of the user is where that is locked. */
  left(mailbox: string, home: string): void
  /** Forgets what memory and index have of it, and looks at the files anew. UIDs stay: they are in the uid list. */
  rebuild(mailbox: string): RebuildResult
  /** To itself: mail that has arrived gets its UIDs. */
  takeIn(): void
  /** Mailboxes that are in memory. */
  list(): readonly { readonly maildir: string; readonly mails: number }[]
}>

/** The actor of one mailbox: the same, without the path. */
export type MailboxContract = Contract<{
  open(user: string, options: OpenOptions): OpenResult
  pages(generation: number, from: number, withNames: boolean): PagesResult
  left(home: string): void
  rebuild(): RebuildResult
  update(request: UpdateRequest): UpdateResult
  locate(request: LocateRequest): LocateResult
  /** Gives mail that has come its UIDs, unless somebody else is at it. */
  takeIn(): void
  count(): number
  /** To itself: time to store what can wait, or to end. */
  tick(): void
}>

// For who reads what the contract speaks of: pages, file names, and the files themselves.
export { countBareLf, headerOf, toCrlf } from './line-ends.ts'
export { baseOf, isSeen, mailPath, sizeInName } from './maildir-name.ts'
export { openRegular } from './open-file.ts'
export { inNewFlag, Page, pageLength, seenFlag } from './page.ts'
export { type MailboxPlace, placeName } from './place.ts'
export { readSizes, readUids, sizeBytes, uidBytes } from './snapshot.ts'
export { keyOf } from './uidlist.ts'
