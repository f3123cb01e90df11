/** The mails in memory: those that are being delivered or wait for their turn. Everything else is on disk alone. */
import type { ContentFolder } from './content.ts'
import type { Content, ContentFile, DeliveryRecipient, RecipientResult } from './contract.ts'
import type { Job } from './job.ts'
import type { Outcome, QueueStore, StoredMail } from './store.ts'

/** A recipient in memory. */
export interface ActiveRecipient extends DeliveryRecipient {
  readonly attempts: number
}

/** How a recipient ended, or why it waits, for the notice at the end of the pass. */
export interface Ended<O = Outcome> {
  readonly recipient: ActiveRecipient
  readonly outcome: O
}

/** A mail with recipients in memory. One pass: from when it is picked up until all of them were tried. */
export interface ActiveMail {
  readonly stored: StoredMail
  /** When it was picked up for this pass, milliseconds since the epoch. */
  readonly activeAt: number
  /** Recipients in memory without a committed result. */
  outstanding: number
  /** Recipients that were never tried and are on disk alone, at most; they begin at the id `cursor`. */
  unread: number
  cursor: number
  /** When recipients of it were read last, milliseconds of the clock that never jumps. */
  readAt: number
  /** What it has to do, by transport. */
  readonly jobs: Job[]
  /** Content in memory; undefined: read it from the store. */
  bytes: Uint8Array | undefined
  /** Removed or put on hold: nothing more of it is started. */
  withdrawn: boolean
  /** Recipients of this pass that wait; kept only when somebody may have to be told. */
  readonly delayed: Ended<Pick<RecipientResult, 'dsn' | 'reply' | 'remoteMta' | 'relay'>>[]
}

export interface ActiveLimits {
  readonly mails: number
  readonly recipients: number
  /** Recipients that each mail may have in memory whatever the others have. */
  readonly minimum: number
  /** Octets of content. */
  readonly content: number
}

export class ActiveSet {
  readonly #mails = new Map<number, ActiveMail>()
  readonly #recipients = new Set<number>()
  readonly #store: QueueStore
  readonly #folder: ContentFolder
  #limits: ActiveLimits
  #octets = 0
  #deferred = 0
  #probes = 0

  constructor(store: QueueStore, folder: ContentFolder, limits: ActiveLimits) {
    this.#store = store
    this.#folder = folder
    this.#limits = limits
  }

  configure(limits: ActiveLimits): void {
    this.#limits = limits
  }

  get size(): number {
    return this.#mails.size
  }

  /** Mails in memory that were deferred before. */
  get deferred(): number {
    return this.#deferred
  }

  /** How many mails more may come in. */
  get roomForMails(): number {
    return Math.max(0, this.#limits.mails - this.#mails.size)
  }

  /** How many recipients more may come in. */
  get roomForRecipients(): number {
    return Math.max(0, this.#limits.recipients - this.#recipients.size)
  }

  get minimum(): number {
    return this.#limits.minimum
  }

  get recipients(): number {
    return this.#recipients.size
  }

  get limits(): ActiveLimits {
    return this.#limits
  }

  /** Recipients that are only asked for, and get nothing. */
  get probes(): number {
    return this.#probes
  }

  mail(id: number): ActiveMail | undefined {
    return this.#mails.get(id)
  }

  hasRecipient(id: number): boolean {
    return this.#recipients.has(id)
  }

  addMail(stored: StoredMail, activeAt: number, bytes?: Uint8Array): ActiveMail {
    const mail = newMail(stored, activeAt, 0)
    if (bytes !== undefined && this.#octets + bytes.length <= this.#limits.content) {
      mail.bytes = bytes
      this.#octets += bytes.length
    }
    if (stored.state === 'deferred') this.#deferred += 1
    this.#mails.set(stored.id, mail)
    return mail
  }

  addRecipient(mail: ActiveMail, id: number): void {
    mail.outstanding += 1
    if (mail.stored.trace === 'verify') this.#probes += 1
    this.#recipients.add(id)
  }

  /** The result of a recipient is committed. */
  removeRecipient(mail: ActiveMail, id: number): void {
    if (!this.#recipients.delete(id)) return
    mail.outstanding -= 1
    if (mail.stored.trace === 'verify') this.#probes -= 1
  }

  /** The pass of a mail is over, or it was withdrawn. */
  removeMail(mail: ActiveMail): void {
    if (this.#mails.get(mail.stored.id) !== mail) return
    this.#mails.delete(mail.stored.id)
    if (mail.stored.state === 'deferred') this.#deferred -= 1
    if (mail.bytes !== undefined) this.#octets -= mail.bytes.length
    mail.bytes = undefined
  }

  /** A mail was withdrawn: all of its recipients leave, but those that are being delivered now. */
  forget(mail: ActiveMail, running: ReadonlySet<number>): void {
    const { id, recipients } = mail.stored
    for (let recipient = id; recipient < id + recipients; recipient++) {
      if (!running.has(recipient)) this.removeRecipient(mail, recipient)
    }
    this.removeMail(mail)
  }

  /** What a delivery sends; undefined when it is missing. */
  content(mail: ActiveMail): Content | undefined {
    const { stored } = mail
    if (stored.file !== undefined) {
      const accepted = this.#folder.accept(stored.file, stored.size)
      return accepted === undefined ? undefined : fileOf(stored, this.#folder.path(accepted))
    }
    const bytes = mail.bytes ?? this.#store.content(stored)
    return bytes === undefined ? undefined : { bytes }
  }

  /** The first `limit` octets of the content, undefined when it is missing. */
  beginning(stored: StoredMail, limit: number): Uint8Array | undefined {
    if (stored.file !== undefined) return this.#folder.read(stored.file, Math.min(limit, stored.size))
    return (this.#mails.get(stored.id)?.bytes ?? this.#store.content(stored))?.subarray(0, limit)
  }
}

/** The content of a mail that is in a file. */
export const fileOf = ({ size, crc }: StoredMail, file: string): ContentFile => ({
  file,
  size,
  ...(crc === undefined ? {} : { crc }),
})

/** A mail in its pass, with so many recipients; it takes part in nothing before it is added. */
export function newMail(stored: StoredMail, activeAt: number, outstanding: number): ActiveMail {
  return {
    stored,
    activeAt,
    outstanding,
    unread: 0,
    cursor: 0,
    readAt: 0,
    jobs: [],
    bytes: undefined,
    withdrawn: false,
    delayed: [],
  }
}
