/**
 * The register of a mailbox: which mails it has and their UIDs, in memory, in `dovecot-uidlist` and in the index.
 *
 * The list decides. A UID is flushed to it before anyone outside sees it, is never changed, and never given to
 * another mail. The index saves reading the list and the folders; what it says counts only while the list is the
 * file it was made from. What a folder holds is found out by `mailbox.ts`.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pid } from 'node:process'
import type { Logger } from '../actors/index.ts'
import type { MailboxSettings } from './config.ts'
import { inDeliveryOrder } from './delivery-order.ts'
import { takeDotlock } from './dotlock.ts'
import { MailboxError, mailboxError } from './errors.ts'
import type { FilesByBase } from './files-by-base.ts'
import type { IndexWrite, StoredIndex } from './index-store.ts'
import { fromKeys, newMail, newMails, recordOf } from './listed-mail.ts'
import { MailTable } from './mail-table.ts'
import { addLetters } from './maildir-name.ts'
import type { StoredMail } from './page.ts'
import { listFolder } from './place.ts'
import { keysAfterRename } from './right-names.ts'
import { inParts, readState, type StoredState } from './stored-state.ts'
import { inTurns, type Steps, stepLength } from './turns.ts'
import { newUidValidity } from './uid-validity.ts'
import type { UidListRecord } from './uidlist.ts'
import {
  appendRecords,
  type ListIdentity,
  listedAmong,
  listIdentity,
  type ReadUidList,
  readAdded,
  readUidList,
  writeUidList,
} from './uidlist-file.ts'

/** Where the index is kept, as a mailbox sees it. */
export interface MailboxIndex {
  load(maildir: string): Promise<StoredIndex | null>
  /** Fulfilled when it is on the disk. */
  save(write: IndexWrite): Promise<void>
}

export interface RegisterOptions {
  readonly maildir: string
  /** See `MailboxPlace`. */
  readonly control?: string | undefined
  readonly hostname: string
  readonly index: MailboxIndex
  readonly settings: MailboxSettings
  readonly log: Logger
  /** Only look: UIDs that are missing last no longer than this. */
  readonly readOnly?: boolean
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** A removal that was asked for; after a crash it is finished. */
export interface Intent {
  readonly uid: number
  readonly base: string
}

/** Where the file of a mail is. */
export interface MailFile {
  readonly name: string
  readonly inNew: boolean
}

/** The next UID is never higher, as in IMAP. */
const largestUid = 0xffff_ffff

/** So many new mails at once are looked for among those that were removed. */
const returnedLookedFor = 16

/** Dovecot's wait for this lock; longer than its age at which it counts as left behind. */
const lockWaitMs = 122_000
/** For what can be done another time. */
const impatientWaitMs = 1_000

export class Register {
  readonly #options: RegisterOptions
  readonly #folder: string
  #uidValidity = 0
  #nextUid = 1
  #guid = ''
  #otherKeys = ''
  readonly #mails = new MailTable()
  /** The list as we last read or wrote it, and how many records it has, dead ones included. */
  #list: ListIdentity = ''
  #lines = 0
  #rewriteList = false
  /** UIDs that another program assigned and whose files we have not seen yet, by base name. */
  #assigned = new Map<string, UidListRecord>()
  /** The highest UID that had a line when we last read or wrote the list: higher ones are of other programs. */
  #lastListed = 0
  #dirtyState = false
  #resetIndex = false

  /** Removals that the index says were asked for and perhaps not done. */
  intents: readonly Intent[] = []
  /** When each folder was last read, kept with the mails; empty: it must be read again. */
  newTime = ''
  curTime = ''
  /** When `tmp/` was last cleaned, milliseconds since the epoch. */
  tmpTime = 0
  /** Counts changes of what a snapshot shows. */
  revision = 0
  /** How often the whole list was read: names of files are not known any more then. */
  listsRead = 0
  /** Keyword letters of names that were found. */
  readonly letters = new Set<string>()

  constructor(options: RegisterOptions) {
    this.#options = options
    this.#folder = listFolder(options)
  }

  get uidValidity(): number {
    return this.#uidValidity
  }

  /** Whoever changes a mail calls {@link changed} after it; mails come and go by methods of the register. */
  get mails(): Omit<MailTable, 'load' | 'fill' | 'clear' | 'add' | 'changed' | 'remove' | 'rowsToSave'> {
    return this.#mails
  }

  /** Whether the list is on the disk, so that UIDs can be shown. */
  get hasList(): boolean {
    return this.#list !== ''
  }

