/** The actor `tls-store`: what all delivery threads have to know of TLS together. */
import type { Contract } from '../../../../actors/index.ts'
import type { StoredSession } from './sessions.ts'

export type TlsStoreContract = Contract<{
  /** A TLS session to be resumed. */
  findSession(key: string): StoredSession | null
  /** Keeps a session for `ttlMs`, in place of the one that was kept under this key. */
  saveSession(key: string, session: StoredSession, ttlMs: number): void
}>
