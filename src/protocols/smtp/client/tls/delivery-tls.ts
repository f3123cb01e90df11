/** The TLS client of one delivery, joined from what its thread shares and what the store of all threads has. */
import type { ActorContext } from '../../../../actors/index.ts'
import type { Config } from '../../../../config/settings.ts'
import type { DnsResolver, Family } from '../../../../dns/resolver.ts'
import { mapsOf } from '../../../../tables/contract.ts'
import { type ClientSettings, clientSettings } from '../config.ts'
import { TlsClient } from './client.ts'
import { Contexts } from './contexts.ts'
import { countSession, sharedSessions, sharedStsStore, tallySession } from './store.ts'
import { stsFinder } from './sts/finder.ts'

export interface DeliveryTlsOptions {
  readonly transport: string
  readonly settings: ClientSettings
  readonly config: Config
  readonly resolver: DnsResolver
  readonly families: readonly Family[]
  /** The contexts of a transport, shared by the thread. */
  readonly tlsContexts: (transport: string) => Contexts
}

export function tlsOfDelivery(context: ActorContext, options: DeliveryTlsOptions): TlsClient {
  const { transport, settings, config, resolver, families } = options
  const contexts = options.tlsContexts(transport)
  const now = () => context.clock.now()
  return new TlsClient({
    transport,
    settings,
    engine: config.tls,
    contexts,
    policyMaps: mapsOf(context, settings.tls_policy_maps),
    loglevelMaps: mapsOf(context, settings.tls_loglevel_maps),
    resolver,
    warn: (event, facts) => context.log.warn({ event, ...facts }, warnings[event] ?? event),
    count: settings.tlsrpt_enable ? (event) => countSession(context, event) : undefined,
    tally: (fact) => tallySession(context, fact),
    sts: settings.mta_sts
      ? stsFinder({
          resolver,
          families,
          settings,
          contexts,
          flights: context.local('smtp.sts', () => new Map()),
          store: sharedStsStore(context),
          now,
        })
      : undefined,
    sessions: settings.tls_session_cache_database === 'memory' ? sharedSessions(context) : undefined,
    now,
  })
}

const warnings: Readonly<Record<string, string>> = {
  'delivery.dane-off': 'DANE cannot be done with these settings',
  'delivery.port-465': 'servers on port 465 begin with TLS and wait for it: tls_wrappermode = true',
  'delivery.tls-ignored': 'attributes of a TLS policy of `none` mean nothing',
  'delivery.tls-loglevel': 'tls_loglevel_maps cannot be followed',
  'delivery.tls-on-unix':
    'a TLS policy of `may` means nothing on a unix socket: mail goes there in plaintext',
  'delivery.sts': 'the MTA-STS policy of a domain cannot be had',
}

/** Contexts by transport, made when they are needed: a reload begins anew. */
export function tlsContexts(config: Config): (transport: string) => Contexts {
  const known = new Map<string, Contexts>()
  return (transport) => {
    let contexts = known.get(transport)
    if (contexts === undefined) {
      const settings = clientSettings(config.smtp, config.lmtp, transport, config.transports[transport])
      contexts = new Contexts(settings, config.tls)
      known.set(transport, contexts)
    }
    return contexts
  }
}
