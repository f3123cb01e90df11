/**
 * Brings the register of a mailbox in step with its folders. Other programs deliver, move, flag and remove mails at
 * any time and ask nobody; only UIDs are given, and mails taken out of `new/`, with the uid list locked.
 */
import { crc32 } from 'node:zlib'
import type { Logger } from '../actors/index.ts'
import type { MailboxSettings } from './config.ts'
import { errnoOf, mailboxError } from './errors.ts'
import { FilesByBase } from './files-by-base.ts'
import type { Folders } from './folders.ts'
import { nameLetters, readKeywords, unnamedLetters } from './keywords.ts'
import { cleanTmp, type FolderContent, type FolderTime, mailNames, namesInOrder } from './maildir.ts'
import { baseOf, isMailName } from './maildir-name.ts'
import { mendDuplicate, mendStrange } from './mend.ts'
import type { StoredMail } from './page.ts'
import type { MailFile, Register } from './register.ts'
import { renamedMails } from './right-names.ts'
import { inTurns, type Steps, stepLength } from './turns.ts'

/**
 * A folder that was changed less than this before we looked may change again without its time changing: some
 * file systems count whole seconds.
 */
const settleMs = 1_000

export interface SyncOptions {
  readonly folders: Folders
  readonly register: Register
  readonly settings: MailboxSettings
  readonly hostname: string
  readonly log: Logger
  readonly now: () => number
}

/** How the mailbox may be changed while we look. */
export interface SyncMode {
  /** Mails stay in `new/`. */
  readonly keepNew: boolean
  /** Nothing can be written. */
  readonly readOnly: boolean
  /** Hardly wait for another program's lock: mails without UID are left for the next time. */
  readonly impatient?: boolean
  /** Only what is in `new/` and not known yet; of `cur/` nothing is read. */
  readonly onlyNew?: boolean
}

export class FolderSync {
  readonly #options: SyncOptions
  /** When `new/` was changed last, as the last `run` left it: nanoseconds since the epoch. */
  newTime = ''

  /** What `cur/` held when all of it was known, and the register as it was then. */
  #known: { readonly listing: string; readonly revision: number } | undefined

  constructor(options: SyncOptions) {
    this.#options = options
  }

