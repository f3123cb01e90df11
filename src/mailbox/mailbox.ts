/**
 * One mailbox: looks into the folders of a Maildir, keeps the register of UIDs in step with them, and carries out
 * what sessions want changed. Calls must not overlap, which its actor sees to.
 *
 * The files say which mails there are. Other programs may deliver, move, flag and remove mails at any time.
 */
import { join } from 'node:path'
import type { LocateResult, Snapshot, UpdateRequest } from './contract.ts'
import { createMaildir } from './deliver.ts'
import { errnoOf, MailboxError, mailboxError } from './errors.ts'
import {
  cleanTmp,
  type FolderTime,
  folderTime,
  isWritable,
  type MaildirFiles,
  maildirFiles,
  mailNames,
} from './maildir.ts'
import { baseOf, isSeen, withFlag } from './maildir-name.ts'
import type { StoredMail } from './pack.ts'
import { type MailFile, Register, type RegisterOptions } from './register.ts'
import { makeSnapshot, readSizes, readUids } from './snapshot.ts'
import { flushFolder } from './uidlist-file.ts'

export interface MailboxOptions extends Omit<RegisterOptions, 'now'> {
  /** Milliseconds since the epoch; default the system's clock. */
  readonly now?: () => number
  readonly files?: MaildirFiles
}

/**
 * A folder that was changed less than this before we looked may change again without its time changing: some
 * file systems count whole seconds.
 */
const settleMs = 1_000

/** Files that one turn of the event loop removes; the storage thread serves others too. */
const unlinkBatch = 200

export class Mailbox {
  readonly #maildir: string
  readonly #cur: string
  readonly #new: string
  readonly #options: MailboxOptions
  readonly #files: MaildirFiles
  readonly #now: () => number
  readonly #register: Register
  #loaded = false
  #readOnly = false
  #snapshot: { readonly revision: number; readonly columns: Snapshot } | undefined

  constructor(options: MailboxOptions) {
    this.#maildir = options.maildir
    this.#cur = join(options.maildir, 'cur')
    this.#new = join(options.maildir, 'new')
    this.#options = options
    this.#files = options.files ?? maildirFiles
    this.#now = options.now ?? Date.now
    this.#register = new Register({ ...options, now: this.#now })
  }

  /** How many mails it had when it was last looked at. */
  get count(): number {
    return this.#register.mails.length
  }

  /** Whether the index lacks something; `save` mends that. */
  get unsaved(): boolean {
    return this.#loaded && this.#register.unsaved
  }

