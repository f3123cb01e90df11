/** What is remembered of the wrong logins of one address. */
import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'

const maxSeen = 10

/** The last wrong names and passwords, as digests: a program that was not told of a change guesses nothing. */
export class WrongPasswords {
  readonly #seen: string[] = []

  /** Whether it is another one than those before. Undefined, as of a challenge and its answer: always. */
  isNew(credentials: string | undefined): boolean {
    if (credentials === undefined) return true
    const digest = createHash('sha256').update(credentials).digest('base64').slice(0, 16)
    if (this.#seen.includes(digest)) return false
    this.#seen.push(digest)
    if (this.#seen.length > maxSeen) this.#seen.shift()
    return true
  }
}

/** By which an address is remembered: an IPv6 customer has a whole /48. */
export function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, '')
  if (!isIPv6(plain)) return plain
  const [head = ''] = plain.split('%')
  const [left = '', right] = head.split('::')
  const before = left === '' ? [] : left.split(':')
  const after = right === undefined || right === '' ? [] : right.split(':')
  const missing = right === undefined ? 0 : Math.max(0, 8 - before.length - after.length)
  return [...before, ...Array.from({ length: missing }, () => '0'), ...after]
    .slice(0, 3)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')
}
