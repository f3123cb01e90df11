/**
 * The mails of a mailbox in memory, in the order of UIDs: pages of 256 UIDs each. A page is kept as octets and
 * taken apart only when a mail of it is looked at or changed, so a mailbox of a million mails costs little more
 * than the index row of each page, and opening it again takes no time.
 */
import { encodePage, inNewFlag, Page, pageOf, type StoredMail } from './page.ts'
import { type Steps, stepLength } from './turns.ts'

/** Looking for so many names among the octets of a page is quicker than taking it apart. */
const fewBases = 16

class TablePage {
  readonly number: number
  count: number
  /** The index does not have it yet. */
  unsaved: boolean
  #bytes: Uint8Array | undefined
  #mails: StoredMail[] | undefined

  constructor(number: number, content: { readonly bytes: Uint8Array; readonly count: number } | undefined) {
    this.number = number
    this.#bytes = content?.bytes
    this.#mails = content === undefined ? [] : undefined
    this.count = content?.count ?? 0
    this.unsaved = content === undefined
  }

  /** Whoever changes one says so with `changed`. */
  get mails(): StoredMail[] {
    this.#mails ??= Page.of(this.#bytes!).mails()
    return this.#mails
  }

  get bytes(): Uint8Array {
    this.#bytes ??= encodePage(this.mails)
    return this.#bytes
  }

  get hasNew(): boolean {
    return Page.of(this.bytes).flags.some((flags) => (flags & inNewFlag) !== 0)
  }

  /** False is certain. */
  mayHave(base: string): boolean {
    const { buffer, byteOffset, length } = this.bytes
    return Buffer.from(buffer, byteOffset, length).includes(base, 0, 'latin1')
  }

  replace(mails: StoredMail[]): void {
    this.#mails = mails
    this.count = mails.length
    this.changed()
  }

  add(mail: StoredMail): void {
    const { mails } = this
    mails.push(mail)
    if (mails.length > 1 && mails.at(-2)!.uid > mail.uid) mails.sort((a, b) => a.uid - b.uid)
    this.count++
    this.changed()
  }

  changed(): void {
    this.#bytes = undefined
    this.unsaved = true
  }

  /** Back to octets. */
  pack(): void {
    if (this.bytes.length > 0) this.#mails = undefined
  }

  /** Forgets what was only looked at. */
  release(): void {
    if (this.#bytes !== undefined) this.#mails = undefined
  }
}

export class MailTable {
  #pages: TablePage[] = []
  #byNumber = new Map<number, TablePage>()
  /** Rows of the index whose last mail is gone. */
  #emptied = new Set<number>()
  #count = 0

  get count(): number {
    return this.#count
  }

  /** Highest UID, 0 without mails. */
  get lastUid(): number {
    const last = this.#pages.at(-1)
    return last === undefined ? 0 : Page.of(last.bytes).uids.at(-1)!
  }

  /** Whether the index lacks something. */
  get unsaved(): boolean {
    return this.#emptied.size > 0 || this.#pages.some((page) => page.unsaved)
  }

  /** The octets of all pages: they stay as they are whatever happens to the table. */
  get pages(): readonly Uint8Array[] {
    return this.#pages.map((page) => page.bytes)
  }

