/**
 * How long logins from an address wait after others from there failed: 4 s, 8 s, then the longest. The same wrong
 * password again, as of a program that was not told of a change, adds nothing. Dovecot's rule, see `[auth.penalty]`.
 */
import { networkOf, WrongPasswords } from './wrong-passwords.ts'

interface Record {
  level: number
  changedAt: number
  readonly wrong: WrongPasswords
}

const maxLevel = 4
/** Everything is forgiven after so long without a failure. */
const forgivenAfterMs = 15_000
/** Addresses under observation; the one quiet for longest is forgotten first. */
const maxRecords = 100_000

export class Penalties {
  readonly #records = new Map<string, Record>()

  /** Milliseconds that an attempt from this address has to wait now. */
  wait(address: string, now: number, maxDelayMs: number): number {
    if (this.#records.size === 0) return 0
    const record = this.#records.get(networkOf(address))
    if (record === undefined) return 0
    // Here and not at the failure: the wait itself is no time without one.
    if (now - record.changedAt >= forgivenAfterMs) record.level = 0
    if (record.level === 0) return 0
    return Math.min(maxDelayMs, 2_000 * 2 ** record.level)
  }

  /** `credentials` tell one wrong try from another; undefined: each is another one. */
  failed(address: string, credentials: string | undefined, now: number, expiresAfterMs: number): void {
    const key = networkOf(address)
    const known = this.#records.get(key)
    const record =
      known === undefined || now - known.changedAt >= expiresAfterMs
        ? { level: 0, changedAt: now, wrong: new WrongPasswords() }
        : known
    if (!record.wrong.isNew(credentials)) return
    record.level = Math.min(maxLevel, record.level + 1)
    record.changedAt = now
    this.#records.delete(key)
    this.#records.set(key, record)
    this.#expire(now, expiresAfterMs)
  }

  succeeded(address: string): void {
    if (this.#records.size > 0) this.#records.delete(networkOf(address))
  }

  /** The oldest are in front. */
  #expire(now: number, expiresAfterMs: number): void {
    for (const [key, { changedAt }] of this.#records) {
      if (this.#records.size <= maxRecords && now - changedAt < expiresAfterMs) return
      this.#records.delete(key)
    }
  }
}
