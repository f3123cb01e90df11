/**
 * Mails as the index keeps them: packed by uid, 256 uids to a row, columns one after the other so that a large
 * mailbox is read without looking at single octets:
 *
 *     u32 count, u32 0 | f64 virtual[count] | f64 physical[count] | u32 uid[count] | u8 place[count] |
 *     text: "name LF keys LF" for each, latin1
 *
 * Numbers are in the byte order of the machine: the index never leaves it.
 */
import { baseOf } from './maildir-name.ts'

/** One mail of a mailbox. Sizes are octets, -1 when not known. */
export interface StoredMail {
  readonly uid: number
  /** Identifies the mail for as long as it exists. */
  readonly base: string
  /** File name with flags, as it was last seen. */
  name: string
  /** The file is still in `new/`, because it could not be moved. */
  inNew: boolean
  /** Size with CRLF line ends: what POP3 announces. */
  virtual: number
  physical: number
  /** Keys of the uid list other than sizes (`P`, `O`, `G`, unknown ones). */
  keys: string
}

/** The row a mail belongs to. */
export const packOf = (uid: number): number => Math.floor(uid / 256)

const headerOctets = 8

export function encodePack(mails: readonly StoredMail[]): Uint8Array {
  const count = mails.length
  let text = ''
  for (const mail of mails) text += `${mail.name}\n${mail.keys}\n`
  const fixed = headerOctets + count * (8 + 8 + 4 + 1)
  const bytes = Buffer.alloc(fixed + text.length)
  const { buffer, byteOffset } = bytes
  new Uint32Array(buffer, byteOffset, 1)[0] = count
  const sizes = new Float64Array(buffer, byteOffset + headerOctets, count * 2)
  const uids = new Uint32Array(buffer, byteOffset + headerOctets + count * 16, count)
  const placeAt = headerOctets + count * 20
  mails.forEach((mail, i) => {
    sizes[i] = mail.virtual
    sizes[count + i] = mail.physical
    uids[i] = mail.uid
    bytes[placeAt + i] = mail.inNew ? 1 : 0
  })
  bytes.write(text, fixed, 'latin1')
  return bytes
}

/** Adds the mails of a row to `mails`; false, and nothing added, when it is damaged. */
export function decodePack(bytes: Uint8Array, mails: StoredMail[]): boolean {
  // SQLite's memory need not be aligned for the columns.
  const copy = new Uint8Array(bytes)
  if (copy.length < headerOctets) return false
  const count = new Uint32Array(copy.buffer, 0, 1)[0]!
  const fixed = headerOctets + count * 21
  if (count > 256 || copy.length < fixed) return false
  const sizes = new Float64Array(copy.buffer, headerOctets, count * 2)
  const uids = new Uint32Array(copy.buffer, headerOctets + count * 16, count)
  const places = copy.subarray(headerOctets + count * 20, fixed)
  const words = Buffer.from(copy.buffer, fixed).toString('latin1').split('\n')
  if (words.length !== count * 2 + 1) return false
  for (let i = 0; i < count; i++) {
    const name = words[i * 2]!
    mails.push({
      uid: uids[i]!,
      base: baseOf(name),
      name,
      inNew: places[i] === 1,
      virtual: sizes[i]!,
      physical: sizes[count + i]!,
      keys: words[i * 2 + 1]!,
    })
  }
  return true
}
