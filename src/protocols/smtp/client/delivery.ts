/**
 * The delivery actor: one per delivery request. It performs the request, tells the queue one result per recipient,
 * and ends. The queue manager starts it, next to the connection it lends if there is one.
 */
import { join } from 'node:path'
import {
  type ActorContext,
  type ActorRef,
  actor,
  type Contract,
  type ExitReason,
} from '../../../actors/index.ts'
import type { Config } from '../../../config/settings.ts'
import { createResolver, type DnsResolver, type Family } from '../../../dns/resolver.ts'
import type { DeliveryReport, DeliveryRequest, QueueContract } from '../../../queue/contract.ts'
import { mapsOf } from '../../../tables/contract.ts'
import { type Attempt, attempt } from './attempt.ts'
import { type ClientSettings, clientProtocol, clientSettings } from './config.ts'
import type { AttemptEnvironment } from './environment.ts'
import { connectionsOf, keeperOf, startKeeper } from './keeper.ts'
import { familiesOf, type OwnAddresses, ownAddresses, replyFilter } from './own-network.ts'
import { saslFailuresOf } from './sasl/known-failures.ts'
import type { Run } from './session.ts'
import type { Contexts } from './tls/contexts.ts'
import { tlsContexts, tlsOfDelivery } from './tls/delivery-tls.ts'

/** A delivery is started and reports; nobody tells it anything. */
export type DeliveryContract = Contract<Record<never, never>>

/** Wait before a report that was refused is offered again, and the longest such wait. */
const firstRetryMs = 10
const lastRetryMs = 1_000

export const delivery = actor<DeliveryContract, DeliveryRequest>({
  name: 'delivery',
  module: import.meta.url,
  init: (context, request) => new Delivery(context as unknown as ActorContext, request).start(),
})

class Delivery {
  readonly #context: ActorContext
  readonly #attempt: Attempt
  readonly #ended = Promise.withResolvers<void>()
  /** One of the request's: what it goes by in the queue. */
  readonly #recipient: number
  #retryMs = firstRetryMs

  constructor(context: ActorContext, request: DeliveryRequest) {
    this.#context = context
    this.#recipient = request.recipients[0]!.id
    if (request.cacheConnection) startKeeper(context)
    this.#attempt = attempt(request, environmentFor(context, request.transport))
  }

  start(): this {
    this.#attempt.run().then(
      this.#context.bind((report: DeliveryReport) => this.#report(report)),
      this.#context.bind((error: unknown) => {
        throw error
      }),
    )
    return this
  }

  /** On shutdown a delivery that is under way comes to its end: the supervisor says how long it may take. */
  async terminate(reason: ExitReason): Promise<void> {
    if (reason.kind === 'shutdown') await this.#ended.promise
    this.#attempt.abort()
  }

  /** Until it is taken: a result that gets lost is a mail delivered twice. */
  #report(report: DeliveryReport): void {
    const queue = this.#context.whereis<QueueContract>('queue')
    if (queue !== undefined && this.#tell(queue, report)) {
      this.#ended.resolve()
      this.#context.stop()
      return
    }
    setTimeout(
      this.#context.bind(() => this.#report(report)),
      this.#retryMs,
    )
    this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs)
  }

  #tell(queue: ActorRef<QueueContract>, report: DeliveryReport): boolean {
    const { moved } = this.#attempt
    if (moved === undefined) return queue.tell('delivered', report)
    if (moved.kind === 'connection') return queue.tell('relocate', this.#recipient, moved.lease)
    return queue.tell('reroute', this.#recipient, moved.transport, moved.nexthop)
  }
}

/** What does not change between the deliveries of a thread. */
interface Shared extends OwnAddresses {
  readonly resolver: DnsResolver
  readonly families: readonly Family[]
  /** The TLS contexts of a transport. */
  readonly tlsContexts: (transport: string) => Contexts
  readonly localDomains: ReadonlySet<string>
  /** Events that are told of once. */
  readonly hinted: Set<string>
  readonly settingsOf: (transport: string) => ClientSettings
}

