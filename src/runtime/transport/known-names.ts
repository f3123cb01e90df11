import { longestName } from './plain-format.ts'

/** A name and its octets as msgpack has them, in words. */
class Name {
  readonly text: string
  readonly octets: number
  readonly word0: number
  readonly word1: number
  readonly word2: number
  readonly word3: number
  /** The one that came behind it last time. */
  next: Name = this

  constructor(text: string) {
    const bytes = Buffer.alloc(16)
    bytes[0] = 0xa0 | text.length
    bytes.write(text, 1, 'latin1')
    this.text = text
    this.octets = text.length + 1
    this.word0 = bytes.readInt32LE(0)
    this.word1 = bytes.readInt32LE(4)
    this.word2 = bytes.readInt32LE(8)
    this.word3 = bytes.readInt32LE(12)
  }
}

/** Beyond so many, keys are not names but data, as in an object that maps users to numbers. */
const most = 1_024
/** After so many that were not known the table begins anew: what is sent may have changed. */
const missesBeforeAnew = 1 << 16

const ascii = /^[\0-\x7f]*$/

/** The names a sender has used, each with a guess at the next. */
export class KnownNames {
  readonly #names = new Map<string, Name>()
  #last = new Name('')
  #misses = 0

  /** The name of that text; undefined for one that is too long, not ASCII, or one too many. */
  next(text: string): Name | undefined {
    const expected = this.#last.next
    if (expected.text === text) {
      this.#last = expected
      return expected
    }
    return this.#find(text)
  }

  #find(text: string): Name | undefined {
    if (text.length > longestName) return undefined
    const name = this.#names.get(text) ?? this.#learn(text)
    if (name === undefined) return undefined
    this.#last.next = name
    this.#last = name
    return name
  }

  #learn(text: string): Name | undefined {
    if (++this.#misses > missesBeforeAnew) {
      this.#misses = 0
      this.#names.clear()
      this.#last = new Name('')
    }
    if (this.#names.size === most || !ascii.test(text)) return undefined
    const name = new Name(text)
    this.#names.set(text, name)
    return name
  }
}
