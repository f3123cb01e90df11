import type { DecodedFrame } from './frame.ts'
import { plainSlack, refType } from './plain-format.ts'
import { Shapes } from './shapes.ts'

const names = 512
const longestKept = 24

/**
 * Octets of which one string is made, if so many are there. Strings cut out of it keep all of it in memory, so it has
 * to be small.
 */
const textOctets = 2_048

const noBytes: Buffer = Buffer.alloc(0)

/** Reads plain frames, and those alone. */
export class PlainDecoder {
  readonly #reviveRef: (thread: number, id: number) => unknown
  /** Names seen before, by a hash of their octets. */
  readonly #names: string[] = new Array<string>(names).fill('')
  readonly #shapes = new Shapes()
  #bytes = noBytes
  #view = new DataView(noBytes.buffer)
  #usesShapes = false
  /** What is at hand of `bytes` as one string. */
  #text = ''
  #textStart = 0
  #textEnd = 0
  /** The next octet. For compiled code, which cannot see private fields. */
  at = 0

  constructor(reviveRef: (thread: number, id: number) => unknown) {
    this.#reviveRef = reviveRef
  }

  /** Before memory is read whose octets may have changed since this decoder saw them. */
  forget(): void {
    this.#textEnd = 0
  }

  /** Reads `bytes[start, end)` into `frame`. Up to `limit` there are more frames, which may be read next. */
  decode(bytes: Buffer, start: number, end: number, limit: number, frame: DecodedFrame): void {
    if (bytes !== this.#bytes) this.#turnTo(bytes)
    // In a ring, frames are read forward until its start follows its end.
    if (end > this.#textEnd || start < this.at)
      this.#textFrom(start, Math.max(end, Math.min(limit, start + textOctets)))
    this.#usesShapes = end + plainSlack <= bytes.length
    const count = bytes[start + 2]! - 4
    this.at = start + 3
    frame.to = this.value() as number
    frame.from = this.value() as number
    const octet = bytes[this.at]!
    // A message type: always one of a few.
    if ((octet & 0xe0) === 0xa0) {
      this.at++
      frame.type = this.#name(octet & 0x1f)
    } else frame.type = this.value() as string | number
    frame.seq = this.value() as number
    frame.body = this.#values(count)
    this.at = end
  }

  release(): void {
    this.#turnTo(noBytes)
    this.#text = ''
  }

  #turnTo(bytes: Buffer): void {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#textEnd = 0
  }

  #textFrom(start: number, end: number): void {
    this.#text = this.#bytes.toString('latin1', start, end)
    this.#textStart = start
    this.#textEnd = end
  }

  /** Without spare room, which an array that grows would have. */
  #values(count: number): unknown[] {
    switch (count) {
      case 0:
        return []
      case 1:
        return [this.value()]
      case 2:
        return [this.value(), this.value()]
      case 3:
        return [this.value(), this.value(), this.value()]
      case 4:
        return [this.value(), this.value(), this.value(), this.value()]
      default: {
        const values = [this.value(), this.value(), this.value(), this.value(), this.value()]
        for (let i = 5; i < count; i++) values.push(this.value())
        return values
      }
    }
  }

  /** The value that begins at the next octet. */
  value(): unknown {
    const bytes = this.#bytes
    const octet = bytes[this.at++]!
    if (octet < 0x80) return octet
    if (octet < 0x90) return this.#object(octet & 0x0f)
    if (octet < 0xa0) return this.#values(octet & 0x0f)
    if (octet < 0xc0) return this.#string(octet & 0x1f)
    const { at } = this
    switch (octet) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xc7:
        return this.#ref()
      case 0xcb:
        this.at = at + 8
        return this.#view.getFloat64(at)
      case 0xd2:
        this.at = at + 4
        return this.#view.getInt32(at)
      case 0xd4:
        this.at = at + 2
        return undefined
      case 0xda:
        this.at = at + 2
        return this.#string((bytes[at]! << 8) | bytes[at + 1]!)
      default:
        throw new Error(`plain frame: unknown octet ${octet}`)
    }
  }

  #string(length: number): string {
    const from = this.at - this.#textStart
    this.at += length
    return this.#text.substring(from, from + length)
  }

  #object(count: number): object {
    if (count === 0) return {}
    if (!this.#usesShapes) return this.#objectOf(count)
    const { at } = this
    const word = this.#view.getInt32(at, true)
    const make = this.#shapes.find(word, count)
    if (make !== undefined) {
      const value = make(this, this.#view)
      if (value !== undefined) return value
      this.at = at
    }
    const value = this.#objectOf(count)
    this.#shapes.saw(word, count, value)
    return value
  }

  #objectOf(count: number): object {
    const value: Record<string, unknown> = {}
    const bytes = this.#bytes
    for (let i = 0; i < count; i++) {
      const octet = bytes[this.at++]!
      let key: string
      if (octet < 0xc0) key = this.#name(octet & 0x1f)
      else {
        this.at += 2
        key = this.#string((bytes[this.at - 2]! << 8) | bytes[this.at - 1]!)
      }
      value[key] = this.value()
    }
    return value
  }

  #name(length: number): string {
    if (length === 0 || length > longestKept) return this.#string(length)
    const bytes = this.#bytes
    const { at } = this
    const hash =
      (length * 31 + bytes[at]! * 7 + bytes[at + length - 1]! * 3 + bytes[at + (length >> 1)]!) & (names - 1)
    const known = this.#names[hash]!
    if (known.length === length) {
      let i = 0
      while (i < length && known.charCodeAt(i) === bytes[at + i]) i++
      if (i === length) {
        this.at = at + length
        return known
      }
    }
    const name = internalised(this.#string(length))
    this.#names[hash] = name
    return name
  }

  #ref(): unknown {
    if (this.#bytes[this.at + 1] !== refType) throw new Error('plain frame: unknown extension')
    this.at += 3
    const thread = this.value() as number
    return this.#reviveRef(thread, this.value() as number)
  }
}

/** The same string as the engine keeps it for names of properties, and without the text it was cut out of. */
function internalised(name: string): string {
  return Object.keys({ [name]: 0 })[0]!
}
