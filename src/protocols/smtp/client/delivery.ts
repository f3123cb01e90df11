/**
 * The delivery actor. It performs a request, tells the queue one result per recipient, and ends. The queue manager
 * starts it, next to the connection it lends if there is one.
 *
 * While more mail waits for the same next hop it does not end with the request but goes on to the next one over the
 * connection it has. That one it is given while it is at work, so that nobody waits for anybody and the queue may hear of
 * results a little later, of many at once.
 */
import { join } from 'node:path'
import { type ActorContext, type ActorRef, actor, type ExitReason } from '../../../actors/index.ts'
import type { Config } from '../../../config/settings.ts'
import { createResolver, type DnsResolver, type Family } from '../../../dns/resolver.ts'
import type {
  DeliveryContract,
  DeliveryReport,
  DeliveryRequest,
  Onward,
  QueueContract,
} from '../../../queue/contract.ts'
import { mapsOf } from '../../../tables/contract.ts'
import { type Attempt, attempt } from './attempt.ts'
import { type ClientSettings, clientProtocol, clientSettings } from './config.ts'
import { destinationLabelOf } from './connection-labels.ts'
import type { AttemptEnvironment } from './environment.ts'
import { connectionsOf, keeperOf, startKeeper } from './keeper.ts'
import { familiesOf, type OwnAddresses, ownAddresses, replyFilter } from './own-network.ts'
import { saslFailuresOf } from './sasl/known-failures.ts'
import type { Run, Session } from './session.ts'
import type { Contexts } from './tls/contexts.ts'
import { tlsContexts, tlsOfDelivery } from './tls/delivery-tls.ts'