  /**
   * Takes in what has changed in the folders and gives the mails as they are now.
   * @throws MailboxError
   */
  async open(keepNew: boolean): Promise<Snapshot> {
    try {
      await this.#load()
      await this.#sync(keepNew)
    } catch (error) {
      throw mailboxError(error, 'opening the mailbox', this.#maildir)
    }
    const { revision, uidValidity, mails } = this.#register
    if (this.#snapshot?.revision !== revision) {
      this.#snapshot = { revision, columns: makeSnapshot(uidValidity, mails) }
    }
    return this.#snapshot.columns
  }

  /** The next `open` looks into `new/`, whatever its time says. */
  arrived(): void {
    this.#register.newTime = ''
  }

  /**
   * Marks and removes mails. Returns how many could not be removed.
   * @throws MailboxError when the uids are of an earlier uid validity, or nothing can be done at all.
   */
  async update(request: UpdateRequest): Promise<number> {
    try {
      await this.#load()
      if (request.uidValidity !== this.#register.uidValidity) {
        throw new MailboxError('MA_MAILBOX_IO', 'the UIDs of the mailbox have changed', {
          path: this.#maildir,
        })
      }
      if (request.sized !== undefined) this.#learnSizes(request.sized.uids, request.sized.sizes)
      let failed = 0
      if (!this.#readOnly) {
        const lost = new LostFiles(this.#cur, this.#new)
        for (const mail of this.#mailsOf(request.seen)) await this.#setSeen(mail, true, lost)
        for (const mail of this.#mailsOf(request.unseen)) await this.#setSeen(mail, false, lost)
        failed = await this.#expunge(this.#mailsOf(request.expunge), lost)
      }
      if (request.sized !== undefined && this.unsaved) await this.save()
      return failed
    } catch (error) {
      throw mailboxError(error, 'updating the mailbox', this.#maildir)
    }
  }

  /** Where the file of a mail is now; null: it is gone. */
  async locate(uid: number): Promise<LocateResult> {
    await this.#load()
    const mail = this.#register.find(uid)
    if (mail === undefined) return null
    const file = await new LostFiles(this.#cur, this.#new).find(mail.base)
    if (file === undefined) return null
    this.#moved(mail, file)
    return { name: mail.name, inNew: mail.inNew }
  }

  /** Brings the index up to date. */
  async save(): Promise<void> {
    await this.#register.save()
  }

  /** Before the mailbox leaves memory: what waited for a good time is written now. */
  async close(): Promise<void> {
    if (!this.#loaded) return
    if (!this.#readOnly) await this.#register.tidy()
    if (this.unsaved) await this.save()
  }

  async #load(): Promise<void> {
    if (this.#loaded) return
    this.#folderTimes()
    this.#readOnly = !isWritable(this.#maildir)
    if (this.#readOnly && !this.#options.settings.allow_readonly) {
      throw new MailboxError('MA_MAILBOX_PERMISSION', 'the Maildir cannot be written', {
        path: this.#maildir,
      })
    }
    await this.#register.load()
    this.#loaded = true
  }

  /** Times of `new/` and `cur/`; makes what is missing of the Maildir. */
  #folderTimes(): { fresh: FolderTime; cur: FolderTime } {
    try {
      return { fresh: folderTime(this.#new), cur: folderTime(this.#cur) }
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
      createMaildir(this.#maildir)
      return { fresh: folderTime(this.#new), cur: folderTime(this.#cur) }
    }
  }

  async #sync(keepNew: boolean): Promise<void> {
    const register = this.#register
    const startedAt = this.#now()
    const times = this.#folderTimes()
    register.refresh()
    const unchanged = times.fresh.mtime === register.newTime && times.cur.mtime === register.curTime
    if (unchanged && register.hasList && register.intents.length === 0) return

    cleanTmp(this.#maildir, startedAt, this.#options.settings.tmp_scan_interval)
    // First new/, then cur/: a mail that another program moves meanwhile is then seen at least once.
    const newNames = await mailNames(this.#new, times.fresh.octets)
    const stay = keepNew || this.#readOnly ? newNames : this.#moveToCur(newNames)
    const moved = stay.length < newNames.length
    let curNames = await mailNames(this.#cur, times.cur.octets)
    if (this.#lacksSome(curNames, stay)) {
      // Reading a folder in which others rename can skip files. What is missing twice is gone.
      curNames = [...(await mailNames(this.#cur, times.cur.octets)), ...curNames]
    }
    const complete = await this.#merge(curNames, stay)
    const settled = (time: FolderTime) => (startedAt - time.mtimeMs > settleMs ? time.mtime : '')
    const again = moved || !complete || (stay.length > 0 && !keepNew)
    register.newTime = again ? '' : settled(times.fresh)
    register.curTime = again ? '' : settled(times.cur)
    await this.#finishIntents()
  }

  /** Moves mails from `new/` to `cur/`; returns those that could not be moved and are served from where they are. */
  #moveToCur(names: readonly string[]): readonly string[] {
    const stay: string[] = []
    for (const [i, name] of names.entries()) {
      try {
        this.#files.rename(this.#new, name, this.#cur, name.includes(':') ? name : `${name}:2,`)
      } catch (error) {
        const errno = errnoOf(error)
        if (errno === undefined) throw error
        if (errno === 'ENOSPC' || errno === 'EDQUOT') return [...stay, ...names.slice(i)]
        stay.push(name)
      }
    }
    return stay
  }

  #lacksSome(curNames: readonly string[], newNames: readonly string[]): boolean {
    if (this.#register.mails.length === 0) return false
    const there = new Set(curNames.map(baseOf))
    for (const name of newNames) there.add(baseOf(name))
    return this.#register.mails.some((mail) => !there.has(mail.base))
  }

  /** Compares the files with the register; false: some files have no UID yet and are not shown. */
  async #merge(curNames: readonly string[], newNames: readonly string[]): Promise<boolean> {
    const files = new Map<string, MailFile>()
    for (const name of newNames) files.set(baseOf(name), { name, inNew: true })
    for (const name of curNames) files.set(baseOf(name), { name, inNew: false })
    const gone = new Set<StoredMail>()
    for (const mail of this.#register.mails) {
      const file = files.get(mail.base)
      if (file === undefined) {
        gone.add(mail)
        continue
      }
      files.delete(mail.base)
      this.#moved(mail, file)
    }
    this.#register.remove(gone)
    if (files.size === 0 && this.#register.hasList) return true
    if (!this.#readOnly) return this.#register.assign(files)
    this.#register.addInMemory(files)
    return true
  }

  #moved(mail: StoredMail, { name, inNew }: MailFile): void {
    if (mail.name === name && mail.inNew === inNew) return
    mail.name = name
    mail.inNew = inNew
    this.#register.changed(mail)
  }

  #folderOf(mail: StoredMail): string {
    return mail.inNew ? this.#new : this.#cur
  }

  /** The mails with these UIDs; those that are gone are left out. */
  #mailsOf(uids: Uint8Array | undefined): StoredMail[] {
    if (uids === undefined) return []
    const mails: StoredMail[] = []
    for (const uid of readUids(uids)) {
      const mail = this.#register.find(uid)
      if (mail !== undefined) mails.push(mail)
    }
    return mails
  }

  #learnSizes(uids: Uint8Array, sizes: Uint8Array): void {
    const values = readSizes(sizes)
    readUids(uids).forEach((uid, i) => {
      const mail = this.#register.find(uid)
      const size = values[i]
      if (mail === undefined || size === undefined || !Number.isSafeInteger(size) || size < 0) return
      this.#register.learnSize(mail, size)
    })
  }

  async #setSeen(mail: StoredMail, seen: boolean, lost: LostFiles): Promise<void> {
    for (let attempt = 0; attempt < 2; attempt++) {
      if (isSeen(mail.name) === seen) return
      const name = withFlag(mail.name, 'S', seen)
      try {
        if (this.#files.rename(this.#folderOf(mail), mail.name, this.#cur, name)) {
          this.#moved(mail, { name, inNew: false })
          this.#register.curTime = ''
          return
        }
      } catch (error) {
        const errno = errnoOf(error)
        if (errno === undefined) throw error
        // A mark is not worth a failure: a full disk must not keep anyone from removing mail.
        this.#options.log.warn({ event: 'mailbox.flag', path: this.#maildir, errno }, 'seen mark not stored')
        return
      }
      // Renamed by another program, mostly to change flags.
      const file = await lost.find(mail.base)
      if (file === undefined) return
      this.#moved(mail, file)
    }
  }

  /**
   * Removes mails: the intent goes to the disk, then the files go, then the folder is flushed. A crash in
   * between is finished by the next opening. Returns how many are still there.
   */
  async #expunge(mails: readonly StoredMail[], lost: LostFiles): Promise<number> {
    if (mails.length === 0) return 0
    const intents = mails.map(({ uid, base }) => ({ uid, base }))
    // Without the intent the removal works all the same; only a crash in the middle would leave it half done.
    await this.#register.save({ addIntents: intents })
    const removed = new Set<StoredMail>()
    let count = 0
    for (const mail of mails) {
      if (++count % unlinkBatch === 0) await new Promise<void>((resolve) => setImmediate(resolve))
      if (await this.#unlink(mail, lost)) removed.add(mail)
    }
    if (removed.size > 0) {
      this.#register.curTime = ''
      if (this.#options.settings.fsync !== 'never') {
        await flushFolder(this.#cur)
        if (mails.some((mail) => mail.inNew)) await flushFolder(this.#new)
      }
      this.#register.remove(removed)
    }
    const saved = this.#register.save({ dropIntents: intents.map(({ uid }) => uid) })
    // The client will be told that some are still there, so nothing may remove them later.
    if (removed.size < mails.length) await saved
    return mails.length - removed.size
  }

  async #unlink(mail: StoredMail, lost: LostFiles): Promise<boolean> {
    try {
      for (let attempt = 0; attempt < 3; attempt++) {
        if (this.#files.unlink(this.#folderOf(mail), mail.name)) return true
        const file = await lost.find(mail.base, attempt > 0)
        if (file === undefined) return true
        this.#moved(mail, file)
      }
      return false
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      const facts = { event: 'mailbox.expunge', path: this.#maildir, uid: mail.uid, errno }
      this.#options.log.error(facts, 'mail could not be removed')
      return false
    }
  }

  /** Removes what a QUIT before a crash wanted removed. */
  async #finishIntents(): Promise<void> {
    const { intents } = this.#register
    if (intents.length === 0 || this.#readOnly) return
    this.#register.intents = []
    const mails: StoredMail[] = []
    for (const { uid, base } of intents) {
      const mail = this.#register.find(uid)
      // The name is the proof that it is the mail that was meant.
      if (mail?.base === base) mails.push(mail)
    }
    if (mails.length > 0) {
      const facts = { event: 'mailbox.recovered', path: this.#maildir, mails: mails.length }
      this.#options.log.info(facts, 'removal finished that was interrupted')
      await this.#expunge(mails, new LostFiles(this.#cur, this.#new))
    }
    await this.#register.save({ dropIntents: intents.map(({ uid }) => uid) })
  }
}

/** Looks for mails whose file was renamed by another program; reads the folders once unless told to again. */
class LostFiles {
  readonly #cur: string
  readonly #new: string
  #found: Map<string, MailFile> | undefined

  constructor(cur: string, fresh: string) {
    this.#cur = cur
    this.#new = fresh
  }

  async find(base: string, again = false): Promise<MailFile | undefined> {
    if (this.#found === undefined || again) {
      const files = new Map<string, MailFile>()
      for (const name of await mailNames(this.#new, 0)) files.set(baseOf(name), { name, inNew: true })
      for (const name of await mailNames(this.#cur, 0)) files.set(baseOf(name), { name, inNew: false })
      this.#found = files
    }
    return this.#found.get(base)
  }
}
