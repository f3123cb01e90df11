/**
 * A maildrop as one session sees it: numbering, sizes and order as they were when it was opened (RFC 1939 section
 * 4), and the session's own marks. Knows no socket, no disk and no clock. `index` is the message number minus one.
 */
import { createHash } from 'node:crypto'
import { baseOf, inNewFlag, readSizes, readUids, type Snapshot, seenFlag } from '../../mailbox/contract.ts'
import { compileUidlFormat, type UidlFormatter } from './uidl-format.ts'

export interface MaildropOptions {
  readonly uidl_format: string
  readonly uidl_duplicates: 'allow' | 'rename'
  readonly no_flag_updates: boolean
}

/** Characters a UIDL may have, RFC 1939 section 7. */
const validUidl = /^[\x21-\x7e]{1,70}$/

export class Maildrop {
  readonly uidValidity: number
  readonly count: number
  /** Octets with CRLF line ends, by index. -1 until it is learned, before the session is in TRANSACTION state. */
  readonly sizes: Float64Array
  readonly #uids: Uint32Array
  readonly #flags: Uint8Array
  readonly #joinedNames: string
  readonly #joinedUidls: string
  readonly #options: MaildropOptions
  readonly #format: UidlFormatter
  #names: string[] | undefined
  #fixedUidls: string[] | undefined
  #renamed: string[] | undefined
  #totalSize = 0
  /** 1: marked as deleted. Made at the first DELE: most sessions have none, or their mailbox is small. */
  #deleted: Uint8Array | undefined
  /** 1: to be marked as seen. */
  #fetched: Uint8Array | undefined
  #fetchedCount = 0
  /** Highest index that was found gone; a client that asks again and again is cut off. */
  #highestGone = -1
  deletedCount = 0
  deletedSize = 0
  /** Highest message number that was seen: the answer of LAST (RFC 1460). */
  lastSeen = 0

  constructor(snapshot: Snapshot, options: MaildropOptions) {
    this.uidValidity = snapshot.uidValidity
    this.count = snapshot.count
    this.sizes = readSizes(snapshot.sizes)
    this.#uids = readUids(snapshot.uids)
    this.#flags = snapshot.flags
    this.#joinedNames = snapshot.names
    this.#joinedUidls = snapshot.uidls
    this.#options = options
    this.#format = compileUidlFormat(options.uidl_format, (source) => guidOf(source.fileName))
    for (let i = this.count - 1; i >= 0; i--) {
      if ((this.#flags[i]! & seenFlag) === 0) continue
      this.lastSeen = i + 1
      break
    }
  }

  /** Indexes whose size nobody knows yet. */
  unsized(): number[] {
    const unknown: number[] = []
    for (let i = 0; i < this.count; i++) if (this.sizes[i]! < 0) unknown.push(i)
    return unknown
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

  /** File name when the mailbox was opened, and which folder it was in. */
  file(index: number): { readonly name: string; readonly inNew: boolean } {
    this.#names ??= this.#joinedNames.split('\n')
    return { name: this.#names[index]!, inNew: (this.#flags[index]! & inNewFlag) !== 0 }
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

  /** RETR sent the mail, or at least began to. */
  markFetched(index: number): void {
    if (this.#options.no_flag_updates || (this.#flags[index]! & seenFlag) !== 0) return
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

  /** Uids of all mails that are marked as seen in the mailbox. */
  seenBefore(): number[] {
    return [...this.#uids].filter((_, i) => (this.#flags[i]! & seenFlag) !== 0)
  }

  #collect(marks: Uint8Array | undefined, count: number): number[] {
    if (marks === undefined || count === 0) return []
    const uids: number[] = []
    for (let i = marks.indexOf(1); i !== -1; i = marks.indexOf(1, i + 1)) uids.push(this.#uids[i]!)
    return uids
  }

  /** The unique id, 1 to 70 characters from 0x21 to 0x7e. */
  uidl(index: number): string {
    if (this.#options.uidl_duplicates === 'allow') return this.#uidl(index)
    this.#renamed ??= withoutDuplicates(Array.from(this.#uids, (_, i) => this.#uidl(i)))
    return this.#renamed[index]!
  }

  #uidl(index: number): string {
    if (this.#joinedUidls !== '') {
      this.#fixedUidls ??= this.#joinedUidls.split('\n')
      const fixed = this.#fixedUidls[index]!
      if (validUidl.test(fixed)) return fixed
    }
    const uid = this.#uids[index]!
    // The default format needs no file name; splitting a hundred thousand of them is worth avoiding.
    if (this.#options.uidl_format === '%08Xu%08Xv') {
      return this.#format({ uid, uidValidity: this.uidValidity, fileName: '' })
    }
    const fileName = baseOf(this.file(index).name)
    const uidl = this.#format({ uid, uidValidity: this.uidValidity, fileName })
    return validUidl.test(uidl) ? uidl : createHash('sha1').update(uidl, 'latin1').digest('hex')
  }
}

/** The k-th mail with the same UIDL gets `-k`; a result that is taken already is handled the same way. */
function withoutDuplicates(uidls: readonly string[]): string[] {
  const uses = new Map<string, number>()
  return uidls.map((uidl) => {
    let unique = uidl
    for (let use = uses.get(unique); use !== undefined; use = uses.get(unique)) {
      uses.set(unique, use + 1)
      unique = `${unique}-${use + 1}`
    }
    uses.set(unique, 1)
    return unique
  })
}

/** As Dovecot derives it: the last 16 octets of the SHA-1 of the base name. */
const guidOf = (base: string): string => createHash('sha1').update(base, 'latin1').digest('hex').slice(8)