  /** Differs when any page does. */
  get sum(): number {
    let sum = this.#pages.length
    for (const page of this.#pages) sum = (Math.imul(sum, 31) + Page.checksum(page.bytes)) | 0
    return sum
  }

  /** Fills an empty table from the rows of an index; false, and still empty, when they make no sense. */
  load(rows: readonly Uint8Array[]): boolean {
    const pages: TablePage[] = []
    let last = -1
    let count = 0
    for (const bytes of rows) {
      const page = Page.check(bytes)
      if (page === undefined || page.count === 0) return false
      const number = pageOf(page.uids[0]!)
      if (number <= last || pageOf(page.uids.at(-1)!) !== number) return false
      for (let i = 1; i < page.count; i++) if (page.uids[i]! <= page.uids[i - 1]!) return false
      pages.push(new TablePage(number, { bytes, count: page.count }))
      last = number
      count += page.count
    }
    this.#pages = pages
    this.#byNumber = new Map(pages.map((page) => [page.number, page]))
    this.#count = count
    return true
  }

  /** Another content altogether. */
  *fill(mails: Iterable<StoredMail>): Steps<void> {
    this.clear()
    let count = 0
    for (const mail of mails) {
      this.add(mail)
      if (++count % stepLength === 0) yield
    }
    yield* this.pack()
  }

  clear(): void {
    for (const page of this.#pages) this.#emptied.add(page.number)
    this.#pages = []
    this.#byNumber.clear()
    this.#count = 0
  }

  find(uid: number): StoredMail | undefined {
    return this.#byNumber.get(pageOf(uid))?.mails.find((mail) => mail.uid === uid)
  }

  /** Whether a mail of this base name may be there: false is certain. Looks at octets, not at mails. */
  mayHave(base: string): boolean {
    return this.#pages.some((page) => page.mayHave(base))
  }

  /** In the order of UIDs. What a loop leaves behind is released again. */
  *mails(): Generator<StoredMail, void, void> {
    for (const page of this.#pages) {
      yield* page.mails
      page.release()
    }
  }

  /** Anywhere, though it is mostly the end. Its UID is not in the table. To be changed later, it has to be found again. */
  add(mail: StoredMail): void {
    const number = pageOf(mail.uid)
    let page = this.#byNumber.get(number)
    if (page === undefined) {
      page = new TablePage(number, undefined)
      this.#byNumber.set(number, page)
      this.#emptied.delete(number)
      const last = this.#pages.at(-1)
      const isLast = (last?.number ?? -1) < number
      // Of a million new mails no more than one page of them is in memory as objects.
      if (isLast) last?.pack()
      this.#pages.push(page)
      if (!isLast) this.#pages.sort((a, b) => a.number - b.number)
    }
    page.add(mail)
    this.#count++
  }

  /** A mail of the table was changed. */
  changed(mail: StoredMail): void {
    this.#byNumber.get(pageOf(mail.uid))?.changed()
  }

  remove(uids: Iterable<number>): void {
    const byPage = new Map<number, Set<number>>()
    for (const uid of uids) {
      const number = pageOf(uid)
      const gone = byPage.get(number)
      if (gone === undefined) byPage.set(number, new Set([uid]))
      else gone.add(uid)
    }
    let emptied = false
    for (const [number, gone] of byPage) {
      const page = this.#byNumber.get(number)
      if (page === undefined) continue
      const left = page.mails.filter((mail) => !gone.has(mail.uid))
      this.#count -= page.count - left.length
      page.replace(left)
      if (left.length > 0) continue
      this.#byNumber.delete(number)
      this.#emptied.add(number)
      emptied = true
    }
    if (emptied) this.#pages = this.#pages.filter((page) => page.count > 0)
  }

  /** Everything back to octets. */
  *pack(): Steps<void> {
    for (const page of this.#pages) {
      page.pack()
      yield
    }
  }

  /** Calls back with each mail in the order of UIDs. */
  *each(visit: (mail: StoredMail) => void): Steps<void> {
    for (const page of this.#pages) {
      page.mails.forEach(visit)
      page.release()
      yield
    }
  }

  /** As `each`, for pages that may have mails of these base names, and those that have mails in `new/`. */
  *eachNear(
    files: { readonly size: number; readonly bases: Iterable<string> },
    visit: (mail: StoredMail) => void,
  ): Steps<void> {
    const bases = files.size <= fewBases ? [...files.bases] : undefined
    for (const page of this.#pages) {
      if (bases !== undefined && !page.hasNew && !bases.some((base) => page.mayHave(base))) continue
      page.mails.forEach(visit)
      page.release()
      yield
    }
  }

  /** What the index lacks; it counts as saved from here on. `all`: the index has nothing. */
  rowsToSave(all: boolean): { number: number; bytes: Uint8Array | null }[] {
    const rows: { number: number; bytes: Uint8Array | null }[] = []
    for (const number of this.#emptied) rows.push({ number, bytes: null })
    this.#emptied.clear()
    for (const page of this.#pages) {
      if (!all && !page.unsaved) continue
      page.unsaved = false
      rows.push({ number: page.number, bytes: page.bytes })
    }
    return rows
  }
}
