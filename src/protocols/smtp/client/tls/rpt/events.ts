/** What is counted for TLS reports, RFC 8460: sessions by domain, policy and outcome. */

/** RFC 8460 section 4.3. */
export type FailureType =
  | 'starttls-not-supported'
  | 'certificate-host-mismatch'
  | 'certificate-expired'
  | 'certificate-not-trusted'
  | 'validation-failure'
  | 'tlsa-invalid'
  | 'dnssec-invalid'
  | 'dane-required'
  | 'sts-policy-fetch-error'
  | 'sts-policy-invalid'
  | 'sts-webpki-invalid'

export interface ReportedPolicy {
  readonly type: 'tlsa' | 'sts' | 'no-policy-found'
  /** The TLSA records, or the lines of the policy. */
  readonly lines: readonly string[]
  readonly domain: string
  /** Patterns of the policy, or the server of the records. */
  readonly mx: readonly string[]
}

/** One session, or one attempt at it. */
export interface ReportEvent {
  /** Domain of the recipients. */
  readonly domain: string
  readonly policy: ReportedPolicy
  /** Absent: it went well. */
  readonly failure?: ReportedFailure
}

export interface ReportedFailure {
  readonly type: FailureType
  /** Address of ours. */
  readonly sendingIp: string
  /** Name and address of the server; empty where there was none. */
  readonly mx: string
  readonly receivingIp: string
  readonly reason: string
}

/** An event with how often it came. */
export interface CountedEvent extends ReportEvent {
  readonly count: number
}

/** `2026-11-28`, UTC: reports are about days. */
export const dayOf = (now: number): string => new Date(now).toISOString().slice(0, 10)

/** Different events that are kept of one day; more are counted without their details. */
const maxDistinct = 20_000

/** Counts of what is not on the disk yet. */
export class Tally {
  readonly #counts = new Map<string, { day: string; event: ReportEvent; count: number }>()

  add(day: string, event: ReportEvent): void {
    let counted = event
    if (this.#counts.size >= maxDistinct && event.failure !== undefined) {
      const { type } = event.failure
      counted = { ...event, failure: { type, sendingIp: '', mx: '', receivingIp: '', reason: '' } }
    }
    const key = `${day} ${JSON.stringify(counted)}`
    const known = this.#counts.get(key)
    if (known !== undefined) known.count++
    else if (this.#counts.size < 2 * maxDistinct) this.#counts.set(key, { day, event: counted, count: 1 })
  }

  /** Takes all there is. */
  take(): readonly { readonly day: string; readonly event: ReportEvent; readonly count: number }[] {
    const all = [...this.#counts.values()]
    this.#counts.clear()
    return all
  }

  get isEmpty(): boolean {
    return this.#counts.size === 0
  }
}
