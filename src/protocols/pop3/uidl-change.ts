/**
 * `uidl_change` of the logout line: whether a client that keeps UIDLs will find what it knows. Count and checksum of
 * the UIDLs it has seen before, and of those that are left. The checksum is an exclusive or, so the order does not matter.
 */
import { crc32 } from 'node:zlib'
import type { Maildrop } from './maildrop.ts'

export class UidlChange {
  readonly #maildrop: Maildrop
  #wasAsked = false
  #lowestFetched = Number.POSITIVE_INFINITY
  #left: ((index: number) => boolean) | undefined

  constructor(maildrop: Maildrop) {
    this.#maildrop = maildrop
  }

  /** UIDL was said. */
  asked(): void {
    this.#wasAsked = true
  }

  fetched(index: number): void {
    if (index < this.#lowestFetched) this.#lowestFetched = index
  }

  /** Deletion marks count as they are now. */
  freeze(): void {
    const deleted = Uint8Array.from({ length: this.#maildrop.count }, (_, i) =>
      this.#maildrop.isDeleted(i) ? 1 : 0,
    )
    this.#left = (index) => deleted[index] === 0
  }

  /** Empty unless UIDL was said. */
  toString(): string {
    if (!this.#wasAsked) return ''
    const left = this.#left ?? ((index: number) => !this.#maildrop.isDeleted(index))
    const before = this.#sum((index) => index < this.#lowestFetched)
    const after = this.#sum(left)
    return before === after ? before : `${before} -> ${after}`
  }

  #sum(counts: (index: number) => boolean): string {
    let count = 0
    let checksum = 0
    for (let index = 0; index < this.#maildrop.count; index++) {
      if (!counts(index)) continue
      count++
      checksum ^= crc32(this.#maildrop.uidl(index) ?? '')
    }
    return `${count}/${(checksum >>> 0).toString(16).padStart(8, '0')}`
  }
}
