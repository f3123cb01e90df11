/**
 * A fast way for the frames there are most of: small, of plain values, with ASCII strings. It writes the same msgpack
 * as any other encoder, so msgpackr can read it; it only takes half of msgpackr's time, because
 *
 * - strings are cut out of one string made of the whole frame: a call into native code for each costs more than all
 *   the rest;
 * - names (message types and the keys of objects) come out of a table, already internalised, so that the look-up of
 *   the handler and the making of the object need not do that.
 *
 * What it does not know (octets, bigints, other classes, large or non-ASCII values) is left to msgpackr: `encodePlain`
 * returns -1. Its frames begin with an array of the long form, although they have less than 16 elements; msgpackr
 * never writes that, so the reader can tell.
 */
import { WireRef } from './wire-ref.ts'

/** First octet of a plain frame. */
export const plainMark = 0xdc

/** Most octets of a plain frame. Strings cut out of one keep all of it in memory, so it has to be small. */
export const maxPlain = 1_024

const maxElements = 15
const maxDepth = 8
/** Longer strings are written by native code. */
const shortString = 16
const refType = 0x41

const { hasOwnProperty: isOwn } = Object.prototype

/** Writes plain frames. */
export class PlainEncoder {
  readonly bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  /** Writes `frame` to the start of `bytes`, which has `maxPlain` octets; returns its length, or -1: not a plain one. */
  encode(frame: readonly unknown[]): number {
    const { length } = frame
    if (length > maxElements) return -1
    const { bytes } = this
    bytes[0] = plainMark
    bytes[1] = 0
    bytes[2] = length
    this.#at = 3
    for (let i = 0; i < length; i++) if (!this.#value(frame[i], 0)) return -1
    return this.#at
  }

  #value(value: unknown, depth: number): boolean {
    // Room for any value that has no parts: they look for themselves.
    if (this.#at > maxPlain - 16) return false
    switch (typeof value) {
      case 'string':
        return this.#string(value)
      case 'number':
        this.#number(value)
        return true
      case 'boolean':
        this.bytes[this.#at++] = value ? 0xc3 : 0xc2
        return true
      case 'undefined':
        // As msgpackr does: an extension of one octet.
        this.bytes[this.#at++] = 0xd4
        this.bytes[this.#at++] = 0
        this.bytes[this.#at++] = 0
        return true
      case 'object':
        return this.#object(value, depth)
      default:
        return false
    }
  }

  #number(value: number): void {
    const { bytes } = this
    const at = this.#at
    if ((value | 0) !== value) {
      bytes[at] = 0xcb
      bytes.writeDoubleBE(value, at + 1)
      this.#at = at + 9
    } else if (value >= 0 && value < 0x80) {
      bytes[at] = value
      this.#at = at + 1
    } else {
      bytes[at] = 0xd2
      bytes[at + 1] = value >> 24
      bytes[at + 2] = value >> 16
      bytes[at + 3] = value >> 8
      bytes[at + 4] = value
      this.#at = at + 5
    }
  }

  #string(value: string): boolean {
    const { bytes } = this
    const { length } = value
    let at = this.#at
    // Native writing may need three octets for each character before it is found not to be ASCII.
    if (at + 3 + 3 * length > maxPlain) return false
    if (length < 32) bytes[at++] = 0xa0 | length
    else {
      bytes[at++] = 0xda
      bytes[at++] = length >> 8
      bytes[at++] = length
    }
    this.#at = at + length
    if (length > shortString) return bytes.write(value, at, 'utf8') === length
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      if (code > 0x7f) return false
      bytes[at + i] = code
    }
    return true
  }

  #object(value: object | null, depth: number): boolean {
    const { bytes } = this
    if (value === null) {
      bytes[this.#at++] = 0xc0
      return true
    }
    if (depth === maxDepth) return false
    if (Array.isArray(value)) {
      const { length } = value
      if (length > maxElements) return false
      bytes[this.#at++] = 0x90 | length
      for (let i = 0; i < length; i++) if (!this.#value(value[i], depth + 1)) return false
      return true
    }
    const prototype = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) {
      return value instanceof WireRef && this.#ref(value)
    }
    const header = this.#at++
    let count = 0
    for (const key in value) {
      if (!isOwn.call(value, key)) continue
      if (++count > maxElements || key === '__proto__' || !this.#string(key)) return false
      if (!this.#value((value as Record<string, unknown>)[key], depth + 1)) return false
    }
    bytes[header] = 0x80 | count
    return true
  }

  /** The extension the codec has for refs: `[thread, id]`. */
  #ref(ref: WireRef): boolean {
    const { bytes } = this
    const header = this.#at
    bytes[header] = 0xc7
    bytes[header + 2] = refType
    bytes[header + 3] = 0x92
    this.#at = header + 4
    this.#number(ref.thread)
    this.#number(ref.id)
    bytes[header + 1] = this.#at - header - 3
    // Two numbers may take more than the room that was looked for.
    return this.#at <= maxPlain
  }
}

const names = 512
const longestName = 24

/** Reads plain frames, and those alone. */
export class PlainDecoder {
  readonly #reviveRef: (thread: number, id: number) => unknown
  /** Names seen before, by a hash of their octets. */
  readonly #names: string[] = new Array<string>(names).fill('')
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0
  #start = 0
  #text = ''

  constructor(reviveRef: (thread: number, id: number) => unknown) {
    this.#reviveRef = reviveRef
  }

  decode(bytes: Buffer, start: number, end: number): unknown[] {
    this.#bytes = bytes
    this.#start = start
    this.#text = bytes.toString('latin1', start, end)
    const length = bytes[start + 2]!
    this.#at = start + 3
    const frame: unknown[] = []
    for (let i = 0; i < length; i++) {
      // The third is the message type: always one of a few.
      if (i === 2 && (bytes[this.#at]! & 0xe0) === 0xa0) frame.push(this.#name(bytes[this.#at++]! & 0x1f))
      else frame.push(this.#value())
    }
    return frame
  }

  #value(): unknown {
    const bytes = this.#bytes
    const octet = bytes[this.#at++]!
    if (octet < 0x80) return octet
    if (octet < 0x90) return this.#object(octet & 0x0f)
    if (octet < 0xa0) {
      const values: unknown[] = []
      for (let i = octet & 0x0f; i > 0; i--) values.push(this.#value())
      return values
    }
    if (octet < 0xc0) return this.#string(octet & 0x1f)
    const at = this.#at
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
        this.#at = at + 8
        return bytes.readDoubleBE(at)
      case 0xd2:
        this.#at = at + 4
        return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!
      case 0xd4:
        this.#at = at + 2
        return undefined
      case 0xda:
        this.#at = at + 2
        return this.#string((bytes[at]! << 8) | bytes[at + 1]!)
      default:
        throw new Error(`plain frame: unknown octet ${octet}`)
    }
  }

  #string(length: number): string {
    const from = this.#at - this.#start
    this.#at += length
    return this.#text.substring(from, from + length)
  }

  #object(count: number): object {
    const value: Record<string, unknown> = {}
    const bytes = this.#bytes
    for (let i = 0; i < count; i++) {
      const octet = bytes[this.#at++]!
      let key: string
      if (octet < 0xc0) key = this.#name(octet & 0x1f)
      else {
        this.#at += 2
        key = this.#string((bytes[this.#at - 2]! << 8) | bytes[this.#at - 1]!)
      }
      value[key] = this.#value()
    }
    return value
  }

  #name(length: number): string {
    if (length === 0 || length > longestName) return this.#string(length)
    const bytes = this.#bytes
    const at = this.#at
    const hash =
      (length * 31 + bytes[at]! * 7 + bytes[at + length - 1]! * 3 + bytes[at + (length >> 1)]!) & (names - 1)
    const known = this.#names[hash]!
    if (known.length === length) {
      let i = 0
      while (i < length && known.charCodeAt(i) === bytes[at + i]) i++
      if (i === length) {
        this.#at = at + length
        return known
      }
    }
    const name = internalised(this.#string(length))
    this.#names[hash] = name
    return name
  }

  #ref(): unknown {
    this.#at += 3
    const thread = this.#value() as number
    return this.#reviveRef(thread, this.#value() as number)
  }
}

/** The same string as the engine keeps it for names of properties, and without the frame it was cut out of. */
function internalised(name: string): string {
  return Object.keys({ [name]: 0 })[0]!
}
