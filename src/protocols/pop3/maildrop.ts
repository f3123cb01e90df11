/**
 * A maildrop as one session sees it: numbering, sizes and order as they were when it was opened (RFC 1939 section
 * 4), and the session's own marks. Knows no socket, no disk and no clock. `index` is the message number minus one.
 */
import { createHash } from 'node:crypto'
import { baseOf, inNewFlag, keyOf, Page, readUids, type Snapshot, seenFlag } from '../../mailbox/contract.ts'
import { compileUidlFormat, type UidlFormatter, usesFileName } from './uidl-format.ts'

export interface MaildropOptions {
  readonly uidl_format: string
  readonly uidl_duplicates: 'allow' | 'rename'
  readonly no_flag_updates: boolean
  readonly reuse_xuidl: boolean
  readonly save_uidl: boolean
}

/** Where the file of a mail is. */
export interface MailPlace {
  readonly name: string
  readonly inNew: boolean
}

/** Characters a UIDL may have, RFC 1939 section 7. */
const validUidl = /^[\x21-\x7e]{1,70}$/

/** Mails of one page, by index from `start` on. Text is taken apart when it is needed. */
interface MaildropPage {
  readonly start: number
  readonly count: number
  keysText: string
  keys: string[] | undefined
  /** As text until one is asked for: an idle session has no use for them. */
  names: string | readonly string[] | undefined
}

export class Maildrop {
  readonly uidValidity: number
  readonly count: number
  /** Names the state of the mailbox it was made from. */
  readonly generation: number
  /** When `new/` was changed last, as far as the mailbox knew. */
  readonly newTime: string
  /** Octets with CRLF line ends, by index. -1 until it is learned, before the session is in TRANSACTION state. */
  readonly sizes: Float64Array
  readonly #uids: Uint32Array
  readonly #flags: Uint8Array
  readonly #pages: MaildropPage[] = []
  readonly #options: MaildropOptions
  readonly #format: UidlFormatter
  /** UIDLs are made of file names. */
  readonly #needsNames: boolean
  /** Mails of the pages that are here. */
  #loaded = 0
  /** First page of the names that were fetched last; only these are kept in a large mailbox. */
  #namesFrom = 0
  #renamed: readonly (string | undefined)[] | undefined
  /** Uids of mails that are known to be gone: names and keys of them do not count any more. */
  #gone: Set<number> | undefined
  /** X-UIDL fields that were read, by index. */
  #xuidls: Map<number, string> | undefined
  /** 1: its UIDL was told and is to be kept. */
  #told: Uint8Array | undefined
  #toldCount = 0
  #totalSize = 0
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
  lastSeen = 0

  constructor(snapshot: Snapshot, options: MaildropOptions) {
    this.uidValidity = snapshot.uidValidity
    this.count = snapshot.count
    this.generation = snapshot.generation
    this.newTime = snapshot.newTime
    // One piece of memory for all columns: there may be many sessions, and most mailboxes are small.
    const columns = new ArrayBuffer(snapshot.count * 13)
    this.sizes = new Float64Array(columns, 0, snapshot.count)
    this.#uids = new Uint32Array(columns, snapshot.count * 8, snapshot.count)
    this.#flags = new Uint8Array(columns, snapshot.count * 12, snapshot.count)
    this.#options = options
    this.#format = compileUidlFormat(options.uidl_format)
    this.#needsNames = usesFileName(options.uidl_format)
    this.addPages(snapshot.pages)
  }

  /** A file may get another name without its mail getting another UIDL. */
  get mayRename(): boolean {
    return !this.#needsNames
  }

  /** Pages that are here; the maildrop is complete when `isComplete`. */
  get pageCount(): number {
    return this.#pages.length
  }

  /** Mails of these pages. */
  get loaded(): number {
    return this.#loaded
  }

  get isComplete(): boolean {
    return this.#loaded === this.count
  }

