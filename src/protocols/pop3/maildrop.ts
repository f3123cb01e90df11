/**
 * A maildrop as one session sees it: numbering, sizes and order as they were when it was opened (RFC 1939 section
 * 4), and the session's own marks. Knows no socket, no disk and no clock. `index` is the message number minus one.
 */
import { createHash } from 'node:crypto'
import { baseOf, keyOf, readUids } from '../../mailbox/contract.ts'
import type { MailList, MailPlace } from './mail-list.ts'
import { compileUidlFormat, type UidlFormatter, usesFileName } from './uidl-format.ts'

export interface MaildropOptions {
  readonly uidl_format: string
  readonly uidl_duplicates: 'allow' | 'rename'
  readonly no_flag_updates: boolean
  readonly reuse_xuidl: boolean
  readonly save_uidl: boolean
}

/** Characters a UIDL may have, RFC 1939 section 7. */
const validUidl = /^[\x21-\x7e]{1,70}$/

export class Maildrop {
  readonly list: MailList
  readonly count: number
  /** Octets with CRLF line ends, by index. */
  readonly sizes: Float64Array
  readonly #uids: Uint32Array
  readonly #options: MaildropOptions
  readonly #format: UidlFormatter
  /** UIDLs are made of file names. */
  readonly #needsNames: boolean
  #renamed: readonly (string | undefined)[] | undefined
  /** Uids of mails that are known to be gone: names and keys of them do not count any more. */
  #gone: Set<number> | undefined
  /** 1: its UIDL was told and is to be kept. */
  #told: Uint8Array | undefined
  #toldCount = 0
  /** 1: marked as deleted. Made at the first DELE: most sessions have none, or their mailbox is small. */
  #deleted: Uint8Array | undefined
  /** 1: to be marked as seen. */
  #fetched: Uint8Array | undefined
  #fetchedCount = 0
  /** Indexes of mails that were seen at the opening and are no more. */
  #lostSeen: Set<number> | undefined
  /** Highest index that was found gone; a client that asks again and again is cut off. */
  #highestGone = -1
  deletedCount = 0
  deletedSize = 0
  /** Highest message number that was seen: the answer of LAST (RFC 1460). */
  lastSeen: number

  /** `list` is complete. */
  constructor(list: MailList, options: MaildropOptions) {
    this.list = list
    this.count = list.count
    this.sizes = list.sizes
    this.#uids = list.uids
    this.#options = options
    this.#format = compileUidlFormat(options.uidl_format)
    this.#needsNames = usesFileName(options.uidl_format)
    this.lastSeen = list.lastSeen + 1
  }

  get uidValidity(): number {
    return this.list.uidValidity
  }

  get generation(): number {
    return this.list.generation
  }

  /** See `MailList`. */
  get newTime(): string {
    return this.list.newTime
  }

  /** A file may get another name without its mail getting another UIDL. */
  get mayRename(): boolean {
    return !this.#needsNames
  }