  /** Whether the list on the disk lacks something that `tidy` would write. */
  get listIsBehind(): boolean {
    return this.#rewriteList
  }

  /** Whether the index lacks something. */
  get unsaved(): boolean {
    return this.#dirtyState || this.#mails.unsaved
  }

  /** Reads the index, and the list if that is not the one the index was made from. */
  async load(): Promise<void> {
    const { index, maildir } = this.#options
    const stored = await index.load(maildir)
    if (stored !== null) this.intents = stored.intents
    const state = stored === null ? undefined : this.#decode(stored)
    if (state !== undefined) {
      this.#uidValidity = state.uidValidity
      this.#nextUid = state.nextUid
      this.#guid = state.guid
      this.#otherKeys = state.otherKeys
      this.#list = state.list
      this.#lines = state.lines
      this.newTime = state.newTime
      this.curTime = state.curTime
      this.tmpTime = state.tmpTime
      this.#lastListed = state.lastListed
      for (const record of state.unseen) this.#assigned.set(record.base, record)
    } else {
      this.#resetIndex = true
    }
    if (state === undefined) await this.#readList()
    else await this.refresh()
  }

  /** The state as it was stored, the mails in the table; undefined when it makes no sense. */
  #decode(stored: StoredIndex): StoredState | undefined {
    const state = readState(stored.state)
    if (state !== undefined && this.#mails.load(stored.pages)) {
      if (this.#mails.lastUid < state.nextUid && this.#mails.sum === state.sum) return state
      this.#mails.clear()
    }
    const facts = { event: 'mailbox.index', path: this.#options.maildir }
    this.#options.log.warn(facts, 'index rows are damaged and made anew')
    return undefined
  }

  /** Takes over the list if another program has written it. */
  async refresh(): Promise<void> {
    if (listIdentity(this.#folder) === this.#list) return
    if (!this.#readAdded()) await this.#readList()
  }

  /** Takes over lines that another program has added; false: the list must be read as a whole. */
  #readAdded(): boolean {
    if (this.#list === '' || this.#rewriteList) return false
    const added = readAdded(this.#folder, this.#list, this.#nextUid)
    if (added === undefined) return false
    // A mail that we have under another UID: it was removed and came back, and we never looked in between.
    if (added.records.some(({ base }) => this.#mails.mayHave(base))) return false
    for (const record of added.records) this.#assigned.set(record.base, record)
    this.#lastListed = added.records.at(-1)!.uid
    this.#nextUid = this.#lastListed + 1
    this.#lines += added.records.length
    this.#list = added.identity
    this.#dirtyState = true
    this.revision++
    return true
  }

  async #readList(): Promise<void> {
    this.listsRead++
    const { log, maildir, readOnly } = this.#options
    let read: ReadUidList | undefined
    try {
      read = await inTurns(readUidList(this.#folder))
    } catch (error) {
      if (!(error instanceof MailboxError)) throw error
      const facts = { event: 'mailbox.uidlist', path: maildir, error: error.message }
      log.error(facts, 'uid list is damaged and made anew')
      // From the index; if that is lost too, from the lines that make sense.
      if (this.#uidValidity === 0) read = await this.#salvage()
    }
    this.newTime = ''
    this.curTime = ''
    this.revision++
    this.#dirtyState = true
    if (read === undefined) {
      this.#list = ''
      this.#lines = 0
      this.#rewriteList = true
      if (this.#uidValidity === 0) {
        const seconds = Math.floor(this.#options.now() / 1000)
        this.#uidValidity = readOnly
          ? seconds
          : newUidValidity(this.#options.control ?? this.#options.maildir, seconds)
        this.#guid = randomBytes(16).toString('hex')
      }
      return
    }
    await inTurns(this.#adoptList(read))
  }

  async #salvage(): Promise<ReadUidList | undefined> {
    try {
      const read = await inTurns(readUidList(this.#folder, true))
      return read && { ...read, complete: false }
    } catch (error) {
      if (!(error instanceof MailboxError)) throw error
      return undefined
    }
  }

  *#adoptList({ list, identity, complete }: ReadUidList): Steps<void> {
    const known = this.#uidValidity === list.uidValidity
    if (this.#uidValidity !== 0 && !known) {
      const { maildir, log } = this.#options
      const facts = {
        event: 'mailbox.uidvalidity',
        path: maildir,
        before: this.#uidValidity,
        now: list.uidValidity,
      }
      log.warn(facts, 'uid validity changed: clients will download everything again')
    }
    const assigned = this.#assigned
    this.#assigned = new Map()
    if (known) {
      const ours = new Map<string, StoredMail>()
      yield* this.#mails.each((mail) => ours.set(mail.base, mail))
      const listed = new Set<StoredMail>()
      let count = 0
      for (const record of list.records) {
        if (++count % stepLength === 0) yield
        const mail = ours.get(record.base)
        if (mail !== undefined && mail.uid === record.uid) {
          fromKeys(mail, record.keys)
          listed.add(mail)
        } else if (record.uid > this.#lastListed || assigned.get(record.base)?.uid === record.uid) {
          // All others are of mails that are gone.
          this.#assigned.set(record.base, record)
        }
      }
      // A mail that got a new UID from another program has that one: it had gone and come back. What the list lacks,
      // because an older one was put back, keeps the UID that clients have seen.
      const left = [...ours.values()].filter((mail) => !this.#assigned.has(mail.base))
      yield* this.#mails.fill(left)
      if (left.some((mail) => !listed.has(mail))) this.#rewriteList = true
    } else {
      this.#resetIndex = true
      // The same name twice: the mail was removed and came back, and has had the later UID since.
      const latest = new Map<string, UidListRecord>()
      for (const [i, record] of list.records.entries()) {
        latest.set(record.base, record)
        if (i % stepLength === 0) yield
      }
      const records = latest.size === list.records.length ? list.records : inOrder(latest.values())
      yield* this.#mails.fill(newMails(records))
    }
    this.#uidValidity = list.uidValidity
    this.#nextUid = Math.max(known ? this.#nextUid : 1, list.nextUid)
    this.#lastListed = Math.max(known ? this.#lastListed : 0, list.records.at(-1)?.uid ?? 0)
    this.#guid = list.guid === '' ? randomBytes(16).toString('hex') : list.guid
    this.#otherKeys = list.otherKeys
    this.#list = identity
    this.#lines = list.records.length
    this.#rewriteList ||= list.version !== 3 || list.guid === '' || !complete
  }

  /** Marks a mail as changed after the caller changed it. */
  changed(mail: StoredMail): void {
    this.#mails.changed(mail)
    this.revision++
  }

  /** Forgets mails whose files are gone. Their lines stay in the list until it is rewritten. */
  remove(gone: readonly StoredMail[]): void {
    if (gone.length === 0) return
    this.#mails.remove(gone.map(({ uid }) => uid))
    this.revision++
  }

  /** Base names of mails that have UIDs from another program, and whose files we have not seen. */
  get unseen(): readonly string[] {
    return [...this.#assigned.keys()]
  }

  /** Their files are nowhere. */
  forgetUnseen(bases: readonly string[]): void {
    for (const base of bases) if (this.#assigned.delete(base)) this.#dirtyState = true
  }

  /** Forgets mails with these base names, their UIDs are used up. */
  async removeNamed(bases: readonly string[]): Promise<void> {
    const named: StoredMail[] = []
    await inTurns(this.#mails.each((mail) => bases.includes(mail.base) && named.push(mail)))
    this.remove(named)
  }

  /** Where the file of a mail is. */
  moved(mail: StoredMail, { name, inNew }: MailFile): void {
    if (mail.name === name && mail.inNew === inNew) return
    mail.name = name
    mail.inNew = inNew
    addLetters(this.letters, name)
    this.changed(mail)
  }

  /** The same mail has another base name from now on; its line in the list is rewritten by `rewrite` or `tidy`. */
  renamed(mail: StoredMail, base: string, { name, inNew }: MailFile): void {
    mail.keys = keysAfterRename(mail.keys, mail.base)
    Object.assign(mail, { base, name, inNew })
    this.listChanged(mail)
  }

  /** As `changed`, and the line of the mail in the list is another one now: `tidy` writes it. */
  listChanged(mail: StoredMail): void {
    this.changed(mail)
    this.#rewriteList = true
  }

  /**
   * Gives UIDs to mails that have none, in the order of their names, and writes the list if it is not there.
   * `prepare` runs first, with the list locked; `impatient` waits for the lock no more than a moment. `false`: not now, because another program keeps the lock or there is no room. Then they are not shown.
   * @throws MailboxError when it cannot be done and nothing can be shown without it.
   */
  async assign(files: FilesByBase, prepare: () => Promise<void>, impatient: boolean): Promise<boolean> {
    const { log, maildir } = this.#options
    try {
      const locked = await this.locked(async () => {
        // Between our look and the lock another program may have given them UIDs.
        const before = this.revision
        await this.refresh()
        const isKnown = this.revision !== before
        if (this.#nextUid + files.size > largestUid) await this.#renumber()
        await prepare()
        const added = await inTurns(this.addInMemory(files, isKnown))
        try {
          await this.#write(added)
        } catch (error) {
          // A UID that may not be on the disk is not shown. Its number is burnt, in case it is there after all.
          this.#mails.remove(uidsOf(added))
          this.revision++
          throw error
        }
      }, impatient)
      if (locked) return true
      log.warn({ event: 'mailbox.locked', path: maildir }, 'another program keeps the uid list locked')
      if (this.hasList) return false
      throw new MailboxError('MA_MAILBOX_IO', 'the uid list is locked by another program', { path: maildir })
    } catch (error) {
      const failure = mailboxError(error, 'writing the uid list', maildir)
      // With a full disk, clients must still get in: they are who can make room.
      if (failure.code !== 'MA_MAILBOX_FULL' || !this.hasList) throw failure
      log.error({ event: 'mailbox.uidlist', path: maildir, error: failure.message }, 'no room for new UIDs')
      return false
    }
  }

  /** No UID is left under this validity: all mails get new ones under another. Their other keys stay. */
  async #renumber(): Promise<void> {
    const { maildir, log, now } = this.#options
    const before = this.#uidValidity
    const mails = [...this.#mails.mails()].map((mail, i) => ({ ...mail, uid: i + 1 }))
    this.#uidValidity = newUidValidity(
      this.#options.control ?? this.#options.maildir,
      Math.floor(now() / 1000),
    )
    if (this.#uidValidity === before) this.#uidValidity++
    await inTurns(this.#mails.fill(mails))
    this.#nextUid = mails.length + 1
    this.#lastListed = 0
    this.#assigned.clear()
    this.#rewriteList = true
    this.#resetIndex = true
    this.revision++
    const facts = { event: 'mailbox.uidvalidity', path: maildir, before, now: this.#uidValidity }
    log.error(facts, 'UIDs are used up: clients will download everything again')
  }

  /**
   * Gives UIDs that last no longer than this process; for Maildirs that cannot be written. `mayBeKnown`: some of the
   * files may be of mails that have theirs.
   */
  *addInMemory(files: FilesByBase, mayBeKnown = false): Steps<Added> {
    const known = new Set<string>()
    if (mayBeKnown) {
      yield* this.#mails.each(({ base }) => {
        if (files.has(base)) known.add(base)
      })
    }
    const first = this.#nextUid
    for (const [i, base] of (yield* inDeliveryOrder(files.bases)).entries()) {
      if (i % stepLength === 0) yield
      if (known.has(base)) continue
      const record = this.#assigned.get(base)
      const file = files.get(base)!
      const mail =
        record === undefined
          ? newMail(this.#nextUid++, base, '', file)
          : newMail(record.uid, base, record.keys, file)
      addLetters(this.letters, mail.name)
      if (record !== undefined) this.#assigned.delete(base)
      this.#mails.add(mail)
    }
    this.revision++
    return { first, count: this.#nextUid - first }
  }

  async #write(added: Added): Promise<void> {
    if (this.#rewriteList || !this.hasList || this.#hasDeadLines) {
      await this.rewrite()
    } else if (added.count > 0) {
      const mails = uidsOf(added).map((uid) => this.#mails.find(uid)!)
      this.#warnOfReturned(mails)
      this.#list = await appendRecords(this.#folder, mails.map(recordOf), this.#flush)
      this.#lines += added.count
      this.#dirtyState = true
    }
  }

  /** A removed mail that is back is another one: who put it there should know why it is downloaded again. */
  #warnOfReturned(added: readonly StoredMail[]): void {
    // Only when the list has lines of removed mails; and not for who puts back a whole folder.
    if (added.length > returnedLookedFor || this.#lines + added.length === this.#mails.count) return
    const bases = listedAmong(
      this.#folder,
      added.map(({ base }) => base),
    )
    for (const base of bases) {
      const facts = { event: 'mailbox.returned', path: this.#options.maildir, name: base }
      this.#options.log.warn(facts, 'a removed mail is there again, and gets a new UID')
    }
  }

  get #hasDeadLines(): boolean {
    return this.#lines > 64 && this.#mails.count <= this.#lines * 0.75
  }

  /** Writes the list anew, with all that is known. With the list locked. */
  async rewrite(): Promise<void> {
    if (this.#guid === '') this.#guid = randomBytes(16).toString('hex')
    const header = {
      uidValidity: this.#uidValidity,
      nextUid: this.#nextUid,
      guid: this.#guid,
      otherKeys: this.#otherKeys,
    }
    this.#list = await writeUidList(this.#folder, header, this.#records(), this.#flush)
    this.#lines = this.#mails.count + this.#assigned.size
    const listed = [...this.#assigned.values()].map(({ uid }) => uid)
    this.#lastListed = Math.max(this.#lastListed, this.#mails.lastUid, ...listed)
    this.#rewriteList = false
    this.#dirtyState = true
  }

  /** By UID, with those that another program gave to mails we have not seen yet: they are not ours to drop. */
  *#records(): Generator<UidListRecord> {
    const assigned = inOrder(this.#assigned.values())
    let next = 0
    for (const mail of this.#mails.mails()) {
      while (next < assigned.length && assigned[next]!.uid < mail.uid) yield assigned[next++]!
      yield recordOf(mail)
    }
    yield* assigned.slice(next)
  }

  /** Rewrites the list if something waited for that: learned sizes, dead lines. A failure is logged. `impatient` as in `assign`. */
  async tidy(impatient = false): Promise<void> {
    if (!this.hasList || (!this.#rewriteList && !this.#hasDeadLines)) return
    try {
      await this.locked(async () => {
        await this.refresh()
        await this.rewrite()
      }, impatient)
    } catch (error) {
      const { log, maildir } = this.#options
      log.warn(
        { event: 'mailbox.uidlist', path: maildir, error: (error as Error).message },
        'uid list not rewritten',
      )
    }
  }

  get #flush(): boolean {
    return this.#options.settings.mail.fsync !== 'never'
  }

  /** Whether somebody has the list locked, or left the lock behind. */
  get isLocked(): boolean {
    return existsSync(this.#lockPath)
  }

  get #lockPath(): string {
    return join(this.#folder, 'dovecot-uidlist.lock')
  }

  /** Runs `work` with the list locked; false: another program kept the lock. */
  async locked(work: () => Promise<void>, impatient = false): Promise<boolean> {
    const { settings } = this.#options
    const { max_lock_timeout, dotlock_excl: exclusive } = settings.mail
    const longest = max_lock_timeout === 0 ? lockWaitMs : Math.min(max_lock_timeout, lockWaitMs)
    const waitMs = impatient ? Math.min(longest, impatientWaitMs) : longest
    const staleMs = settings.maildir.uidlist_lock_stale
    const lock = await takeDotlock(this.#lockPath, { pid, waitMs, staleMs, exclusive })
    if (lock === undefined) return false
    try {
      await work()
    } finally {
      lock.release()
    }
    return true
  }

  /** Brings the index up to date; false, and logged, when that failed. Everything goes with the next attempt then. */
  async save(intents: Pick<IndexWrite, 'addIntents' | 'dropIntents'> = {}): Promise<boolean> {
    const { index, maildir, log } = this.#options
    const state: StoredState = {
      uidValidity: this.#uidValidity,
      nextUid: this.#nextUid,
      guid: this.#guid,
      otherKeys: this.#otherKeys,
      list: this.#list,
      lines: this.#lines,
      newTime: this.newTime,
      curTime: this.curTime,
      tmpTime: this.tmpTime,
      lastListed: this.#lastListed,
      unseen: [...this.#assigned.values()],
      sum: this.#mails.sum,
    }
    const rows = this.#mails.rowsToSave(this.#resetIndex)
    const writes = inParts(maildir, rows, this.#resetIndex)
    const last: IndexWrite = { ...writes.pop()!, state: JSON.stringify(state), ...intents }
    this.#dirtyState = false
    this.#resetIndex = false
    try {
      // A crash between two parts leaves a state that does not fit its pages: everything is read again then.
      for (const write of writes) await index.save(write)
      await index.save(last)
      return true
    } catch (error) {
      this.#resetIndex = true
      this.#dirtyState = true
      log.warn({ event: 'mailbox.index', path: maildir, error: (error as Error).message }, 'index not saved')
      return false
    }
  }
}

/** Mails that got UIDs one after the other. */
interface Added {
  readonly first: number
  readonly count: number
}

const uidsOf = ({ first, count }: Added): number[] => Array.from({ length: count }, (_, i) => first + i)

const inOrder = (records: Iterable<UidListRecord>): UidListRecord[] =>
  [...records].sort((a, b) => a.uid - b.uid)
