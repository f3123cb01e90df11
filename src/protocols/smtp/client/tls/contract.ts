/** The actor `tls-store`: what all delivery threads have to know of TLS together. */
import type { Contract } from '../../../../actors/index.ts'
import type { CountedFact, TlsFact } from './counts.ts'
import type { ReportEvent } from './rpt/events.ts'
import type { StoredSession } from './sessions.ts'
import type { StsState } from './sts/lookup.ts'

export type { CountedFact }

/** A TLS report that has not been sent yet, as `mailactors tls-reports` shows it. */
export interface WaitingReport {
  /** UTC, `2026-11-28`. */
  readonly day: string
  readonly domain: string
  readonly successes: number
  readonly failures: number
  /** The report as it would be sent now, RFC 8460 section 4.4. */
  readonly report: object
}

export type TlsStoreContract = Contract<{
  /** A TLS session to be resumed. */
  findSession(key: string): StoredSession | null
  /** Keeps a session for `ttlMs`, in place of the one that was kept under this key. */
  saveSession(key: string, session: StoredSession, ttlMs: number): void
  dropSession(key: string): void
  /** What is known of the MTA-STS policy of a domain. */
  findSts(domain: string): StsState | null
  saveSts(domain: string, state: StsState): void
  /** Counts a session for the report to its domain. */
  count(event: ReportEvent): void
  /** Counts a session for metrics. */
  tally(fact: TlsFact): void
  /** What was counted for metrics since the store started. */
  tallied(): readonly CountedFact[]
  /** Reports that wait, oldest first, 1,000 at the most; of one domain, or of all (''). */
  reports(domain: string): readonly WaitingReport[]
  /** Sends what waits now, the present day included; returns how many reports. What comes of it is in the log. */
  sendReports(domain: string): number
}>
