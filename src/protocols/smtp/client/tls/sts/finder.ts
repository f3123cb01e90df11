/** Finds MTA-STS policies with the settings, authorities and name servers of deliveries. */
import type { DnsResolver, Family } from '../../../../../dns/resolver.ts'
import type { ClientSettings } from '../../config.ts'
import type { Contexts } from '../contexts.ts'
import { findAddresses } from '../https-lookup.ts'
import { fetchPolicy } from './fetch.ts'
import { findStsState, type StsFlights, type StsState, type StsStore } from './lookup.ts'

/** Limit for the fetch of a policy; RFC 8461 section 3.3 suggests a minute. */
const timeoutMs = 60_000

export interface FinderOptions {
  readonly resolver: DnsResolver
  readonly families: readonly Family[]
  readonly settings: ClientSettings
  readonly contexts: Contexts
  readonly flights: StsFlights
  readonly store: StsStore
  now(): number
}

/** Looks for the policy of a domain; never rejects. */
export function stsFinder(options: FinderOptions): (domain: string) => Promise<StsState> {
  const { resolver, families, settings, contexts, flights, store, now } = options
  return (domain) =>
    findStsState(domain, flights, {
      resolver,
      store,
      now,
      async fetch(name) {
        const context = contexts.https()
        if (context instanceof Error) {
          return { ok: false, type: 'sts-policy-fetch-error', reason: context.message }
        }
        return fetchPolicy(name, {
          context,
          address: settings.mta_sts_address,
          timeoutMs,
          resolve: findAddresses(resolver, families),
        })
      },
    })
}
