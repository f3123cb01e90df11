/**
 * One mailbox: looks into the folders of a Maildir, keeps the register of UIDs in step with them, and carries out
 * what sessions want changed. Calls must not overlap, which its actor sees to.
 *
 * The files say which mails there are. Other programs may deliver, move, flag and remove mails at any time.
 */
import { join } from 'node:path'
import { pid } from 'node:process'
import type { MailboxSettings } from './config.ts'
import type { LocateRequest, OpenOptions, PagesResult, Snapshot, UpdateRequest } from './contract.ts'
import { createControl } from './deliver.ts'
import { type Dotlock, takeDotlock } from './dotlock.ts'
import { errnoOf, MailboxError, mailboxError } from './errors.ts'
import { Folders, LostFiles } from './folders.ts'
import { addKeyword, letterOf, readKeywords } from './keywords.ts'
import { keysWithSize } from './listed-mail.ts'
import { isWritable, type MaildirFiles } from './maildir.ts'
import { withFlag } from './maildir-name.ts'
import { Page, type StoredMail } from './page.ts'
import { type MailFile, Register, type RegisterOptions } from './register.ts'
import { Removal } from './removal.ts'
import { giveRightNames } from './right-names.ts'
import { type Hidden, hasKeyword, makeView, readSizes, readUids, uidBytes, type View } from './snapshot.ts'
import { FolderSync, type SyncMode } from './sync.ts'
import { inTurns } from './turns.ts'
import { keyOf, withKey } from './uidlist.ts'
import { flushFolder } from './uidlist-file.ts'

export interface MailboxOptions extends Omit<RegisterOptions, 'now'> {
  readonly settings: MailboxSettings
  /** Milliseconds since the epoch; default the system's clock. */
  readonly now?: () => number
  readonly files?: MaildirFiles
}

/** Views of earlier moments that are kept for sessions that are still fetching theirs. */
const keptViews = 16
/** Octets of pages in one message. */
const messageOctets = 256 * 1024
/** A lock of autoexpunge that is older was left behind by a crash. */
const autoexpungeStaleMs = 3_600_000
/** Mails removed together after a session: the storage thread serves others too. */
const expungeBatch = 1_000

export class Mailbox {
  readonly #maildir: string
  readonly #options: MailboxOptions
  readonly #folders: Folders
  readonly #now: () => number
  readonly #register: Register
  readonly #sync: FolderSync
  readonly #removal: Removal
  #loaded = false
  #readOnly = false
  /** By generation, the latest last. */
  readonly #views = new Map<number, View>()
  #latest: { readonly revision: number; readonly flag: string; readonly generation: number } | undefined
  #generation: number

