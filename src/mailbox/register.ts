/**
 * The register of a mailbox: which mails it has and their UIDs, in memory, in `dovecot-uidlist` and in the index.
 *
 * The list decides. A UID is flushed to it before anyone outside sees it, is never changed, and never given to
 * another mail. The index saves reading the list and the folders; what it says counts only while the list is the
 * file it was made from. What a folder holds is found out by `mailbox.ts`.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { pid } from 'node:process'
import type { Logger } from '../actors/index.ts'
import type { MailSettings } from './config.ts'
import { takeDotlock } from './dotlock.ts'
import { MailboxError, mailboxError } from './errors.ts'
import type { IndexWrite, StoredIndex } from './index-store.ts'
import { compareNames, sizeInName } from './maildir-name.ts'
import { decodePack, encodePack, packOf, type StoredMail } from './pack.ts'
import { keyOf, type UidListRecord, withKey } from './uidlist.ts'
import {
  appendRecords,
  type ListIdentity,
  listIdentity,
  newUidValidity,
  type ReadUidList,
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
  readonly hostname: string
  readonly index: MailboxIndex
  readonly settings: MailSettings
  readonly log: Logger
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

/** What the index keeps beside the mails, as JSON. */
interface StoredState {
  readonly uidValidity: number
  readonly nextUid: number
  readonly guid: string
  readonly otherKeys: string
  readonly list: ListIdentity
  readonly lines: number
  readonly newTime: string
  readonly curTime: string
}

/** Dovecot's age at which this lock counts as left behind, and its wait for it. */
const lockStaleMs = 120_000
const lockWaitMs = 122_000

export class Register {
  readonly #options: RegisterOptions
  #uidValidity = 0
  #nextUid = 1
  #guid = ''
  #otherKeys = ''
  /** In the order of UIDs. */
  #mails: StoredMail[] = []
  /** The list as we last read or wrote it, and how many records it has, dead ones included. */
  #list: ListIdentity = ''
  #lines = 0
  #rewriteList = false
  /** UIDs that another program assigned and whose files we have not seen yet, by base name. */
  #assigned = new Map<string, UidListRecord>()
  /** Rows that the index does not have yet. */
  #dirtyPacks = new Set<number>()
  #dirtyState = false
  #resetIndex = false

  /** Removals that the index says were asked for and perhaps not done. */
  intents: readonly Intent[] = []
  /** When each folder was last read, kept with the mails; empty: it must be read again. */
  newTime = ''
  curTime = ''
  /** Counts changes of what a snapshot shows. */
  revision = 0

  constructor(options: RegisterOptions) {
    this.#options = options
  }

  get uidValidity(): number {
    return this.#uidValidity
  }

  /** In the order of UIDs. Change a mail only with {@link changed} after it. */
  get mails(): readonly StoredMail[] {
    return this.#mails
  }

  /** Whether the list is on the disk, so that UIDs can be shown. */
  get hasList(): boolean {
    return this.#list !== ''
  }

  /** Whether the index lacks something. */
  get unsaved(): boolean {
    return this.#dirtyState || this.#dirtyPacks.size > 0
  }

