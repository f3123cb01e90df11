/**
 * A page: up to 256 mails as octets, in the order of UIDs or of POP3 numbers. It is a row of the index, a piece of
 * a snapshot, and what crosses to the thread of a session, without being written anew in between. It is never
 * changed once it is made.
 *
 *     u32 count | u32 octets of keys | u32 octets of names | u32 checksum of all behind it |
 *     f64 size[count] | u32 uid[count] | u8 flags[count] |
 *     keys: "keys LF" for each, or nothing when no mail has any | names: "name LF" for each
 *
 * Numbers are in the byte order of the machine: pages never leave it. Text is latin1. The names may be cut off:
 * 100 000 of them are most of the octets, and few sessions need more than a handful.
 */
import { crc32 } from 'node:zlib'
import { baseOf, isSeen } from './maildir-name.ts'

/** One mail of a mailbox. */
export interface StoredMail {
  readonly uid: number
  /** Identifies the mail. It changes only when a size in it was wrong. */
  base: string
  /** File name with flags, as it was last seen. */
  name: string
  /** The file is still in `new/`, because it could not be moved. */
  inNew: boolean
  /** Octets with CRLF line ends: what POP3 announces; -1 when not known. */
  virtual: number
  /**
   * Keys of the uid list other than `W` (`P`, `O`, `G`, `S`, unknown ones), separated by one space. Words that begin
   * with a small letter are ours and never leave the index, see `private-keys.ts`.
   */
  keys: string
}

export const seenFlag = 1
export const inNewFlag = 2

/** Mails of one page at most. */
export const pageLength = 256
/** The page of the register that a mail belongs to. */
export const pageOf = (uid: number): number => Math.floor(uid / pageLength)

const headOctets = 16
const mailOctets = 8 + 4 + 1

export function encodePage(mails: readonly StoredMail[]): Uint8Array {
  const count = mails.length
  let names = ''
  let keys = ''
  for (const mail of mails) {
    names += `${mail.name}\n`
    keys += `${mail.keys}\n`
  }
  if (keys.length === count) keys = ''
  const fixed = headOctets + count * mailOctets
  const bytes = Buffer.alloc(fixed + keys.length + names.length)
  const sizes = new Float64Array(bytes.buffer, bytes.byteOffset + headOctets, count)
  const uids = new Uint32Array(bytes.buffer, bytes.byteOffset + headOctets + count * 8, count)
  const flagsAt = headOctets + count * 12
  mails.forEach((mail, i) => {
    sizes[i] = mail.virtual
    uids[i] = mail.uid
    bytes[flagsAt + i] = (isSeen(mail.name) ? seenFlag : 0) | (mail.inNew ? inNewFlag : 0)
  })
  bytes.write(keys, fixed, 'latin1')
  bytes.write(names, fixed + keys.length, 'latin1')
  const head = new Uint32Array(bytes.buffer, bytes.byteOffset, 4)
  head[0] = count
  head[1] = keys.length
  head[2] = names.length
  head[3] = crc32(bytes.subarray(headOctets))
  return bytes
}

/** The columns of a page, for reading. */
export class Page {
  readonly count: number
  /** Octets of each mail; -1: not known. */
  readonly sizes: Float64Array
  readonly uids: Uint32Array
  readonly flags: Uint8Array
  readonly #bytes: Uint8Array
  readonly #keysAt: number
  readonly #namesAt: number

  private constructor(bytes: Uint8Array, count: number, keysOctets: number) {
    this.#bytes = bytes
    this.count = count
    const { buffer, byteOffset } = bytes
    this.sizes = new Float64Array(buffer, byteOffset + headOctets, count)
    this.uids = new Uint32Array(buffer, byteOffset + headOctets + count * 8, count)
    this.flags = bytes.subarray(headOctets + count * 12, headOctets + count * mailOctets)
    this.#keysAt = headOctets + count * mailOctets
    this.#namesAt = this.#keysAt + keysOctets
  }

  /** Reads what `encodePage` made, or that without its names. Copies when the octets are not aligned. */
  static of(bytes: Uint8Array): Page {
    const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes)
    const head = new Uint32Array(aligned.buffer, aligned.byteOffset, 4)
    return new Page(aligned, head[0]!, head[1]!)
  }

  /** The same for octets that may be anything; undefined: they are no page. */
  static check(bytes: Uint8Array): Page | undefined {
    if (bytes.length < headOctets) return undefined
    const aligned = bytes.byteOffset % 8 === 0 ? bytes : new Uint8Array(bytes)
    const [count = 0, keys = 0, names = 0, sum = 0] = new Uint32Array(aligned.buffer, aligned.byteOffset, 4)
    if (count > pageLength || aligned.length !== headOctets + count * mailOctets + keys + names)
      return undefined
    if (crc32(aligned.subarray(headOctets)) !== sum) return undefined
    return new Page(aligned, count, keys)
  }

  /** The one in its head. */
  static checksum(bytes: Uint8Array): number {
    return new DataView(bytes.buffer, bytes.byteOffset + 12, 4).getUint32(0, true)
  }

  /** Keys of each mail with an LF behind; empty when no mail has any. */
  get keysText(): string {
    return text(this.#bytes, this.#keysAt, this.#namesAt)
  }

  /** File names, each with an LF behind; empty when they were cut off. */
  get namesText(): string {
    return text(this.#bytes, this.#namesAt, this.#bytes.length)
  }

  /** Whether they were not cut off. */
  get hasNames(): boolean {
    return this.#namesAt < this.#bytes.length || this.count === 0
  }

  /** Names in the order of the mails; undefined when they were cut off. */
  get names(): string[] | undefined {
    return this.hasNames ? lines(this.namesText) : undefined
  }

  /** The octets up to the names. */
  get withoutNames(): Uint8Array {
    return this.#bytes.subarray(0, this.#namesAt)
  }

  mails(): StoredMail[] {
    const names = lines(this.namesText)
    const keys = this.#keysAt === this.#namesAt ? undefined : lines(this.keysText)
    return names.map((name, i) => ({
      uid: this.uids[i]!,
      base: baseOf(name),
      name,
      inNew: (this.flags[i]! & inNewFlag) !== 0,
      virtual: this.sizes[i]!,
      keys: keys === undefined ? '' : keys[i]!,
    }))
  }
}

const text = (bytes: Uint8Array, from: number, to: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1')

function lines(joined: string): string[] {
  const parts = joined.split('\n')
  parts.pop()
  return parts
}