  async run(mode: SyncMode): Promise<void> {
    const { register, folders, now, settings } = this.#options
    const startedAt = now()
    const times = folders.times(mode.readOnly)
    await register.refresh()
    const { unseen } = register
    this.newTime = times.fresh.mtime
    const sameNew =
      times.fresh.mtime === register.newTime ||
      (mode.keepNew && keptTime(times.fresh.mtime) === register.newTime)
    const sameCur = mode.onlyNew === true || times.cur.mtime === register.curTime
    if (sameNew && sameCur && register.hasList) return
    if (!mode.readOnly) {
      folders.mendTmp()
      this.#cleanTmp(startedAt)
    }

    // First new/, then cur/: a mail that another program moves meanwhile is then seen at least once.
    const fresh = await mailNames(folders.fresh, times.fresh)
    let { content: known, listing } = sameCur ? unread : await this.#readCur(times.cur)
    const seen = await inTurns(SeenFiles.of(fresh, known))
    if (seen.duplicates.size > 0) seen.order(await namesInOrder(folders.cur), seen.unknown)
    let gone = await this.#match(seen)
    if (gone.length > 0 && mode.onlyNew !== true) {
      // Reading a folder in which others rename can skip files. What has left new/ may be in cur/, although that had not
      // changed when we began. What is missing twice is gone.
      const again = await inTurns(SeenFiles.of(fresh, await mailNames(folders.cur, times.cur)))
      if (again.duplicates.size > 0) again.order(await namesInOrder(folders.cur), again.unknown)
      const missing = new Set(gone.map(({ uid }) => uid))
      gone = (await this.#match(again)).filter(({ uid }) => missing.has(uid))
      for (const base of again.unknown.bases) seen.unknown.set(base, again.unknown.get(base)!)
      listing = ''
    }
    if (gone.length > 0 && seen.unknown.size > 0 && mode.onlyNew !== true) {
      gone = renamedMails(gone, seen.unknown, folders, register)
    }
    // What has left new/ may be in cur/.
    if (mode.onlyNew !== true) register.remove(gone)

    const toMove = mode.keepNew || mode.readOnly ? [] : fresh.names
    const burnt = mode.readOnly ? [] : seen.addFolders(fresh, known)
    const complete = await this.#takeIn(seen, toMove, mode)
    if (burnt.length > 0) await register.removeNamed(burnt)
    if (complete && seen.knowsCur) register.forgetUnseen(unseen)
    if (toMove.length > 0) this.newTime = folders.times(mode.readOnly).fresh.mtime
    if (!mode.readOnly) await this.#nameLetters()
    if (mode.onlyNew === true) {
      register.newTime = ''
      if (toMove.length > 0)
        register.curTime = folders.curTimeAfterOwnChange(settings.maildir.very_dirty_syncs)
      return
    }
    const mended = mode.readOnly ? 0 : await inTurns(this.#mend(seen, fresh, known))
    // What was moved changed the folders; what could not be done may be done next time.
    const isDone = complete && mended === 0 && toMove.length === 0
    this.#known = isDone && listing !== '' ? { listing, revision: register.revision } : undefined
    const settled = (time: FolderTime) => (isDone && startedAt - time.mtimeMs > settleMs ? time.mtime : '')
    const kept = mode.keepNew && fresh.names.length > 0
    register.newTime = kept ? keptTime(settled(times.fresh)) : settled(times.fresh)
    register.curTime = settled(times.cur)
    if (complete && settings.maildir.very_dirty_syncs) register.curTime = folders.curTimeAfterOwnChange(true)
  }

  /**
   * What is in `cur/`, undefined: what was there when everything in it was known, whatever its time says; nor have we
   * changed anything since.
   */
  async #readCur(time: FolderTime): Promise<{ content: FolderContent | undefined; listing: string }> {
    const { folders, register } = this.#options
    const content = await mailNames(folders.cur, time)
    const { names, strange } = content
    const listing = `${register.listsRead} ${names.length} ${await inTurns(sumOf(names))}`
    const isKnown = listing === this.#known?.listing && register.revision === this.#known.revision
    return { content: isKnown && strange.length === 0 ? undefined : content, listing }
  }

  #cleanTmp(now: number): void {
    const { register, settings, folders } = this.#options
    if (Math.abs(now - register.tmpTime) < settings.maildir.tmp_scan_interval) return
    register.tmpTime = now
    cleanTmp(folders.maildir, now)
  }