  constructor(options: MailboxOptions) {
    const { maildir, settings, log, hostname } = options
    this.#maildir = maildir
    this.#options = options
    this.#folders = new Folders(options, options.files)
    this.#now = options.now ?? Date.now
    this.#register = new Register({ ...options, now: this.#now })
    const parts = { folders: this.#folders, register: this.#register, settings, log }
    this.#sync = new FolderSync({ ...parts, hostname, now: this.#now })
    this.#removal = new Removal(parts)
    // Not one that the actor before us gave to a session.
    this.#generation = this.#now() * 1000
  }

  /** How many mails it had when it was last looked at. */
  get count(): number {
    return this.#register.mails.count
  }

  /** Whether its UIDs are on the disk. */
  get hasList(): boolean {
    return this.#register.hasList
  }

  /** Whether the uid list on the disk lacks something that was learned. */
  get listIsBehind(): boolean {
    return this.#register.listIsBehind
  }

  /** Whether the index lacks something; `save` mends that. */
  get unsaved(): boolean {
    return this.#loaded && this.#register.unsaved
  }

  /**
   * Takes in what has changed in the folders and gives the mails as they are now.
   * @throws MailboxError
   */
  async open({ keepNew, deletedFlag }: OpenOptions): Promise<Snapshot> {
    try {
      await this.#load()
      await this.#look(keepNew)
      if (!this.#readOnly) await this.#removal.finishIntents()
      await inTurns(this.#register.mails.pack())
      const generation = this.#view(deletedFlag)
      const { count } = this.#views.get(generation)!
      const { uidValidity } = this.#register
      const { newTime } = this.#sync
      return { uidValidity, count, generation, newTime, pages: this.#firstPages(generation) }
    } catch (error) {
      throw mailboxError(error, 'opening the mailbox', this.#maildir)
    }
  }

  /** Brings the register in step with the folders. */
  #look(keepNew: boolean, how: Pick<SyncMode, 'impatient' | 'onlyNew'> = {}): Promise<void> {
    const { empty_new } = this.#options.settings.maildir
    return this.#sync.run({ keepNew: keepNew && !empty_new, readOnly: this.#readOnly, ...how })
  }

  /** The number under which the mails of this moment can be had. */
  #view(deletedFlag: string): number {
    const { revision } = this.#register
    const hidden = deletedFlag === '' ? undefined : this.#hidden(deletedFlag)
    const flag = hidden === undefined ? '' : `${hidden.letter} ${deletedFlag}`
    if (this.#latest?.revision === revision && this.#latest.flag === flag) return this.#latest.generation
    const generation = ++this.#generation
    this.#latest = { revision, flag, generation }
    this.#views.set(generation, makeView(this.#register.mails, hidden))
    if (this.#views.size > keptViews) this.#views.delete(this.#views.keys().next().value!)
    return generation
  }

  #hidden(keyword: string): Hidden {
    return { keyword, letter: letterOf(readKeywords(this.#folders.lists), keyword) }
  }

  /** A mailbox that fits into one message comes whole; of others, the columns that every session needs. */
  #firstPages(generation: number): readonly Uint8Array[] {
    const { pages } = this.#views.get(generation)!
    let octets = 0
    for (const page of pages) octets += page.length
    return this.pages(generation, 0, octets <= messageOctets) ?? []
  }

  pages(generation: number, from: number, withNames: boolean): PagesResult {
    const view = this.#views.get(generation)
    if (view === undefined) return null
    // Who is still fetching keeps it from being the oldest.
    this.#views.delete(generation)
    this.#views.set(generation, view)
    const sent: Uint8Array[] = []
    let octets = 0
    for (let i = from; i < view.pages.length && octets < messageOctets; i++) {
      const page = view.pages[i]!
      const wanted = withNames ? page : Page.of(page).withoutNames
      sent.push(wanted)
      octets += wanted.length
    }
    return sent
  }

  /**
   * Gives mail that was delivered its UIDs, unless another program has the uid list locked.
   * @throws MailboxError
   */
  async takeIn(): Promise<void> {
    try {
      await this.#load()
      if (this.#readOnly || this.#register.isLocked) return
      this.#register.newTime = ''
      await this.#look(true, { impatient: true, onlyNew: true })
      await inTurns(this.#register.mails.pack())
    } catch (error) {
      throw mailboxError(error, 'looking for new mail', this.#maildir)
    }
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
      const learned = this.#learn(request)
      let failed = 0
      if (!this.#readOnly) {
        const lost = new LostFiles(this.#folders)
        for (const mail of this.#mailsOf(request.seen)) await this.#setFlag(mail, 'S', true, lost)
        for (const mail of this.#mailsOf(request.unseen)) await this.#setFlag(mail, 'S', false, lost)
        const hasFlags = request.seen !== undefined || request.unseen !== undefined
        if (hasFlags && this.#options.settings.mail.fsync === 'always') await flushFolder(this.#folders.cur)
        if (request.flag !== undefined) failed += await this.#addKeyword(request.flag, lost)
        failed += await this.#removal.expunge(this.#mailsOf(request.expunge), lost)
        // A client was told them: they must outlive the index.
        if (request.uidls !== undefined) await this.#register.tidy()
        const { misnamed } = request
        if (misnamed !== undefined && !this.#options.settings.maildir.broken_filename_sizes)
          await this.#giveRightNames(this.#mailsOf(misnamed))
        if (request.takeIn !== undefined) await this.#takeIn(request.takeIn.keepNew)
      }
      if (learned && this.unsaved) await this.save()
      await inTurns(this.#register.mails.pack())
      return failed
    } catch (error) {
      throw mailboxError(error, 'updating the mailbox', this.#maildir)
    }
  }

  /** The session is over, and has what it asked for: a failure is no reason to tell it anything. */
  async #giveRightNames(mails: readonly StoredMail[]): Promise<void> {
    try {
      await giveRightNames(mails, this.#folders, this.#register)
    } catch (error) {
      const { code, message } = mailboxError(error, 'renaming mails', this.#maildir)
      const facts = { event: 'mailbox.names', path: this.#maildir, code, error: message }
      this.#options.log.warn(facts, 'wrong sizes in file names stay')
    }
  }

  async #takeIn(keepNew: boolean): Promise<void> {
    try {
      await this.#look(keepNew, { impatient: true, onlyNew: true })
    } catch (error) {
      const { code, message } = mailboxError(error, 'taking in new mail', this.#maildir)
      const facts = { event: 'mailbox.take-in', path: this.#maildir, code, error: message }
      this.#options.log.warn(facts, 'new mail not taken in')
    }
  }

  /**
   * Where the file of a mail is now; null: it is gone. And which other mails of its snapshot are.
   * @throws MailboxError
   */
  async locate({
    uid,
    generation,
    keepNew,
  }: LocateRequest): Promise<{ place: MailFile | null; gone: Uint8Array }> {
    try {
      await this.#load()
      const known = this.#register.mails.find(uid)
      if (known === undefined || this.#folders.octetsOf(known) === -1) {
        // Whatever the times of the folders say.
        this.#register.newTime = ''
        this.#register.curTime = ''
        await this.#look(keepNew, { impatient: true })
        await inTurns(this.#register.mails.pack())
      }
      const mail = this.#register.mails.find(uid)
      const place = mail === undefined ? null : { name: mail.name, inNew: mail.inNew }
      return { place, gone: uidBytes(this.#goneOf(generation)) }
    } catch (error) {
      throw mailboxError(error, 'looking for a mail', this.#maildir)
    }
  }

  /** Mails of a snapshot that are no longer there. */
  #goneOf(generation: number): number[] {
    const { mails } = this.#register
    const now = new Set(mails.pages)
    const before = this.#views.get(generation)?.pages ?? []
    return before
      .filter((page) => !now.has(page))
      .flatMap((page) => Array.from(Page.of(page).uids).filter((uid) => mails.find(uid) === undefined))
  }

  /**
   * Removes what is too old, or too much, after a session has ended. Returns how many mails. Nothing is done while a
   * Dovecot is at it, which has a lock in the user's home then.
   * @throws MailboxError
   */
  async autoexpunge(home: string): Promise<number> {
    const { autoexpunge, autoexpunge_max_mails: most } = this.#options.settings.mail
    if (autoexpunge === 0 && most === 0) return 0
    const lock = await this.#lockAutoexpunge(home)
    if (lock === 'taken') return 0
    try {
      return await this.#expungeOld(autoexpunge, most)
    } finally {
      if (lock !== 'none') lock.release()
    }
  }

  /** `none`: it cannot be made, in a home that is not there or not ours; old mails go all the same. */
  async #lockAutoexpunge(home: string): Promise<Dotlock | 'taken' | 'none'> {
    const { settings } = this.#options
    try {
      const lock = await takeDotlock(join(home, 'dovecot.autoexpunge.lock'), {
        pid,
        waitMs: 0,
        staleMs: autoexpungeStaleMs,
        exclusive: settings.mail.dotlock_excl,
        mayBeEmpty: true,
      })
      return lock ?? 'taken'
    } catch (error) {
      if (errnoOf(error) === undefined) throw error
      return 'none'
    }
  }

  async #expungeOld(autoexpunge: number, most: number): Promise<number> {
    try {
      await this.#load()
      if (this.#readOnly) return 0
      await this.#sync.run({ keepNew: true, readOnly: false })
      const doomed = this.#doomed(autoexpunge, most)
      for (let i = 0; i < doomed.length; i += expungeBatch) {
        const uids = doomed.slice(i, i + expungeBatch)
        const mails = uids.flatMap((uid) => this.#register.mails.find(uid) ?? [])
        await this.#removal.expunge(mails, new LostFiles(this.#folders))
      }
      return doomed.length
    } catch (error) {
      throw mailboxError(error, 'removing old mails', this.#maildir)
    }
  }

  #doomed(age: number, most: number): number[] {
    const before = this.#now() - age
    let surplus = most === 0 ? 0 : this.#register.mails.count - most
    const doomed: number[] = []
    for (const mail of this.#register.mails.mails()) {
      // The oldest come first; the first one that may stay ends it, so that a large mailbox is not looked through.
      if (surplus <= 0 && (age === 0 || !(this.#folders.receivedAt(mail) < before))) break
      doomed.push(mail.uid)
      surplus--
    }
    return doomed
  }

  /** Brings the index up to date. */
  async save(): Promise<void> {
    await this.#register.save()
  }

  /** Writes what the uid list lacks, unless another program has it locked. */
  async tidy(): Promise<void> {
    if (this.#loaded && !this.#readOnly && !this.#register.isLocked) await this.#register.tidy(true)
  }

  /** Before the mailbox leaves memory: what waited for a good time is written now. */
  async close(): Promise<void> {
    if (!this.#loaded) return
    // The index has it too: a shutdown does not wait for others.
    if (!this.#readOnly) await this.#register.tidy(true)
    if (this.unsaved) await this.save()
  }

  async #load(): Promise<void> {
    if (this.#loaded) return
    const { readOnly = false, settings } = this.#options
    this.#folders.times(readOnly)
    if (!readOnly && this.#folders.control !== this.#maildir) createControl(this.#folders)
    this.#readOnly = readOnly || !isWritable(this.#folders)
    if (this.#readOnly && !readOnly && !settings.mailbox.allow_readonly) {
      throw new MailboxError('MA_MAILBOX_PERMISSION', 'the Maildir cannot be written', {
        path: this.#maildir,
      })
    }
    await this.#register.load()
    this.#loaded = true
  }

  /** The mails with these UIDs; those that are gone are left out. */
  #mailsOf(uids: Uint8Array | undefined): StoredMail[] {
    if (uids === undefined) return []
    return Array.from(readUids(uids)).flatMap((uid) => this.#register.mails.find(uid) ?? [])
  }

  /** Takes over what a session found out; true: there was something. */
  #learn({ sized, uidls, xuidls }: UpdateRequest): boolean {
    if (sized !== undefined) this.#learnSizes(sized.uids, sized.sizes)
    if (uidls !== undefined && !this.#readOnly) {
      this.#learnTexts(uidls, (mail, uidl) => {
        if (keyOf(mail.keys, 'P') !== undefined || !/^[\x21-\x7e]+$/.test(uidl)) return
        // A size that is known stands before it. An empty one stands for the base name.
        mail.keys = withKey(keysWithSize(mail), 'P', uidl === mail.base ? '' : uidl)
        this.#register.listChanged(mail)
      })
    }
    if (xuidls !== undefined) {
      this.#learnTexts(xuidls, (mail, xuidl) => {
        mail.keys = withKey(mail.keys, 'x', /^[\x21-\x7e]*$/.test(xuidl) ? xuidl : '')
        this.#register.changed(mail)
      })
    }
    return sized !== undefined || uidls !== undefined || xuidls !== undefined
  }

  #learnSizes(uids: Uint8Array, sizes: Uint8Array): void {
    const values = readSizes(sizes)
    readUids(uids).forEach((uid, i) => {
      const mail = this.#register.mails.find(uid)
      const size = values[i]
      if (mail === undefined || size === undefined || !Number.isSafeInteger(size) || size < 0) return
      if (mail.virtual === size) return
      mail.virtual = size
      // Not worth a rewrite of its own: the index has it, and the list gets it at the next occasion.
      this.#register.listChanged(mail)
    })
  }

  #learnTexts(
    { uids, values }: { readonly uids: Uint8Array; readonly values: string },
    learn: (mail: StoredMail, value: string) => void,
  ): void {
    const texts = values.split('\n')
    readUids(uids).forEach((uid, i) => {
      const mail = this.#register.mails.find(uid)
      const value = texts[i]
      if (mail !== undefined && value !== undefined) learn(mail, value)
    })
  }

  /** Gives mails a keyword; returns how many could not get it. */
  async #addKeyword(
    { uids, keyword }: { readonly uids: Uint8Array; readonly keyword: string },
    lost: LostFiles,
  ): Promise<number> {
    let letter = this.#hidden(keyword).letter
    if (letter === undefined) {
      const locked = await this.#register.locked(async () => {
        letter = addKeyword(this.#folders.lists, keyword)
      })
      if (!locked) return readUids(uids).length
    }
    let failed = 0
    for (const mail of this.#mailsOf(uids)) {
      if (hasKeyword(mail, { keyword, letter })) continue
      if (letter !== undefined) {
        if (!(await this.#setFlag(mail, letter, true, lost))) failed++
        continue
      }
      // All letters are taken: the index alone knows.
      mail.keys = mail.keys === '' ? `k${keyword}` : `${mail.keys} k${keyword}`
      this.#register.changed(mail)
    }
    if (letter === undefined) await this.save()
    else if (this.#options.settings.mail.fsync !== 'never') await flushFolder(this.#folders.cur)
    return failed
  }

  /** Renames the file of a mail for a flag; false: it could not be done. A mail that is gone needs none. */
  async #setFlag(mail: StoredMail, flag: string, on: boolean, lost: LostFiles): Promise<boolean> {
    const { files, cur } = this.#folders
    for (let attempt = 0; attempt < 3; attempt++) {
      const name = withFlag(mail.name, flag, on)
      if (name === mail.name) return true
      try {
        if (files.rename(this.#folders.of(mail), mail.name, cur, name)) {
          this.#register.moved(mail, { name, inNew: false })
          const { very_dirty_syncs } = this.#options.settings.maildir
          this.#register.curTime = this.#folders.curTimeAfterOwnChange(very_dirty_syncs)
          return true
        }
      } catch (error) {
        const errno = errnoOf(error)
        if (errno === undefined) throw error
        // A mark is not worth a failure: a full disk must not keep anyone from removing mail.
        const facts = { event: 'mailbox.flag', path: this.#maildir, flag, errno }
        this.#options.log.warn(facts, 'flag not stored')
        return false
      }
      // Renamed by another program, mostly to change flags.
      const file = await lost.find(mail.base, attempt > 0)
      if (file === undefined) return true
      this.#register.moved(mail, file)
    }
    return false
  }
}

/**
 * The same mailbox with everything read from its files. What `before` knows and the files do not is written first.
 * @throws MailboxError; what the index has is gone then, which costs time only.
 */
export async function rebuilt(before: Mailbox, options: MailboxOptions): Promise<Mailbox> {
  const look = { keepNew: true, deletedFlag: '' }
  await before.open(look)
  await before.close()
  await options.index.save({ maildir: options.maildir, forget: true })
  const after = new Mailbox(options)
  await after.open(look)
  await after.save()
  return after
}