  /** See `MailList.nextNameless`. */
  nextNameless(from: number): number {
    return this.list.nextNameless(from, this.#needsNames)
  }

  /** Whether the header of a mail has to be read for its UIDL. */
  wantsXuidl(index: number): boolean {
    if (!this.#options.reuse_xuidl || this.list.readXuidl(index) !== undefined) return false
    const keys = this.list.keys(index)
    return keyOf(keys, 'P') === undefined && keyOf(keys, 'x') === undefined
  }

  /** The X-UIDL field of a mail; empty: it has none. */
  xuidl(index: number): string {
    return this.list.readXuidl(index) ?? keyOf(this.list.keys(index), 'x') ?? ''
  }

  /** Octets of all mails, whatever their marks. */
  get totalSize(): number {
    return this.list.totalSize
  }

  uid(index: number): number {
    return this.#uids[index]!
  }

  /** See `MailList.file`. */
  file(index: number): MailPlace | undefined {
    return this.list.file(index)
  }

  isGone(index: number): boolean {
    return this.#gone?.has(this.#uids[index]!) === true
  }

  /** The mailbox was looked through: mails with these uids, u32 each, are not there any more. */
  learnGone(uids: Uint8Array): void {
    if (uids.length > 0) this.#gone = new Set(readUids(uids))
  }

  isDeleted(index: number): boolean {
    return this.#deleted !== undefined && this.#deleted[index] === 1
  }

  markDeleted(index: number): void {
    this.#deleted ??= new Uint8Array(this.count)
    this.#deleted[index] = 1
    this.deletedCount++
    this.deletedSize += this.sizes[index]!
  }

  /** RSET: deletion marks go, and so do the seen marks that RETR set in this session. */
  reset(): void {
    this.#deleted = undefined
    this.deletedCount = 0
    this.deletedSize = 0
    this.#fetched = undefined
    this.#fetchedCount = 0
    this.lastSeen = 0
  }

  /** Another program has taken the seen mark away. */
  lostSeen(index: number): void {
    this.#lostSeen ??= new Set()
    this.#lostSeen.add(index)
  }

  /** RETR sent the mail, or at least began to. */
  markFetched(index: number): void {
    if (this.#options.no_flag_updates) return
    if (this.list.isSeen(index) && this.#lostSeen?.has(index) !== true) return
    this.#fetched ??= new Uint8Array(this.count)
    if (this.#fetched[index] === 1) return
    this.#fetched[index] = 1
    this.#fetchedCount++
  }

  /** The mail is no longer there. True when the client had to know: it asked at or below a number told before. */
  markGone(index: number): boolean {
    if (index <= this.#highestGone) return true
    this.#highestGone = index
    return false
  }

  /** Uids to remove when the client says QUIT. */
  expunged(): number[] {
    return this.#collect(this.#deleted, this.deletedCount)
  }

  /** Uids to mark as seen at the end; `quit`: those that are removed need no mark. */
  seen(quit: boolean): number[] {
    const fetched = this.#collect(this.#fetched, this.#fetchedCount)
    if (!quit || this.deletedCount === 0) return fetched
    const gone = new Set(this.expunged())
    return fetched.filter((uid) => !gone.has(uid))
  }

  /** All of them: another program may have changed marks since the opening. */
  get uids(): number[] {
    return [...this.#uids]
  }

  #collect(marks: Uint8Array | undefined, count: number): number[] {
    if (marks === undefined || count === 0) return []
    const uids: number[] = []
    for (let i = marks.indexOf(1); i !== -1; i = marks.indexOf(1, i + 1)) uids.push(this.#uids[i]!)
    return uids
  }

  /** The unique id, and it may have to be kept: it is told to a client. Undefined: it cannot be made any more. */
  tellUidl(index: number): string | undefined {
    if (this.#options.save_uidl) {
      this.#told ??= new Uint8Array(this.count)
      if (this.#told[index] === 0) this.#toldCount++
      this.#told[index] ||= 1
    }
    return this.uidl(index)
  }

  /** The unique id, 1 to 70 characters from 0x21 to 0x7e. Undefined: it is made of the name of a mail that is gone. */
  uidl(index: number): string | undefined {
    if (this.#options.uidl_duplicates === 'allow') return this.#uidl(index)
    this.#renamed ??= this.#withoutDuplicates()
    return this.#renamed[index]
  }

  /** UIDLs that were told since the last time and are not kept yet. */
  takeUidls(): { uids: number[]; values: string } | undefined {
    if (this.#toldCount === 0) return undefined
    const uids: number[] = []
    let values = ''
    for (let i = this.#told!.indexOf(1); i !== -1; i = this.#told!.indexOf(1, i + 1)) {
      this.#told![i] = 2
      const uidl = this.#renamed?.[i] ?? this.#uidl(i)
      if (uidl === undefined || keyOf(this.list.keys(i), 'P') !== undefined) continue
      uids.push(this.#uids[i]!)
      values += `${uidl}\n`
    }
    this.#toldCount = 0
    return uids.length === 0 ? undefined : { uids, values }
  }

  #uidl(index: number): string | undefined {
    const keys = this.list.keys(index)
    // As in Dovecot: what its uid list said of a mail goes with the mail.
    const isGone = this.isGone(index)
    if (keys !== '' && !isGone) {
      const fixed = keyOf(keys, 'P')
      // An empty one stands for the base name.
      const uidl = fixed === '' ? baseOf(this.file(index)?.name ?? '') : fixed
      if (uidl !== undefined && validUidl.test(uidl)) return uidl
    }
    if (this.#options.reuse_xuidl) {
      const field = this.xuidl(index)
      if (validUidl.test(field)) return field
    }
    const uid = this.#uids[index]!
    const { uidValidity } = this
    if (!this.#needsNames) return this.#format({ uid, uidValidity, fileName: '', guid: '' })
    if (isGone) return undefined
    const fileName = baseOf(this.file(index)?.name ?? '')
    const uidl = this.#format({ uid, uidValidity, fileName, guid: keyOf(keys, 'G') ?? fileName })
    return validUidl.test(uidl) ? uidl : createHash('sha1').update(uidl, 'latin1').digest('hex')
  }

  /**
   * In the order of UIDs, whatever order they are numbered in: the k-th mail with the same UIDL gets `-k`; a result
   * that is taken already is handled the same way.
   */
  #withoutDuplicates(): (string | undefined)[] {
    const renamed = Array.from(this.#uids, (_, i) => this.#uidl(i))
    const order = Array.from(this.#uids, (_, i) => i).sort((a, b) => this.#uids[a]! - this.#uids[b]!)
    const uses = new Map<string, number>()
    for (const i of order) {
      let unique = renamed[i]
      if (unique === undefined) continue
      for (let use = uses.get(unique); use !== undefined; use = uses.get(unique)) {
        uses.set(unique, use + 1)
        unique = `${unique}-${use + 1}`
      }
      uses.set(unique, 1)
      renamed[i] = unique
    }
    return renamed
  }
}
