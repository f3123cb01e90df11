/**
 * The mails of a mailbox as they were at one moment: numbering, UIDs, sizes and names, as columns. What a session marks is its
 * own, see `maildrop.ts`; a list is the same for all sessions of a thread that opened the mailbox at that moment, and a large
 * one is there only once for them.
 */
import { inNewFlag, Page, type Snapshot, seenFlag } from '../../mailbox/contract.ts'

/** Where the file of a mail is. */
export interface MailPlace {
  readonly name: string
  readonly inNew: boolean
}

/** Mails of one page, by index from `start` on. Text is taken apart when it is needed. */
interface ListPage {
  readonly start: number
  readonly count: number
  keysText: string
  keys: string[] | undefined
  /** As text until one is asked for: an idle session has no use for them. */
  names: string | readonly string[] | undefined
}

/** So many times names are fetched before those that were fetched first are forgotten: sessions may be at different mails. */
const keptFetches = 8

export class MailList {
  readonly uidValidity: number
  readonly count: number
  /** Names the state of the mailbox it was made from. */
  readonly generation: number
  /** When `new/` was changed last, as far as the mailbox knew. */
  readonly newTime: string
  /** Octets with CRLF line ends, by index. -1 until it is learned, before any session is in TRANSACTION state. */
  readonly sizes: Float64Array
  readonly uids: Uint32Array
  readonly #flags: Uint8Array
  readonly #pages: ListPage[] = []
  /** Mails of the pages that are here. */
  #loaded = 0
  /** Pages whose names were fetched and are not there to stay, the last fetch at the end. */
  #fetches: (readonly [from: number, to: number])[] | undefined
  /** X-UIDL fields that were read, by index. */
  #xuidls: Map<number, string> | undefined
  #total = 0

  constructor(snapshot: Snapshot) {
    this.uidValidity = snapshot.uidValidity
    this.count = snapshot.count
    this.generation = snapshot.generation
    this.newTime = snapshot.newTime
    // One piece of memory for all columns: there may be many sessions, and most mailboxes are small.
    const columns = new ArrayBuffer(snapshot.count * 13)
    this.sizes = new Float64Array(columns, 0, snapshot.count)
    this.uids = new Uint32Array(columns, snapshot.count * 8, snapshot.count)
    this.#flags = new Uint8Array(columns, snapshot.count * 12, snapshot.count)
    this.addPages(snapshot.pages)
  }

  /** Pages that are here; the list is complete when `isComplete`. */
  get pageCount(): number {
    return this.#pages.length
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
      this.uids.set(page.uids, start)
      this.#flags.set(page.flags, start)
      const { count, keysText, hasNames, namesText } = page
      const names = hasNames ? namesText : undefined
      this.#pages.push({ start, count, keysText, keys: undefined, names })
      this.#loaded += count
    }
  }

  /** Names of pages from number `from` on. `keep`: they stay; others make room for those of later fetches. */
  addNames(from: number, pages: readonly Uint8Array[], keep: boolean): void {
    if (!keep) {
      this.#fetches ??= []
      this.#fetches.push([from, from + pages.length])
      if (this.#fetches.length > keptFetches) this.#forgetNames(...this.#fetches.shift()!)
    }
    pages.forEach((bytes, i) => {
      const page = this.#pages[from + i]
      if (page !== undefined) page.names = Page.of(bytes).namesText
    })
  }

  #forgetNames(from: number, to: number): void {
    for (const page of this.#pages.slice(from, to)) page.names = undefined
  }

  /** The first page from `from` on whose names are needed for UIDLs and are not here; -1: none. `all`: UIDLs are made of names. */
  nextNameless(from: number, all: boolean): number {
    for (let i = from; i < this.#pages.length; i++) {
      const { names, keysText } = this.#pages[i]!
      // An empty P stands for the base name.
      if (names === undefined && (all || /(^|[ \n])P[ \n]/.test(keysText))) return i
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

  /** Where it was when the mailbox was opened; undefined: its name was not fetched. */
  file(index: number): MailPlace | undefined {
    const page = this.#pages[this.pageOf(index)]!
    if (page.names === undefined) return undefined
    if (typeof page.names === 'string') page.names = page.names.split('\n')
    return { name: page.names[index - page.start]!, inNew: (this.#flags[index]! & inNewFlag) !== 0 }
  }

  keys(index: number): string {
    const page = this.#pages[this.pageOf(index)]!
    if (page.keysText === '') return ''
    page.keys ??= page.keysText.split('\n')
    return page.keys[index - page.start]!
  }

  isSeen(index: number): boolean {
    return (this.#flags[index]! & seenFlag) !== 0
  }

  /** Index of the last mail that was seen; -1: none was. */
  get lastSeen(): number {
    for (let i = this.count - 1; i >= 0; i--) if (this.isSeen(i)) return i
    return -1
  }

  /** The X-UIDL field of a mail, if it was read. */
  readXuidl(index: number): string | undefined {
    return this.#xuidls?.get(index)
  }

  learnXuidl(index: number, value: string): void {
    this.#xuidls ??= new Map()
    this.#xuidls.set(index, value)
  }

  /** Call it when all sizes are known: adds them up. */
  freeze(): void {
    let total = 0
    for (const size of this.sizes) total += size
    this.#total = total
  }

  /** Octets of all mails. */
  get totalSize(): number {
    return this.#total
  }
}

/** Below it a list is not worth looking for. */
const sharedFrom = 1_024

/** The large lists that sessions of one thread have. */
export class SharedLists {
  readonly #lists = new Map<string, WeakRef<MailList>>()

  /** A frozen list of this moment. `key` names the mailbox, and how sizes are found out. */
  find(
    key: string,
    { generation, count, uidValidity }: Pick<Snapshot, 'generation' | 'count' | 'uidValidity'>,
  ): MailList | undefined {
    if (count < sharedFrom) return undefined
    const list = this.#lists.get(key)?.deref()
    return list?.generation === generation && list.uidValidity === uidValidity ? list : undefined
  }

  /** The one to use in place of a frozen list that has just been made. */
  share(key: string, list: MailList): MailList {
    if (list.count < sharedFrom) return list
    const known = this.#lists.get(key)?.deref()
    if (known?.generation === list.generation && known.uidValidity === list.uidValidity) return known
    for (const [other, held] of this.#lists) if (held.deref() === undefined) this.#lists.delete(other)
    this.#lists.set(key, new WeakRef(list))
    return list
  }
}
