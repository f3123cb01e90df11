/** TLS sessions to be resumed, RFC 8446 section 2.2: shared by all delivery threads. */

/** A TLS session, and what was found out about the server when it began: a resumed one does not show it again. */
export interface StoredSession {
  readonly ticket: Uint8Array
  /** Certificates of the server, DER, its own first. */
  readonly chain: readonly Uint8Array[]
  readonly chainError?: string
}

/** What a delivery sees of them. */
export interface TlsSessions {
  find(key: string): Promise<StoredSession | undefined>
  save(key: string, session: StoredSession, ttlMs: number): void
  /** It is of no use any more. */
  drop(key: string): void
}

interface Kept {
  readonly session: StoredSession
  readonly expiresAt: number
}

/** Sessions that are kept at the most, and octets of one. */
const maxSessions = 10_000
const maxOctets = 64 * 1024

/** The sessions themselves: the oldest goes when there are too many. */
export class SessionTable {
  readonly #sessions = new Map<string, Kept>()

  get size(): number {
    return this.#sessions.size
  }

  find(key: string, now: number): StoredSession | undefined {
    const kept = this.#sessions.get(key)
    if (kept === undefined) return undefined
    if (kept.expiresAt > now) return kept.session
    this.#sessions.delete(key)
    return undefined
  }

  save(key: string, session: StoredSession, expiresAt: number): void {
    const octets = session.chain.reduce((sum, { length }) => sum + length, session.ticket.length)
    if (octets > maxOctets) return
    this.#sessions.delete(key)
    this.#sessions.set(key, { session, expiresAt })
    if (this.#sessions.size > maxSessions) this.#sessions.delete(this.#sessions.keys().next().value!)
  }

  drop(key: string): void {
    this.#sessions.delete(key)
  }
}