/** Results that nobody waits for are told within this time, so that many share the wake-up and the commit. */
const resultsWithinMs = 10
/** So long a delivery waits for a request it was not given, or holds one back that it does not get to. */
const idleMs = 1_000

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
  #request: DeliveryRequest
  #env: AttemptEnvironment
  #attempt: Attempt
  /** A request to go on with. */
  #next: DeliveryRequest | undefined
  /** The connection to go on with. */
  #session: Session | undefined
  #state: 'working' | 'waiting' | 'ending' = 'working'
  #isStopping = false
  readonly #ended = Promise.withResolvers<void>()
  #retryMs = firstRetryMs
  /** Looks after what waits. */
  #alarm: NodeJS.Timeout | undefined
  /** When the present wait began, on the clock that never jumps, milliseconds. */
  #waitsSince = 0

  constructor(context: ActorContext, request: DeliveryRequest) {
    this.#context = context
    this.#request = request
    if (request.cacheConnection) startKeeper(context)
    this.#env = this.#environment()
    this.#attempt = attempt(request, this.#env)
    // Killed it hears nothing, nor does anything of it go on: not even what limits the time of a command.
    context.runtime.atEnd(() => {
      clearTimeout(this.#alarm)
      this.#attempt.abort()
      this.#session?.destroy()
    })
  }

  #environment(): AttemptEnvironment {
    return {
      ...environmentFor(this.#context, this.#request.transport),
      takesAlong: (session) => this.#takesAlong(session),
    }
  }

  start(): this {
    this.#run()
    return this
  }

  #run(): void {
    this.#attempt.run().then(
      this.#context.bind((report: DeliveryReport) => this.#done(report)),
      this.#context.bind((error: unknown) => {
        throw error
      }),
    )
  }

  #takesAlong(session: Session): boolean {
    if (this.#isStopping || (this.#next === undefined && this.#request.stays !== true)) return false
    this.#session = session
    return true
  }

  next(request: DeliveryRequest): void {
    this.#next = request
    if (this.#state === 'waiting') this.#goOn()
    else this.#wait()
  }

  end(): void {
    if (this.#state === 'waiting') this.#end()
  }

  /** On shutdown a delivery that is under way comes to its end: the supervisor says how long it may take. */
  async terminate(reason: ExitReason): Promise<void> {
    this.#isStopping = true
    if (reason.kind === 'shutdown' && this.#state === 'working') await this.#ended.promise
    clearTimeout(this.#alarm)
    this.#attempt.abort()
    const session = this.#session
    this.#session = undefined
    if (session !== undefined) part(session, this.#env)
  }

  /** Until it is taken: a result that gets lost is a mail delivered twice. */
  #done(report: DeliveryReport): void {
    const session = this.#session
    const onward =
      session === undefined || this.#isStopping
        ? undefined
        : { hasBegun: this.#next !== undefined, setupMs: session.setupMs }
    const queue = this.#context.whereis<QueueContract>('queue')
    if (queue !== undefined && this.#tell(queue, report, onward)) {
      this.#retryMs = firstRetryMs
      if (onward === undefined) this.#end()
      else if (onward.hasBegun) this.#goOn()
      else {
        this.#state = 'waiting'
        this.#wait()
      }
      return
    }
    setTimeout(
      this.#context.bind(() => this.#done(report)),
      this.#retryMs,
    )
    this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs)
  }

  #tell(queue: ActorRef<QueueContract>, report: DeliveryReport, onward: Onward | undefined): boolean {
    const { moved } = this.#attempt
    const { id } = this.#request.recipients[0]!
    if (moved?.kind === 'connection') return queue.tell('relocate', id, moved.lease)
    if (moved !== undefined) return queue.tell('reroute', id, moved.transport, moved.nexthop)
    if (onward === undefined) return queue.tell('delivered', report)
    return queue.tellWith({ withinMs: onward.hasBegun ? resultsWithinMs : 0 }, 'delivered', report, onward)
  }

  /** The next request over the connection that is there; if that is of no use any more, over another one. */
  #goOn(): void {
    const next = this.#next!
    const session = this.#session!
    const before = { request: this.#request, env: this.#env }
    this.#next = undefined
    this.#session = undefined
    this.#state = 'working'
    this.#request = next
    const isCurrent = before.env.keeper() !== undefined
    if (!isCurrent) this.#env = this.#environment()
    const { settings } = this.#env
    const isGood = session.alive && !session.hasStrayInput && !session.damaged
    const isSame = destinationLabelOf(next, settings) === destinationLabelOf(before.request, settings)
    if (isGood && isSame && isCurrent) {
      const lease = { connection: 0, endpoint: session.endpoint, setupMs: session.setupMs }
      this.#attempt = attempt({ ...next, lease }, this.#env, session)
    } else {
      part(session, this.#env)
      this.#attempt = attempt(next, this.#env)
    }
    this.#run()
  }

  #end(): void {
    this.#state = 'ending'
    this.#keep()
    this.#ended.resolve()
    this.#context.stop()
  }

  /** The connection is for others. */
  #keep(): void {
    const session = this.#session
    this.#session = undefined
    if (session === undefined) return
    const kept = this.#env.keeper()?.put(session, {
      destination: destinationLabelOf(this.#request, this.#env.settings),
      unbind: '',
      ttlMs: this.#env.settings.connection_cache_time_limit,
    })
    if (kept !== true) part(session, this.#env)
  }

  #wait(): void {
    this.#waitsSince = this.#context.clock.monotonic()
    this.#lookAfter(idleMs)
  }

  #lookAfter(ms: number): void {
    this.#alarm ??= setTimeout(
      this.#context.bind(() => this.#looked()),
      ms,
    )
  }

  #looked(): void {
    this.#alarm = undefined
    const { id } = this.#next?.recipients[0] ?? {}
    if (this.#state === 'ending' || (this.#state === 'working' && id === undefined)) return
    const left = this.#waitsSince + idleMs - this.#context.clock.monotonic()
    if (left > 0) this.#lookAfter(Math.ceil(left))
    else if (this.#state === 'waiting') this.#end()
    else if (this.#context.whereis<QueueContract>('queue')?.tell('returned', id!) === true)
      this.#next = undefined
    else this.#lookAfter(firstRetryMs)
  }
}

/** Nobody needs it. */
function part(session: Session, { settings }: AttemptEnvironment): void {
  if (session.alive)
    session.part({ waitMs: settings.quit_timeout, waitForReply: !settings.skip_quit_response })
  else session.destroy()
}

/** What does not change between the deliveries of a thread. */
interface Shared extends OwnAddresses {
  readonly resolver: DnsResolver
  readonly families: readonly Family[]
  /** The TLS contexts of a transport. */
  readonly tlsContexts: (transport: string) => Contexts
  readonly localDomains: ReadonlySet<string>
  readonly contentDir: string
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
      contentDir: join(config.data_dir, 'queue', 'content'),
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
