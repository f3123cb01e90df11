/** Numbers that look random and are the same for the same seed, on every machine. */
export class Random {
  #state: number

  /** `seed`: an integer; two that differ by a multiple of 2^32 are the same. */
  constructor(seed: number) {
    this.#state = seed | 0
    // Neighbouring seeds begin alike otherwise.
    for (let i = 0; i < 4; i++) this.next()
  }

  /** From 0 to less than 1, in steps of 2^-32. */
  next(): number {
    // A Weyl sequence, its words mixed twice so that each bit depends on all.
    this.#state = (this.#state + 0x9e3779b9) | 0
    let word = this.#state ^ (this.#state >>> 16)
    word = Math.imul(word, 0x21f0aaad)
    word ^= word >>> 15
    word = Math.imul(word, 0x735a2d97)
    word ^= word >>> 15
    return (word >>> 0) / 2 ** 32
  }

  /** An integer from 0 to less than `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end)
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.next() < probability
  }

  /** One of the list. @throws RangeError when there is none. */
  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new RangeError('nothing to pick from')
    return list[this.below(list.length)]!
  }
}