  /** The pages that follow those that are here. */
  addPages(pages: readonly Uint8Array[]): void {
    for (const bytes of pages) {
      const page = Page.of(bytes)
      const start = this.#loaded
      this.sizes.set(page.sizes, start)
      this.#uids.set(page.uids, start)
      this.#flags.set(page.flags, start)
      const { count, keysText, hasNames, namesText } = page
      const names = hasNames ? namesText : undefined
      this.#pages.push({ start, count, keysText, keys: undefined, names })
      this.#loaded += count
    }
    if (!this.isComplete) return
    for (let i = this.count - 1; i >= 0 && this.lastSeen === 0; i--) {
      if ((this.#flags[i]! & seenFlag) !== 0) this.lastSeen = i + 1
    }
  }

  /** Names of pages from number `from` on. Others that were fetched before are forgotten unless `keep`. */
  addNames(from: number, pages: readonly Uint8Array[], keep: boolean): void {
    if (!keep)
      for (let i = this.#namesFrom; this.#pages[i]?.names !== undefined; i++)
        this.#pages[i]!.names = undefined
    this.#namesFrom = from
    pages.forEach((bytes, i) => {
      const page = this.#pages[from + i]
      if (page !== undefined) page.names = Page.of(bytes).namesText
    })
  }

  /** The first page from `from` on whose names are needed for UIDLs and are not here; -1: none. */
  nextNameless(from: number): number {
    for (let i = from; i < this.#pages.length; i++) {
      const { names, keysText } = this.#pages[i]!
      // An empty P stands for the base name.
      if (names === undefined && (this.#needsNames || /(^|[ \n])P[ \n]/.test(keysText))) return i
    }
    return -1
  }

  /** The page that a mail is on. */
  pageOf(index: number): number {
    let low = 0
    let high = this.#pages.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#pages[middle]!.start <= index) low = middle
      else high = middle - 1
    }
    return low
  }

  /** Whether the header of a mail has to be read for its UIDL. */
  wantsXuidl(index: number): boolean {
    if (!this.#options.reuse_xuidl || this.#xuidls?.has(index) === true) return false
    const keys = this.#keys(index)
    return keyOf(keys, 'P') === undefined && keyOf(keys, 'x') === undefined
  }

  /** The X-UIDL field of a mail; empty: it has none. */
  xuidl(index: number): string {
    return this.#xuidls?.get(index) ?? keyOf(this.#keys(index), 'x') ?? ''
  }

  learnXuidl(index: number, value: string): void {
    this.#xuidls ??= new Map()
    this.#xuidls.set(index, value)
  }

  /** Call it when all sizes are known: adds them up. */
  freeze(): void {
    let total = 0
    for (const size of this.sizes) total += size
    this.#totalSize = total
  }

  /** Octets of all mails, whatever their marks. */
  get totalSize(): number {
    return this.#totalSize
  }

  uid(index: number): number {
    return this.#uids[index]!
  }

  /** Where it was when the mailbox was opened; undefined: its name was not fetched. */
  file(index: number): MailPlace | undefined {
    const page = this.#pages[this.pageOf(index)]!
    if (page.names === undefined) return undefined
    if (typeof page.names === 'string') page.names = page.names.split('\n')
    return { name: page.names[index - page.start]!, inNew: (this.#flags[index]! & inNewFlag) !== 0 }
  }

  isGone(index: number): boolean {
    return this.#gone?.has(this.#uids[index]!) === true
  }

  /** The mailbox was looked through: mails with these uids, u32 each, are not there any more. */
  learnGone(uids: Uint8Array): void {
    if (uids.length > 0) this.#gone = new Set(readUids(uids))
  }

  #keys(index: number): string {
    const page = this.#pages[this.pageOf(index)]!
    if (page.keysText === '') return ''
    page.keys ??= page.keysText.split('\n')
    return page.keys[index - page.start]!
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
    if ((this.#flags[index]! & seenFlag) !== 0 && this.#lostSeen?.has(index) !== true) return
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
      if (uidl === undefined || keyOf(this.#keys(i), 'P') !== undefined) continue
      uids.push(this.#uids[i]!)
      values += `${uidl}\n`
    }
    this.#toldCount = 0
    return uids.length === 0 ? undefined : { uids, values }
  }

  #uidl(index: number): string | undefined {
    const keys = this.#keys(index)
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
