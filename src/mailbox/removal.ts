/**
 * Removes mails for good: the intent goes to the disk, then the files go, then the folder is flushed, then the quota
 * is told. A crash in between is finished by the next opening, and never takes a mail that was not meant.
 */
import type { Logger } from '../actors/index.ts'
import type { MailboxSettings } from './config.ts'
import { errnoOf } from './errors.ts'
import { type Folders, LostFiles } from './folders.ts'
import { sizeInName } from './maildir-name.ts'
import type { StoredMail } from './page.ts'
import { addToQuota, hasQuotaFile } from './quota-file.ts'
import type { Register } from './register.ts'
import { flushFolder } from './uidlist-file.ts'

/** Files that one turn of the event loop removes; the storage thread serves others too. */
const unlinkBatch = 200

export interface RemovalOptions {
  readonly folders: Folders
  readonly register: Register
  readonly settings: MailboxSettings
  readonly log: Logger
}

export class Removal {
  readonly #options: RemovalOptions

  constructor(options: RemovalOptions) {
    this.#options = options
  }

  /** Returns how many are still there. */
  async expunge(mails: readonly StoredMail[], lost: LostFiles): Promise<number> {
    if (mails.length === 0) return 0
    const { folders, register, settings } = this.#options
    const intents = mails.map(({ uid, base }) => ({ uid, base }))
    // Without the intent the removal works all the same; only a crash in the middle would leave it half done.
    await register.save({ addIntents: intents })
    const counts = hasQuotaFile(folders)
    const removed: StoredMail[] = []
    let octets = 0
    let count = 0
    let turn = 0
    for (const mail of mails) {
      if (++turn % unlinkBatch === 0) await new Promise<void>((resolve) => setImmediate(resolve))
      const outcome = await this.#unlink(mail, lost, counts)
      if (outcome === 'failed') continue
      removed.push(mail)
      // Who removed it counted it.
      if (outcome === 'gone') continue
      octets += outcome
      count++
    }
    if (removed.length > 0) {
      register.curTime = folders.curTimeAfterOwnChange(settings.maildir.very_dirty_syncs)
      if (settings.mail.fsync !== 'never') {
        await flushFolder(folders.cur)
        if (removed.some((mail) => mail.inNew)) await flushFolder(folders.fresh)
      }
      register.remove(removed)
      if (counts) await this.#count(-octets, -count)
    }
    const saved = register.save({ dropIntents: intents.map(({ uid }) => uid) })
    // The client will be told that some are still there, so nothing may remove them later.
    if (removed.length < mails.length) await saved
    return mails.length - removed.length
  }

  /** Finishes what a QUIT before a crash wanted removed. */
  async finishIntents(): Promise<void> {
    const { register, log, folders } = this.#options
    const { intents } = register
    if (intents.length === 0) return
    register.intents = []
    const mails: StoredMail[] = []
    for (const { uid, base } of intents) {
      const mail = register.mails.find(uid)
      // The name is the proof that it is the mail that was meant.
      if (mail?.base === base) mails.push(mail)
    }
    if (mails.length > 0) {
      const facts = { event: 'mailbox.recovered', path: folders.maildir, mails: mails.length }
      log.info(facts, 'removal finished that was interrupted')
      await this.expunge(mails, new LostFiles(folders))
    }
    await register.save({ dropIntents: intents.map(({ uid }) => uid) })
  }

  /** The mails are gone; a file that cannot be written is counted anew by the next delivery. */
  async #count(octets: number, mails: number): Promise<void> {
    const { folders, settings, log } = this.#options
    const ignoreNames = settings.maildir.broken_filename_sizes
    try {
      await addToQuota(folders, octets, mails, { ignoreNames })
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      log.warn({ event: 'mailbox.quota', path: folders.maildir, errno }, 'maildirsize not written')
    }
  }

  #octetsOf(mail: StoredMail): number {
    const { settings, folders } = this.#options
    const named = settings.maildir.broken_filename_sizes ? -1 : sizeInName(mail.base, 'S')
    return Math.max(named === -1 ? folders.octetsOf(mail) : named, 0)
  }

  /** How many octets it had, if that is counted. */
  async #unlink(mail: StoredMail, lost: LostFiles, counts: boolean): Promise<number | 'gone' | 'failed'> {
    const { folders, register, log } = this.#options
    try {
      for (let attempt = 0; attempt < 3; attempt++) {
        const octets = counts ? this.#octetsOf(mail) : 0
        if (folders.files.unlink(folders.of(mail), mail.name)) return octets
        const file = await lost.find(mail.base, attempt > 0)
        if (file === undefined) return 'gone'
        register.moved(mail, file)
      }
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === undefined) throw error
      const facts = { event: 'mailbox.expunge', path: folders.maildir, uid: mail.uid, errno }
      log.error(facts, 'mail could not be removed')
    }
    return 'failed'
  }
}