  /** Follows mails to where they are now, and takes them out of `seen.unknown`; returns those that are nowhere. */
  async #match(seen: SeenFiles): Promise<StoredMail[]> {
    const { register, folders } = this.#options
    const gone: StoredMail[] = []
    const follow = (mail: StoredMail): void => {
      const file = seen.take(mail, folders)
      if (file === undefined) gone.push(mail)
      else register.moved(mail, file)
    }
    const { mails } = register
    if (mails.count > 0)
      await inTurns(seen.knowsCur ? mails.each(follow) : mails.eachNear(seen.unknown, follow))
    return gone
  }

  /** Gives UIDs to the rest, and moves what is in `new/`. False: that was not possible. */
  async #takeIn(
    seen: SeenFiles,
    toMove: readonly string[],
    { readOnly, impatient = false }: SyncMode,
  ): Promise<boolean> {
    const { register } = this.#options
    const files = seen.unknown
    if (files.size === 0 && toMove.length === 0 && register.hasList) return true
    if (!readOnly) return register.assign(files, () => this.#moveToCur(toMove, seen), impatient)
    await inTurns(register.addInMemory(files))
    return true
  }

  /** Moves mails from `new/` to `cur/`. Those that cannot be moved are served from where they are. */
  async #moveToCur(names: readonly string[], seen: SeenFiles): Promise<void> {
    const { register, folders } = this.#options
    const files = seen.unknown
    const known = new FilesByBase()
    for (const [i, name] of names.entries()) {
      if (i % stepLength === stepLength - 1) await new Promise<void>((resolve) => setImmediate(resolve))
      const moved = name.includes(':') ? name : `${name}:2,`
      const base = baseOf(name)
      try {
        // Another mail with this very name is there: nothing may take its place.
        if (folders.octetsOf({ name: moved, inNew: false }) !== -1) {
          seen.twins.set(base, moved)
          continue
        }
        folders.files.rename(folders.fresh, name, folders.cur, moved)
      } catch (error) {
        const errno = errnoOf(error)
        if (errno === undefined) throw error
        if (errno === 'ENOSPC' || errno === 'EDQUOT') break
        continue
      }
      const target = files.has(base) ? files : known
      const before = target.get(base)
      const other = before?.inNew === false ? before.name : seen.twins.get(base)
      if (other !== undefined) seen.addDuplicate(base, other, moved)
      target.set(base, { name: moved, inNew: false })
    }
    if (seen.duplicates.size > 0) seen.order(await namesInOrder(folders.cur), known)
    if (known.size === 0) return
    const follow = (mail: StoredMail): void => {
      const file = known.get(mail.base)
      if (file !== undefined && !(seen.kept.has(mail.base) && seen.keepsName(mail)))
        register.moved(mail, file)
    }
    await inTurns(register.mails.eachNear(known, follow))
  }

  /** Letters without a name get one. Not now: the next look at a name that has them does it. */
  async #nameLetters(): Promise<void> {
    const { register, folders, log } = this.#options
    const { letters } = register
    if (letters.size === 0) return
    const used = unnamedLetters(readKeywords(folders.lists), letters)
    letters.clear()
    if (used.length === 0) return
    try {
      await register.locked(async () => nameLetters(folders.lists, used), true)
    } catch (error) {
      const { code, message } = mailboxError(error, 'naming keywords', folders.maildir)
      log.warn(
        { event: 'mailbox.keywords', path: folders.maildir, code, error: message },
        'keywords not named',
      )
    }
  }

  /** Mends what Maildirs should not have; returns how much, as the folders have changed then. */
  *#mend(seen: SeenFiles, fresh: FolderContent, known: FolderContent | undefined): Steps<number> {
    const { folders, hostname, log } = this.#options
    let count = 0
    for (const entry of fresh.strange) {
      count += Number(mendStrange(folders, folders.fresh, entry, hostname, log))
      yield
    }
    for (const entry of known?.strange ?? []) {
      count += Number(mendStrange(folders, folders.cur, entry, hostname, log))
      yield
    }
    for (const [first, ...others] of seen.duplicates.values()) {
      for (const name of others) {
        count += Number(mendDuplicate(folders, first!, { name, inNew: false }, hostname, log))
        yield
      }
    }
    for (const name of seen.twins.size === 0 ? [] : fresh.names) {
      const other = seen.twins.get(baseOf(name))
      if (other === undefined) continue
      count += Number(mendDuplicate(folders, other, { name, inNew: true }, hostname, log))
      yield
    }
    return count
  }
}

const unread: { readonly content: FolderContent | undefined; readonly listing: string } = {
  content: undefined,
  listing: '',
}

/** Differs when the names do, or their order. */
function* sumOf(names: readonly string[]): Steps<number> {
  let sum = 0
  for (let i = 0; i < names.length; i += stepLength) {
    sum = crc32(names.slice(i, i + stepLength).join('\n'), sum)
    yield
  }
  return sum
}

/** Known, and there are mails in it that whoever does not keep `new/` as it is will move. */
const keptTime = (mtime: string): string => (mtime === '' ? '' : `kept ${mtime}`)

/** The files of both folders, as they were read. */
class SeenFiles {
  /** Those that no mail of the register was found to be. */
  readonly unknown = new FilesByBase()
  /** Names in `cur/` with the same base, by it; the first is that of the mail. */
  readonly duplicates = new Map<string, string[]>()
  /** Bases of names in `new/` that are in `cur/` too, and a name there. */
  readonly twins = new Map<string, string>()
  /** Bases of mails that were known by a name of these. */
  readonly kept = new Set<string>()
  readonly knowsCur: boolean