function environmentFor(context: ActorContext, transport: string): AttemptEnvironment {
  const config = context.setting<Config>('config')!
  const shared = sharedFor(context, config)
  const settings = shared.settingsOf(transport)
  const run: Run = context.bind((task: (argument: never) => void, argument: unknown) =>
    task(argument as never),
  )
  return {
    ...shared,
    protocol: clientProtocol(transport, config.transports[transport]),
    settings,
    query: { filter: replyFilter(mapsOf(context, settings.dns_reply_filter)) },
    knownPorts: config.net.known_tcp_ports,
    hostname: config.hostname,
    softBounce: config.dsn.soft_bounce,
    dnsDisabled: config.dns.disable_dns_lookups,
    contentDir: join(config.data_dir, 'queue', 'content'),
    content: config.content,
    lineLengthLimit: config.net.line_length_limit,
    saslFailures: settings.sasl_auth_cache_name === '' ? undefined : saslFailuresOf(context),
    flags: config.transports[transport]?.flags ?? '',
    statusFilter:
      settings.delivery_status_filter.length > 0
        ? settings.delivery_status_filter
        : config.dsn.default_delivery_status_filter,
    notifyClasses: config.notify.classes,
    doubleBounceSender: `${config.dsn.double_bounce_sender}@${config.hostname}`,
    addresses: {
      delimiter: config.auth.recipient_delimiter,
      isLocal: (domain) => shared.localDomains.has(domain.toLowerCase()),
      origin: config.hostname,
      propagateExtension: config.rewrite.propagate_unmatched_extensions.includes('generic'),
    },
    maps: (sources) => mapsOf(context, sources),
    minimalBackoffMs: config.queue.minimal_backoff_time,
    tls: tlsOfDelivery(context, { transport, settings, config, ...shared }),
    tlsFeatures: config.tls,
    // A connection made under settings that no longer count is for this mail alone.
    keeper: () => (context.setting<Config>('config') === config ? keeperOf(context) : undefined),
    connections: connectionsOf(context, config.cache.protocol_timeout),
    run,
    bind: (callback) => context.bind(callback),
    now: () => context.clock.now(),
    monotonic: () => context.clock.monotonic(),
    random: Math.random,
    hint: (event, facts) => {
      if (shared.hinted.has(event)) return
      shared.hinted.add(event)
      context.log.info({ event, ...facts }, logText[event] ?? event)
    },
    log: (level, event, facts) => context.log[level]({ event, ...facts }, logText[event] ?? event),
  }
}

/** Made once per thread and configuration: a reload brings a new one. */
function sharedFor(context: ActorContext, config: Config): Shared {
  const known = context.local('smtp.delivery', () => new WeakMap<Config, Shared>())
  let shared = known.get(config)
  if (shared === undefined) {
    shared = {
      resolver: createResolver(config.dns, {
        warn: (reason) => context.log.warn({ event: 'dns.no-dnssec' }, reason),
      }),
      families: familiesOf(config.net.inet_protocols),
      hinted: new Set(),
      ...ownAddresses(config.net.inet_interfaces, config.net.proxy_interfaces),
      tlsContexts: tlsContexts(config),
      localDomains: new Set(
        [config.hostname, ...config.mail.local_domains].map((name) => name.toLowerCase()),
      ),
      settingsOf: settingsByTransport(config),
    }
    known.set(config, shared)
  }
  return shared
}

function settingsByTransport({ smtp, lmtp, transports }: Config): Shared['settingsOf'] {
  const known = new Map<string, ClientSettings>()
  return (transport) => {
    let settings = known.get(transport)
    if (settings === undefined) {
      settings = clientSettings(smtp, lmtp, transport, transports[transport])
      known.set(transport, settings)
    }
    return settings
  }
}

const logText: Readonly<Record<string, string>> = {
  'delivery.bad-destination': 'the destination cannot be understood',
  'delivery.content-check': 'a header or body check changed or noted what is sent',
  'delivery.content-check-odd': 'a header or body check cannot be followed',
  'delivery.filter-odd': 'delivery_status_filter gives what cannot be used',
  'delivery.flags-unusable': 'the flags of a transport need one recipient per delivery',
  'delivery.generic-odd': 'generic_maps give more than one address',
  'delivery.xforward-refused': 'XFORWARD was refused',
  'delivery.bind-failed': 'the bind address cannot be used',
  'delivery.dns-odd': 'a zone of the DNS is odd',
  'delivery.connect-failed': 'a server could not be reached',
  'delivery.ehlo-discarded': 'extensions of the server are ignored by configuration',
  'delivery.ehlo-odd': 'the EHLO reply is odd',
  'delivery.fallback-ignored': 'fallback_relay does not apply to a unix socket',
  'delivery.garbage-replies': 'the server sent lines that are no replies',
  'delivery.in-doubt': 'the reply to the end of the mail did not come: it may arrive twice',
  'delivery.lines-folded': 'lines were too long and were folded',
  'delivery.lookup-failed': 'the destination could not be looked up',
  'delivery.long-replies': 'the server sent lines that are too long to be kept whole',
  'delivery.no-mx-address': 'no mail exchanger has an address',
  'delivery.pix-workarounds': 'the greeting looks masked by a firewall',
  'delivery.port-465': 'port 465 begins with TLS, which smtp.tls_wrappermode = true does',
  'delivery.relay-unusable': 'a relay of the configuration cannot be used',
  'delivery.reply-filtered': 'a line of the server was replaced by reply_filter',
  'delivery.same-name-greeting': 'the server greets with our own name',
  'delivery.starttls-offered': 'the server offers TLS, which is off',
  'delivery.tls': 'TLS with the server is there',
  'delivery.tls-policy': 'the TLS policy keeps mail from a server',
  'delivery.tls-unavailable': 'TLS cannot be used',
  'delivery.skipped': 'a server did not take the mail for now',
}
