/**
 * How long logins from an address wait after others from there failed: 4 s, 8 s, then the longest. The same wrong
 * password again, as of a program that was not told of a change, adds nothing. Dovecot's rule, see `[auth.penalty]`.
 */
import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'

interface Record {
  level: number
  changedAt: number
  /** Digests of the last wrong names and passwords. */
  readonly seen: string[]
}

const maxLevel = 4
/** Everything is forgiven after so long without a failure. */
const forgivenAfterMs = 15_000
const maxSeen = 10
/** Addresses under observation; the one quiet for longest is forgotten first. */
const maxRecords = 100_000

export class Penalties {
  readonly #records = new Map<string, Record>()

  /** Milliseconds that an attempt from this address has to wait now. */
  wait(address: string, now: number, maxDelayMs: number): number {
    if (this.#records.size === 0) return 0
    const record = this.#records.get(keyOf(address))
    if (record === undefined) return 0
    // Here and not at the failure: the wait itself is no time without one.
    if (now - record.changedAt >= forgivenAfterMs) record.level = 0
    if (record.level === 0) return 0
    return Math.min(maxDelayMs, 2_000 * 2 ** record.level)
  }

  failed(address: string, credentials: string, now: number, expiresAfterMs: number): void {
    const key = keyOf(address)
    const known = this.#records.get(key)
    const record =
      known === undefined || now - known.changedAt >= expiresAfterMs
        ? { level: 0, changedAt: now, seen: [] }
        : known
    const digest = createHash('sha256').update(credentials).digest('base64').slice(0, 16)
    if (record.seen.includes(digest)) return
    record.level = Math.min(maxLevel, record.level + 1)
    record.changedAt = now
    record.seen.push(digest)
    if (record.seen.length > maxSeen) record.seen.shift()
    this.#records.delete(key)
    this.#records.set(key, record)
    this.#expire(now, expiresAfterMs)
  }

  succeeded(address: string): void {
    if (this.#records.size > 0) this.#records.delete(keyOf(address))
  }

  /** The oldest are in front. */
  #expire(now: number, expiresAfterMs: number): void {
    for (const [key, { changedAt }] of this.#records) {
      if (this.#records.size <= maxRecords && now - changedAt < expiresAfterMs) return
      this.#records.delete(key)
    }
  }
}

/** An IPv6 customer has a whole /48. */
function keyOf(address: string): string {
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