  /** Reads the index, and the list if that is not the one the index was made from. */
  async load(): Promise<void> {
    const { index, maildir } = this.#options
    const stored = await index.load(maildir)
    const decoded = stored === null ? undefined : this.#decode(stored)
    if (stored !== null) this.intents = stored.intents
    if (decoded !== undefined) {
      const { state, mails } = decoded
      this.#uidValidity = state.uidValidity
      this.#nextUid = state.nextUid
      this.#guid = state.guid
      this.#otherKeys = state.otherKeys
      this.#list = state.list
      this.#lines = state.lines
      this.newTime = state.newTime
      this.curTime = state.curTime
      this.#mails = mails
    } else {
      this.#resetIndex = true
    }
    if (decoded === undefined || listIdentity(maildir) !== this.#list) this.#readList()
  }

  /** The index as it was stored, or undefined when it makes no sense. */
  #decode(stored: StoredIndex): { state: StoredState; mails: StoredMail[] } | undefined {
    const mails: StoredMail[] = []
    let state: StoredState | undefined
    try {
      state = JSON.parse(stored.state) as StoredState
    } catch {
      // Reported below.
    }
    const intact =
      state !== undefined &&
      Number.isSafeInteger(state.uidValidity) &&
      Number.isSafeInteger(state.nextUid) &&
      typeof state.list === 'string' &&
      stored.packs.every((pack) => decodePack(pack, mails)) &&
      mails.every((mail, i) => i === 0 || mail.uid > mails[i - 1]!.uid) &&
      (mails.at(-1)?.uid ?? 0) < state.nextUid
    if (intact) return { state: state!, mails }
    const facts = { event: 'mailbox.index', path: this.#options.maildir }
    this.#options.log.warn(facts, 'index rows are damaged and made anew')
    return undefined
  }

  /** Takes over the list if another program has written it. */
  refresh(): void {
    if (listIdentity(this.#options.maildir) !== this.#list) this.#readList()
  }

  #readList(): void {
    const { log, maildir } = this.#options
    let read: ReadUidList | undefined
    try {
      read = readUidList(maildir)
    } catch (error) {
      if (!(error instanceof MailboxError)) throw error
      // Rebuilt from the index; if that is lost too, clients will see new UIDLs.
      const facts = { event: 'mailbox.uidlist', path: maildir, error: error.message }
      log.error(facts, 'uid list is damaged and made anew')
    }
    this.newTime = ''
    this.curTime = ''
    this.revision++
    this.#dirtyState = true
    this.#assigned.clear()
    if (read === undefined) {
      this.#list = ''
      this.#lines = 0
      this.#rewriteList = true
      if (this.#uidValidity === 0) {
        this.#uidValidity = newUidValidity(maildir, Math.floor(this.#options.now() / 1000))
        this.#guid = randomBytes(16).toString('hex')
      }
      return
    }
    this.#adoptList(read)
  }

  #adoptList({ list, identity, complete }: ReadUidList): void {
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
    for (const mail of this.#mails) this.#dirtyPacks.add(packOf(mail.uid))
    if (known) {
      const ours = new Map(this.#mails.map((mail) => [mail.base, mail]))
      const listed = new Set<StoredMail>()
      for (const record of list.records) {
        const mail = ours.get(record.base)
        if (mail !== undefined && mail.uid === record.uid) {
          fromKeys(mail, record.keys)
          listed.add(mail)
        } else if (record.uid >= this.#nextUid) {
          this.#assigned.set(record.base, record)
        }
      }
      // A mail that got a new UID from another program has that one. What the list lacks, because an older one
      // was put back, keeps the UID that clients have seen.
      this.#mails = this.#mails.filter((mail) => listed.has(mail) || !this.#assigned.has(mail.base))
      if (this.#mails.length > listed.size) this.#rewriteList = true
    } else {
      this.#resetIndex = true
      // The same name twice: the mail was removed and came back, and has had the later UID since.
      const latest = new Map(list.records.map((record) => [record.base, record]))
      this.#mails = [...latest.values()]
        .sort((a, b) => a.uid - b.uid)
        .map((record) => newMail(record.uid, record.base, record.keys))
    }
    this.#uidValidity = list.uidValidity
    this.#nextUid = Math.max(known ? this.#nextUid : 1, list.nextUid)
    this.#guid = list.guid === '' ? randomBytes(16).toString('hex') : list.guid
    this.#otherKeys = list.otherKeys
    this.#list = identity
    this.#lines = list.records.length
    this.#rewriteList ||= list.version !== 3 || list.guid === '' || !complete
  }

  /** Marks a mail as changed after the caller changed it. */
  changed(mail: StoredMail): void {
    this.#dirtyPacks.add(packOf(mail.uid))
    this.revision++
  }

  /** Forgets mails whose files are gone. Their lines stay in the list until it is rewritten. */
  remove(gone: ReadonlySet<StoredMail>): void {
    if (gone.size === 0) return
    this.#mails = this.#mails.filter((mail) => !gone.has(mail))
    for (const mail of gone) this.changed(mail)
  }

  /** The mail with a UID. */
  find(uid: number): StoredMail | undefined {
    let low = 0
    let high = this.#mails.length - 1
    while (low <= high) {
      const middle = (low + high) >>> 1
      const mail = this.#mails[middle]!
      if (mail.uid === uid) return mail
      if (mail.uid < uid) low = middle + 1
      else high = middle - 1
    }
    return undefined
  }

  /** Takes over what a reader found out. */
  learnSize(mail: StoredMail, virtual: number): void {
    if (mail.virtual === virtual) return
    mail.virtual = virtual
    this.changed(mail)
    // Not worth a rewrite of its own: the index has it, and the list gets it at the next occasion.
    this.#rewriteList = true
  }

  /**
   * Gives UIDs to mails that have none, in the order of their names, and writes the list if it is not there.
   * `false`: not now, because another program keeps the lock or there is no room. Then they are not shown.
   * @throws MailboxError when it cannot be done and nothing can be shown without it.
   */
  async assign(files: ReadonlyMap<string, MailFile>): Promise<boolean> {
    const { log, maildir } = this.#options
    try {
      const locked = await this.#locked(async () => {
        // Between our look and the lock another program may have given them UIDs.
        this.refresh()
        const added = this.addInMemory(files)
        try {
          await this.#write(added)
        } catch (error) {
          // A UID that may not be on the disk is not shown. Its number is burnt, in case it is there after all.
          this.remove(new Set(added))
          throw error
        }
      })
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

  /** Gives UIDs that last no longer than this process; for Maildirs that cannot be written. */
  addInMemory(files: ReadonlyMap<string, MailFile>): StoredMail[] {
    const known = new Set(this.#mails.map((mail) => mail.base))
    const fresh: StoredMail[] = []
    let adopted = false
    for (const base of [...files.keys()].filter((name) => !known.has(name)).sort(compareNames)) {
      const record = this.#assigned.get(base)
      const mail =
        record === undefined ? newMail(this.#nextUid++, base, '') : newMail(record.uid, base, record.keys)
      if (record === undefined) fresh.push(mail)
      else adopted = true
      this.#assigned.delete(base)
      Object.assign(mail, files.get(base)!)
      this.#mails.push(mail)
      this.changed(mail)
    }
    if (adopted) this.#mails.sort((a, b) => a.uid - b.uid)
    return fresh
  }

  async #write(added: readonly StoredMail[]): Promise<void> {
    if (this.#rewriteList || !this.hasList || this.#hasDeadLines) {
      await this.#rewrite()
    } else if (added.length > 0) {
      this.#list = await appendRecords(this.#options.maildir, added.map(recordOf), this.#flush)
      this.#lines += added.length
      this.#dirtyState = true
    }
  }

  get #hasDeadLines(): boolean {
    return this.#lines > 64 && this.#mails.length <= this.#lines * 0.75
  }

  async #rewrite(): Promise<void> {
    if (this.#guid === '') this.#guid = randomBytes(16).toString('hex')
    const records = this.#mails.map(recordOf)
    // UIDs that another program gave to mails we have not seen yet are not ours to drop.
    records.push(...this.#assigned.values())
    records.sort((a, b) => a.uid - b.uid)
    const header = {
      uidValidity: this.#uidValidity,
      nextUid: this.#nextUid,
      guid: this.#guid,
      otherKeys: this.#otherKeys,
    }
    this.#list = await writeUidList(this.#options.maildir, header, records, this.#flush)
    this.#lines = records.length
    this.#rewriteList = false
    this.#dirtyState = true
  }

  /** Rewrites the list if something waited for that: learned sizes, dead lines. A failure is logged. */
  async tidy(): Promise<void> {
    if (!this.hasList || (!this.#rewriteList && !this.#hasDeadLines)) return
    try {
      await this.#locked(async () => {
        this.refresh()
        await this.#rewrite()
      })
    } catch (error) {
      const { log, maildir } = this.#options
      log.warn(
        { event: 'mailbox.uidlist', path: maildir, error: (error as Error).message },
        'uid list not rewritten',
      )
    }
  }

  get #flush(): boolean {
    return this.#options.settings.fsync !== 'never'
  }

  /** Runs `work` with the list locked; false: another program kept the lock. */
  async #locked(work: () => Promise<void>): Promise<boolean> {
    const { hostname, settings, maildir } = this.#options
    const waitMs =
      settings.max_lock_timeout === 0 ? lockWaitMs : Math.min(settings.max_lock_timeout, lockWaitMs)
    const path = join(maildir, 'dovecot-uidlist.lock')
    const lock = await takeDotlock(path, { hostname, pid, waitMs, staleMs: lockStaleMs })
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
    }
    const write: IndexWrite = {
      maildir,
      ...(this.#resetIndex ? { reset: true } : {}),
      state: JSON.stringify(state),
      packs: this.#packsToSave(),
      ...intents,
    }
    this.#dirtyState = false
    this.#resetIndex = false
    try {
      await index.save(write)
      return true
    } catch (error) {
      this.#resetIndex = true
      this.#dirtyState = true
      log.warn({ event: 'mailbox.index', path: maildir, error: (error as Error).message }, 'index not saved')
      return false
    }
  }

  #packsToSave(): { number: number; bytes: Uint8Array | null }[] {
    if (this.#resetIndex) for (const mail of this.#mails) this.#dirtyPacks.add(packOf(mail.uid))
    const wanted = new Map<number, StoredMail[]>()
    for (const number of this.#dirtyPacks) wanted.set(number, [])
    this.#dirtyPacks.clear()
    if (wanted.size === 0) return []
    for (const mail of this.#mails) wanted.get(packOf(mail.uid))?.push(mail)
    return [...wanted].map(([number, mails]) => ({
      number,
      bytes: mails.length === 0 ? null : encodePack(mails),
    }))
  }
}

/** A mail that has just got its UID, its sizes as far as the name or the list says them. */
function newMail(uid: number, base: string, keys: string): StoredMail {
  const virtual = sizeInName(base, 'W')
  const mail: StoredMail = {
    uid,
    base,
    name: base,
    inNew: false,
    virtual,
    physical: sizeInName(base, 'S'),
    keys: '',
  }
  fromKeys(mail, keys)
  return mail
}

/** Takes the sizes out of the keys of a list line, and keeps the others. */
function fromKeys(mail: StoredMail, keys: string): void {
  mail.keys = ''
  if (keys === '') return
  const virtual = Number(keyOf(keys, 'W') ?? -1)
  const physical = Number(keyOf(keys, 'S') ?? -1)
  if (mail.virtual === -1 && Number.isSafeInteger(virtual)) mail.virtual = virtual
  if (mail.physical === -1 && Number.isSafeInteger(physical)) mail.physical = physical
  mail.keys = keys
    .split(' ')
    .filter((word) => word[0] !== 'W' && word[0] !== 'S')
    .join(' ')
}

/** The line of a mail. A size that its name has is not repeated. */
function recordOf(mail: StoredMail): UidListRecord {
  const known = mail.virtual === -1 || mail.virtual === sizeInName(mail.base, 'W')
  const keys = known ? mail.keys : withKey(mail.keys, 'W', String(mail.virtual))
  return { uid: mail.uid, base: mail.base, keys }
}
