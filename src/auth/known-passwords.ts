import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Memory of one, about. */
export const knownPasswordOctets = 400

interface KnownPassword {
  readonly digest: Buffer
  /** The password field it was checked against; another one there makes this worthless. */
  readonly field: string
  /** On the clock that never jumps. */
  readonly until: number
}

/**
 * Remembers passwords that were found right, so that a client that polls pays for the slow hash once. Kept in
 * memory only, as a keyed hash whose key is this object's own. Bounded: the one unused for longest goes first.
 */
export class KnownPasswords {
  readonly #key = randomBytes(32)
  readonly #maxEntries: number
  readonly #ttlMs: number
  readonly #entries = new Map<string, KnownPassword>()

  constructor(settings: { readonly maxEntries: number; readonly ttlMs: number }) {
    this.#maxEntries = settings.maxEntries
    this.#ttlMs = settings.ttlMs
  }

  /** The digest under which a user's password is remembered. */
  digest(user: string, password: string): Buffer {
    return createHmac('sha256', this.#key).update(user).update('\0').update(password).digest()
  }

  /** Whether this very password was found right for this very field, and not too long ago. */
  has(user: string, digest: Buffer, field: string, now: number): boolean {
    const known = this.#entries.get(user)
    if (known === undefined) return false
    if (known.field !== field || now >= known.until) {
      this.#entries.delete(user)
      return false
    }
    if (!timingSafeEqual(known.digest, digest)) return false
    this.#entries.delete(user)
    this.#entries.set(user, known)
    return true
  }

  add(user: string, digest: Buffer, field: string, now: number): void {
    if (this.#maxEntries === 0 || this.#ttlMs === 0) return
    this.#entries.delete(user)
    this.#entries.set(user, { digest, field, until: now + this.#ttlMs })
    if (this.#entries.size <= this.#maxEntries) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }
}
