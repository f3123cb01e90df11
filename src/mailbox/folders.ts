/** Where the files of one mailbox are, and finding one that another program has renamed. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { createMaildir } from './deliver.ts'
import { errnoOf } from './errors.ts'
import { type FolderTime, folderTime, type MaildirFiles, maildirFiles, mailNames } from './maildir.ts'
import { baseOf, mailPath } from './maildir-name.ts'
import type { StoredMail } from './page.ts'
import { listFolder, type MailboxPlace } from './place.ts'
import type { MailFile } from './register.ts'

export class Folders {
  readonly maildir: string
  /** See `MailboxPlace`. */
  readonly control: string
  /** Folder of the uid list and the keywords. */
  readonly lists: string
  readonly cur: string
  readonly fresh: string
  /** Removed and moved with these. */
  readonly files: MaildirFiles

  constructor(place: MailboxPlace, files: MaildirFiles = maildirFiles) {
    const { maildir, control = maildir } = place
    this.maildir = maildir
    this.control = control
    this.lists = listFolder(place)
    this.cur = join(maildir, 'cur')
    this.fresh = join(maildir, 'new')
    this.files = files
  }

  /** Times of `new/` and `cur/`; makes what is missing of the Maildir, unless `readOnly`. */
  times(readOnly = false): { readonly fresh: FolderTime; readonly cur: FolderTime } {
    try {
      return { fresh: folderTime(this.fresh), cur: folderTime(this.cur) }
    } catch (error) {
      if (readOnly || errnoOf(error) !== 'ENOENT') throw error
      createMaildir(this.maildir)
      return { fresh: folderTime(this.fresh), cur: folderTime(this.cur) }
    }
  }

  /** Deliveries need `tmp/` too. */
  mendTmp(): void {
    if (statSync(join(this.maildir, 'tmp'), { throwIfNoEntry: false }) === undefined)
      createMaildir(this.maildir)
  }

  /** What is remembered of `cur/` after a change of ours: read it again, or that it is known (`trusted`). */
  curTimeAfterOwnChange(trusted: boolean): string {
    return trusted ? folderTime(this.cur).mtime : ''
  }

  of(file: MailFile): string {
    return file.inNew ? this.fresh : this.cur
  }

  /** Octets on the disk; -1: it is not there under this name. */
  octetsOf(file: MailFile): number {
    return statSync(mailPath(this.of(file), file.name), { throwIfNoEntry: false })?.size ?? -1
  }

  /** When a mail came, in milliseconds since the epoch; 0: its file is not there. */
  receivedAt(mail: StoredMail): number {
    return statSync(mailPath(this.of(mail), mail.name), { throwIfNoEntry: false })?.mtimeMs ?? 0
  }
}

/** Looks for mails whose file was renamed by another program; reads the folders once unless told to again. */
export class LostFiles {
  readonly #folders: Folders
  #found: Map<string, MailFile> | undefined

  constructor(folders: Folders) {
    this.#folders = folders
  }

  async find(base: string, again = false): Promise<MailFile | undefined> {
    if (this.#found === undefined || again) {
      const { cur, fresh } = this.#folders
      const found = new Map<string, MailFile>()
      for (const name of (await mailNames(fresh)).names) found.set(baseOf(name), { name, inNew: true })
      for (const name of (await mailNames(cur)).names) found.set(baseOf(name), { name, inNew: false })
      this.#found = found
    }
    return this.#found.get(base)
  }
}
