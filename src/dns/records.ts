/** Record types that mail asks for, and what an answer is. */

/** Data of a record by its type. Names are in lower case and have no trailing dot; the root is the empty name. */
export interface RecordData {
  /** The address. */
  readonly A: string
  readonly AAAA: string
  readonly MX: { readonly preference: number; readonly exchange: string }
  readonly SRV: {
    readonly priority: number
    readonly weight: number
    readonly port: number
    readonly target: string
  }
  /** The name that is asked for instead. Of other types it is followed. */
  readonly CNAME: string
  /** RFC 6698 section 2.1. */
  readonly TLSA: {
    readonly usage: number
    readonly selector: number
    readonly matchingType: number
    readonly data: Uint8Array
  }
  /** The strings of the record joined, one character per octet. */
  readonly TXT: string
  readonly NS: string
  /** The host name. */
  readonly PTR: string
}

export type RecordType = keyof RecordData

/**
 * - `not-found`: no such name, or no such records.
 * - `soft`: no answer for now (timeout, SERVFAIL, REFUSED, unreadable).
 * - `refused`: the name server will never answer this question.
 * - `malformed`: an answer whose data are no use.
 * - `filtered`: the reply filter left nothing.
 */
export type LookupFailure = 'not-found' | 'soft' | 'refused' | 'malformed' | 'filtered'

interface Answered {
  /** The name that has the records, or would have them: what aliases lead to. */
  readonly name: string
  /**
   * The name server vouches for the answer and for each alias on the way to it (AD bit of RFC 4035 section 3.2.3).
   * Only when `dnssec` was asked for. Of a failure: it is certain that there is nothing.
   */
  readonly secure: boolean
}

export type DnsAnswer<T extends RecordType> = Answered &
  (
    | {
        readonly ok: true
        /** At most 100; a larger set is an attempt to exhaust memory. */
        readonly records: readonly RecordData[T][]
        /** Seconds; the least of the records. */
        readonly ttl: number
      }
    | {
        readonly ok: false
        readonly kind: LookupFailure
        readonly detail: string
        /** The zone itself is odd: worth a line in the log. */
        readonly warning?: string
      }
  )

export type Family = 4 | 6

export interface HostAddress {
  readonly address: string
  readonly family: Family
}

export type NativeAnswer =
  | { readonly ok: true; readonly records: readonly HostAddress[] }
  | {
      readonly ok: false
      readonly kind: 'not-found' | 'soft' | 'refused'
      readonly detail: string
      /** The system says that there is no such host, not that it cannot look. */
      readonly noHost: boolean
    }
