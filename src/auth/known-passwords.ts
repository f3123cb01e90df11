import { createHmac, randomBytes } from 'node:crypto'

/** Memory of one, about. */
export const knownPasswordOctets = 400

export interface KnownPasswordsSettings {
  readonly maxEntries: number
  /** How long right and wrong ones are remembered. */
  readonly ttlMs: number
  readonly negativeTtlMs: number
}

interface Finding {
  readonly fits: boolean
  /** On the clock that never jumps. */
  readonly until: number
}

/**
 * Remembers which passwords were found right or wrong, so that a client that polls pays for the slow hash once, and one that
 * tries the same wrong password again and again costs nothing. Kept in memory only, as a keyed hash whose key is
 * this object's own. Bounded: the one unused for longest goes first.
 */
export class KnownPasswords {
  readonly #key = randomBytes(32)
  readonly #settings: KnownPasswordsSettings
  readonly #entries = new Map<string, Finding>()

  constructor(settings: KnownPasswordsSettings) {
    this.#settings = settings
  }

  /** Stands for a user's password and the field of a database that it is compared with. */
  digest(user: string, password: string, field: string): string {
    const parts = [user, password, field].map((text) => `${Buffer.byteLength(text)}:${text}`)
    return createHmac('sha256', this.#key).update(parts.join('')).digest('base64')
  }

  /** Whether it was found to fit; undefined: not known, or too long ago. */
  find(digest: string, now: number): boolean | undefined {
    const known = this.#entries.get(digest)
    if (known === undefined) return undefined
    this.#entries.delete(digest)
    if (now >= known.until) return undefined
    this.#entries.set(digest, known)
    return known.fits
  }

  add(digest: string, fits: boolean, now: number): void {
    const { maxEntries, ttlMs, negativeTtlMs } = this.#settings
    const lifetime = fits ? ttlMs : negativeTtlMs
    if (maxEntries === 0 || lifetime === 0) return
    this.#entries.delete(digest)
    this.#entries.set(digest, { fits, until: now + lifetime })
    if (this.#entries.size <= maxEntries) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }
}