  private constructor(knowsCur: boolean) {
    this.knowsCur = knowsCur
  }

  /** `known` undefined: `cur/` has not changed. */
  static *of(fresh: FolderContent, known: FolderContent | undefined): Steps<SeenFiles> {
    const seen = new SeenFiles(known !== undefined)
    for (const name of fresh.names) seen.unknown.set(baseOf(name), { name, inNew: true })
    const twice = new Set<string>()
    for (const [i, name] of known?.names.entries() ?? []) {
      if (i % stepLength === 0) yield
      const base = baseOf(name)
      // The one that is in new/ as well is known by its name in cur/ for now.
      if (!seen.unknown.addToCur(base, name)) twice.add(base)
    }
    if (twice.size > 0) yield* seen.#findDuplicates(twice, fresh.names, known!.names)
    return seen
  }

  *#findDuplicates(
    twice: ReadonlySet<string>,
    fresh: readonly string[],
    known: readonly string[],
  ): Steps<void> {
    for (const [i, name] of known.entries()) {
      if (i % stepLength === 0) yield
      const base = baseOf(name)
      if (!twice.has(base)) continue
      const others = this.duplicates.get(base)
      if (others === undefined) this.duplicates.set(base, [name])
      else others.push(name)
    }
    for (const name of fresh) {
      const [other] = this.duplicates.get(baseOf(name)) ?? []
      if (other !== undefined) this.twins.set(baseOf(name), other)
    }
    for (const [base, all] of this.duplicates) if (all.length === 1) this.duplicates.delete(base)
  }

  /** What was in `new/` is in `cur/` under this name now, where there is another one. */
  addDuplicate(base: string, other: string, name: string): void {
    const all = this.duplicates.get(base)
    if (all === undefined) this.duplicates.set(base, [other, name])
    else all.push(name)
  }

  /**
   * Of several names a mail that is new has the one that comes first in the folder, as with Dovecot. `rest` gets those of
   * mails that are known.
   */
  order(names: readonly string[], rest: FilesByBase): void {
    for (const all of this.duplicates.values()) all.length = 0
    for (const name of names) this.duplicates.get(baseOf(name))?.push(name)
    for (const [base, [first]] of this.duplicates) {
      if (first === undefined) continue
      const files = this.unknown.has(base) ? this.unknown : rest
      files.set(base, { name: first, inNew: false })
    }
  }

  /** A mail keeps the name by which it is known, as long as it is there. */
  keepsName({ base, name }: StoredMail): boolean {
    const all = this.duplicates.get(base)
    const at = all?.indexOf(name) ?? -1
    if (all === undefined || at === -1) return false
    all.splice(at, 1)
    all.unshift(name)
    return true
  }

  /** Where the file of a mail is; undefined: nowhere. */
  take(mail: StoredMail, folders: Folders): MailFile | undefined {
    const file = this.unknown.get(mail.base)
    // What was in cur/ is still there: nothing has changed in it.
    if (file === undefined) return this.knowsCur || mail.inNew ? undefined : mail
    this.unknown.delete(mail.base)
    if (this.keepsName(mail) || (!file.inNew && file.name === mail.name)) {
      this.kept.add(mail.base)
      return mail
    }
    if (this.knowsCur || !file.inNew || mail.inNew || folders.octetsOf(mail) === -1) return file
    this.twins.set(mail.base, mail.name)
    this.kept.add(mail.base)
    return mail
  }

  /** Bases of folders among the mails. As with Dovecot they use up UIDs, before they are moved out of the way. */
  addFolders(fresh: FolderContent, known: FolderContent | undefined): string[] {
    const bases: string[] = []
    for (const { name, isFolder } of [...fresh.strange, ...(known?.strange ?? [])]) {
      const base = baseOf(name)
      if (!isFolder || !isMailName(name) || this.unknown.has(base)) continue
      this.unknown.set(base, { name, inNew: false })
      bases.push(base)
    }
    return bases
  }
}
