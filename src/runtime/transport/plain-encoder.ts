import { KnownNames } from './known-names.ts'
import { maxElements, maxPlain, plainMark, refType } from './plain-format.ts'
import { WireRef } from './wire-ref.ts'

const maxDepth = 8
/** Longer strings are written by native code. */
const shortString = 20

const { hasOwnProperty: isOwn } = Object.prototype

/** Writes plain frames into one piece of memory. Each part is told its place and says where it ends; -1: not plain. */
export class PlainEncoder {
  readonly #bytes: Buffer
  readonly #view: DataView
  readonly #names: KnownNames
  readonly #home: object | undefined
  /** Where nothing may begin any more. */
  #limit = 0

  /** `home`: of the refs that may be sent. */
  constructor(bytes: Buffer, names = new KnownNames(), home?: object) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#names = names
    this.#home = home
  }

  /**
   * Writes a frame from `start` on, where `maxPlain` octets and the slack are free. Returns the end of it, or -1: not a
   * plain one.
   */
  encode(
    start: number,
    to: number,
    from: number,
    type: string | number,
    seq: number,
    body: readonly unknown[],
  ): number {
    const { length } = body
    if (length > maxElements - 4) return -1
    const bytes = this.#bytes
    bytes[start] = plainMark
    bytes[start + 1] = 0
    bytes[start + 2] = length + 4
    // Room for any value that has no parts, and for a name written in whole words: those with parts look for themselves.
    this.#limit = start + maxPlain - 16
    let at = this.#number(to, start + 3)
    at = this.#number(from, at)
    at = typeof type === 'number' ? this.#number(type, at) : this.#name(type, at)
    if (at < 0) return -1
    at = this.#number(seq, at)
    for (let i = 0; i < length && at > 0; i++) at = this.#value(body[i], at, 0)
    return at
  }

  #value(value: unknown, at: number, depth: number): number {
    if (at > this.#limit) return -1
    switch (typeof value) {
      case 'string':
        return this.#string(value, at)
      case 'number':
        return this.#number(value, at)
      case 'boolean':
        this.#bytes[at] = value ? 0xc3 : 0xc2
        return at + 1
      case 'undefined':
        // As msgpackr does: an extension of one octet.
        this.#bytes[at] = 0xd4
        this.#bytes[at + 1] = 0
        this.#bytes[at + 2] = 0
        return at + 3
      case 'object':
        if (value !== null) return this.#object(value, at, depth)
        this.#bytes[at] = 0xc0
        return at + 1
      default:
        return -1
    }
  }

  #number(value: number, at: number): number {
    if ((value | 0) !== value) {
      this.#bytes[at] = 0xcb
      this.#view.setFloat64(at + 1, value)
      return at + 9
    }
    if (value >= 0 && value < 0x80) {
      this.#bytes[at] = value
      return at + 1
    }
    this.#bytes[at] = 0xd2
    this.#view.setInt32(at + 1, value)
    return at + 5
  }

  #string(value: string, start: number): number {
    const bytes = this.#bytes
    const { length } = value
    let at = start
    // Native writing may need three octets for each character before it is found not to be ASCII.
    if (at + 3 * length > this.#limit) return -1
    if (length < 32) bytes[at++] = 0xa0 | length
    else {
      bytes[at] = 0xda
      bytes[at + 1] = length >> 8
      bytes[at + 2] = length
      at += 3
    }
    if (length > shortString) return bytes.write(value, at, 'utf8') === length ? at + length : -1
    let all = 0
    for (let i = 0; i < length; i++) {
      const code = value.charCodeAt(i)
      all |= code
      bytes[at + i] = code
    }
    return all < 0x80 ? at + length : -1
  }

  #name(text: string, at: number): number {
    const name = this.#names.next(text)
    if (name === undefined) return this.#string(text, at)
    if (at > this.#limit) return -1
    const view = this.#view
    const { octets } = name
    view.setInt32(at, name.word0, true)
    view.setInt32(at + 4, name.word1, true)
    if (octets > 8) {
      view.setInt32(at + 8, name.word2, true)
      view.setInt32(at + 12, name.word3, true)
    }
    return at + octets
  }

  #object(value: object, start: number, depth: number): number {
    if (depth === maxDepth) return -1
    if (Array.isArray(value)) return this.#array(value, start, depth)
    const prototype = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) {
      return value instanceof WireRef ? this.#ref(value, start) : -1
    }
    let at = start + 1
    let count = 0
    for (const key in value) {
      if (!isOwn.call(value, key)) continue
      if (++count > maxElements || key === '__proto__') return -1
      at = this.#name(key, at)
      if (at < 0) return -1
      at = this.#value((value as Record<string, unknown>)[key], at, depth + 1)
      if (at < 0) return -1
    }
    this.#bytes[start] = 0x80 | count
    return at
  }

  #array(values: readonly unknown[], start: number, depth: number): number {
    const { length } = values
    if (length > maxElements) return -1
    this.#bytes[start] = 0x90 | length
    let at = start + 1
    for (let i = 0; i < length && at > 0; i++) at = this.#value(values[i], at, depth + 1)
    return at
  }

  /** The extension the codec has for refs: `[thread, id]`. */
  #ref(ref: WireRef, start: number): number {
    if (ref.home !== this.#home) return -1
    const bytes = this.#bytes
    bytes[start] = 0xc7
    bytes[start + 2] = refType
    bytes[start + 3] = 0x92
    const at = this.#number(ref.id, this.#number(ref.thread, start + 4))
    bytes[start + 1] = at - start - 3
    // Two numbers may take more than the room that was looked for.
    return at > this.#limit ? -1 : at
  }
}
