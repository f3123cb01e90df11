/**
 * Makers of objects whose keys are known: compiled, each compares the octets of its keys, reads the values between
 * them, and makes the object in one go. Adding key by key takes four times as long.
 *
 * Where code must not be compiled (`--disallow-code-generation-from-strings`) there are none, and all works without.
 */
/** What a maker sees of the decoder. */
export interface ShapeReader {
  /** Place of the next octet. */
  at: number
  value(): unknown
}

/** Reads an object from `reader.at` on; undefined, with `at` anywhere: its keys are others. */
export type Maker = (reader: ShapeReader, view: DataView) => object | undefined

/** Room for so many shapes, a power of two: one for each hash of the first key and the number of keys. */
const slots = 256
/** Seen so often in a row, keys are names and not data, as in an object that maps users to numbers. */
const seenBefore = 8
/** Longer keys would be compared beyond the slack that frames have behind them. */
const longestKey = 24
/** More than a program has shapes of messages: each takes compiled code. */
const mostCompiled = 512

interface Slot {
  /** Of the object seen last. */
  keys: readonly string[]
  seen: number
}

export class Shapes {
  readonly #makers: (Maker | undefined)[] = new Array<Maker | undefined>(slots).fill(undefined)
  readonly #seen = new Map<number, Slot>()
  #left = mostCompiled

  /** The maker for objects with so many keys, whose first one begins with the four octets of `word`. */
  find(word: number, count: number): Maker | undefined {
    return this.#makers[slotOf(word, count)]
  }

  /** An object was made without one. */
  saw(word: number, count: number, value: object): void {
    if (this.#left === 0) return
    const slot = slotOf(word, count)
    const keys = Object.keys(value)
    const known = this.#seen.get(slot)
    if (known === undefined || !areSame(known.keys, keys)) {
      this.#seen.set(slot, { keys, seen: 1 })
      return
    }
    if (++known.seen < seenBefore) return
    this.#seen.delete(slot)
    this.#left--
    this.#makers[slot] = compile(keys)
    if (this.#makers[slot] === undefined) this.#left = 0
  }
}

const slotOf = (word: number, count: number): number =>
  (Math.imul(word ^ (count << 3), 0x9e3779b1) >>> 24) & (slots - 1)

const areSame = (some: readonly string[], others: readonly string[]): boolean =>
  some.length === others.length && some.every((key, i) => key === others[i])

function compile(keys: readonly string[]): Maker | undefined {
  if (keys.some((key) => key.length > longestKey || key === '__proto__')) return undefined
  const lines = ["'use strict'", 'let at = reader.at']
  keys.forEach((key, i) => {
    lines.push(
      `if (${differs(key)}) return undefined`,
      `reader.at = at + ${key.length + 1}`,
      `const value${i} = reader.value()`,
      'at = reader.at',
    )
  })
  lines.push(`return { ${keys.map((key, i) => `${JSON.stringify(key)}: value${i}`).join(', ')} }`)
  try {
    return new Function('reader', 'view', lines.join('\n')) as Maker
  } catch {
    // Not allowed here.
    return undefined
  }
}

/** Code that compares a key's octets, with the one of its length before them, a word at a time. */
function differs(key: string): string {
  const octets = Buffer.from(`${String.fromCharCode(0xa0 | key.length)}${key}`, 'latin1')
  const { length } = octets
  const parts: string[] = []
  const word = (at: number) => parts.push(`view.getInt32(at + ${at}, true) !== ${octets.readInt32LE(at)}`)
  const octet = (at: number) => parts.push(`view.getUint8(at + ${at}) !== ${octets[at]}`)
  for (let at = 0; at + 4 <= length; at += 4) word(at)
  // The last word may overlap the one before it.
  if (length % 4 > 0 && length > 4) word(length - 4)
  for (let at = 0; length < 4 && at < length; at++) octet(at)
  return parts.join(' || ')
}
