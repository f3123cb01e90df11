/** What sessions see of a mailbox: pages in the order POP3 numbers mails. */
import type { MailTable } from './mail-table.ts'
import { flagsOf } from './maildir-name.ts'
import { encodePage, Page, pageLength, type StoredMail } from './page.ts'
import { keyOf } from './uidlist.ts'

/** A keyword that hides mails; `letter` undefined: no file name can have it. */
export interface Hidden {
  readonly keyword: string
  readonly letter: string | undefined
}

/** A mailbox at one moment. It stays as it is. */
export interface View {
  readonly count: number
  readonly pages: readonly Uint8Array[]
}

/** Mails without those that are hidden. */
export function makeView(
  mails: Pick<MailTable, 'count' | 'pages' | 'mails'>,
  hidden: Hidden | undefined,
): View {
  const { pages } = mails
  if (!pages.some((bytes) => needsOrder(bytes, hidden))) return { count: mails.count, pages }
  const visible: StoredMail[] = []
  for (const mail of mails.mails()) {
    if (hidden === undefined || !hasKeyword(mail, hidden)) visible.push(mail)
  }
  const ordered = inPop3Order(visible)
  const cut: Uint8Array[] = []
  for (let i = 0; i < ordered.length; i += pageLength) cut.push(encodePage(ordered.slice(i, i + pageLength)))
  return { count: ordered.length, pages: cut }
}

/** Whether a page has anything that makes the order of UIDs not the one to show; most have not. */
function needsOrder(bytes: Uint8Array, hidden: Hidden | undefined): boolean {
  const page = Page.of(bytes)
  const { keysText } = page
  if (/(^|[ \n])O/.test(keysText)) return true
  if (hidden === undefined) return false
  if (keysText.includes(`k${hidden.keyword}`)) return true
  return hidden.letter !== undefined && new RegExp(`:2,[^,\\n]*${hidden.letter}`).test(page.namesText)
}

export function hasKeyword(mail: StoredMail, { keyword, letter }: Hidden): boolean {
  if (letter !== undefined && flagsOf(mail.name).includes(letter)) return true
  return mail.keys !== '' && mail.keys.split(' ').includes(`k${keyword}`)
}

/** Mails with a number from an earlier server (key `O`) come first, by it; the others follow by UID. */
function inPop3Order(mails: readonly StoredMail[]): readonly StoredMail[] {
  const numbered: { readonly mail: StoredMail; readonly order: number }[] = []
  for (const mail of mails) {
    if (mail.keys === '') continue
    const order = Number(keyOf(mail.keys, 'O') ?? Number.NaN)
    if (Number.isSafeInteger(order)) numbered.push({ mail, order })
  }
  if (numbered.length === 0) return mails
  const first = new Set(numbered.map(({ mail }) => mail))
  numbered.sort((a, b) => a.order - b.order || a.mail.uid - b.mail.uid)
  return [...numbered.map(({ mail }) => mail), ...mails.filter((mail) => !first.has(mail))]
}

const bytesOf = (array: Uint32Array | Float64Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)

/** u32 column as numbers. Copies when the bytes are not aligned, as after crossing a thread. */
export function readUids(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : new Uint8Array(bytes)
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >>> 2)
}

/** f64 column as numbers. */
export function readSizes(bytes: Uint8Array): Float64Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes)
  return new Float64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >>> 3)
}

/** For `UpdateRequest`. */
export const uidBytes = (uids: readonly number[]): Uint8Array => bytesOf(Uint32Array.from(uids))

/** For `UpdateRequest.sized`. */
export const sizeBytes = (sizes: readonly number[]): Uint8Array => bytesOf(Float64Array.from(sizes))
