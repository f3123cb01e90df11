/**
 * The policy that applies to a domain now, RFC 8461 sections 3.3 and 5: what is known of it, looked at again from time
 * to time. Without a policy so far a domain that cannot be asked has none; a policy that is known stays until it is
 * replaced or has expired, so that whoever hides the record or the web server gains nothing.
 */
import type { DnsResolver } from '../../../../../dns/resolver.ts'
import type { FetchResult } from './fetch.ts'
import { expiryOf, parseStsPolicy, type StsPolicy, stsRecordId } from './policy.ts'

/** What is known of a domain. */
export interface StsState {
  readonly policy?: StsPolicy
  /** When the record was looked at last; milliseconds since the epoch. */
  readonly checkedAt: number
  /** Why there is no policy although there is a record, or why it is the old one. */
  readonly failure?: StsFailure
}

export interface StsFailure {
  readonly type: 'sts-policy-fetch-error' | 'sts-webpki-invalid' | 'sts-policy-invalid'
  readonly reason: string
}

/** Where the state of domains is kept. */
export interface StsStore {
  get(domain: string): Promise<StsState | undefined>
  put(domain: string, state: StsState): void
}

/** How long an answer of the DNS, or a failure to fetch, is good: RFC 8461 section 3.3 suggests five minutes. */
const checkIntervalMs = 300_000

export interface StsLookupOptions {
  readonly resolver: DnsResolver
  readonly store: StsStore
  readonly now: () => number
  fetch(domain: string): Promise<FetchResult>
}

/** Lookups under way on this thread, by domain: many deliveries to one domain begin at the same time. */
export type StsFlights = Map<string, Promise<StsState>>

export async function findStsState(
  domain: string,
  flights: StsFlights,
  options: StsLookupOptions,
): Promise<StsState> {
  const known = await options.store.get(domain)
  const now = options.now()
  if (known !== undefined && now - known.checkedAt < checkIntervalMs && now >= known.checkedAt) {
    return current(known, now)
  }
  let flight = flights.get(domain)
  if (flight === undefined) {
    flight = check(domain, known, options).finally(() => flights.delete(domain))
    flights.set(domain, flight)
    void flight.then((state) => options.store.put(domain, state))
  }
  return current(await flight, now)
}

/** Without a policy that is over. */
function current(state: StsState, now: number): StsState {
  if (state.policy === undefined || expiryOf(state.policy) > now) return state
  const { policy: _, ...rest } = state
  return rest
}

async function check(
  domain: string,
  known: StsState | undefined,
  { resolver, fetch, now }: StsLookupOptions,
): Promise<StsState> {
  const checkedAt = now()
  const policy = known?.policy
  const keep = (failure?: StsFailure): StsState => ({
    checkedAt,
    ...(policy === undefined ? {} : { policy }),
    ...(failure === undefined ? {} : { failure }),
  })
  const answer = await resolver.query(`_mta-sts.${domain}`, 'TXT')
  const id = answer.ok ? stsRecordId(answer.records) : undefined
  if (id === undefined) return keep()
  // The same policy, and most of its life before it: nothing to fetch.
  const isFresh = policy !== undefined && checkedAt < policy.fetchedAt + (policy.maxAge * 1000) / 2
  if (policy?.id === id && isFresh) return keep()
  const fetched = await fetch(domain)
  if (!fetched.ok) return keep({ type: fetched.type, reason: fetched.reason })
  const parsed = parseStsPolicy(fetched.text, { domain, id, now: checkedAt })
  if (typeof parsed === 'string') {
    return keep({ type: 'sts-policy-invalid', reason: `the policy of ${domain} is invalid: ${parsed}` })
  }
  return { checkedAt, policy: parsed }
}
