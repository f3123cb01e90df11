/**
 * From a destination to the ordered list of servers to try: SRV records, mail exchangers or hosts, RFC 5321 section
 * 5.1, null MX of RFC 7505, detection of loops by address, limits.
 */
import type { DnsAnswer, DnsResolver, Family, QueryOptions } from '../../../dns/resolver.ts'
import type { ClientSettings } from './config.ts'
import type { Destination } from './destination.ts'
import { type Failure, localFailure, softened } from './failure.ts'
import { type FoundAddress, type HostLookupOptions, hostAddresses, LookupFailures } from './host-addresses.ts'
import { balanceFamilies, byPreference, byWeight } from './server-order.ts'

export interface Server {
  /** Name of the server: for logs, credentials and certificates. */
  readonly host: string
  /** IP address, or path of a unix socket. */
  readonly address: string
  /** 0 for unix sockets. */
  readonly port: number
  readonly preference: number
  /** One of the most preferred servers of its destination. */
  readonly best: boolean
  /** For DANE; undefined where no name was looked up. */
  readonly dns?: ServerDns
}

export interface ServerDns {
  /** The name that was asked for its address, and the one that aliases led to. */
  readonly qname: string
  readonly rname: string
  /** DNSSEC vouches for the address and for all aliases. */
  readonly addressSecure: boolean
  /** DNSSEC vouches for the MX or SRV records that name the server; `true` when none were involved. */
  readonly exchangerSecure: boolean
  /** The domain whose MX or SRV records name the server, as asked for and behind aliases; empty: none do. */
  readonly exchangerOf: readonly string[]
}

export type ServerList =
  /** `weAreMx`: we are an exchanger ourselves; what the better ones refuse goes nowhere else. */
  | { readonly ok: true; readonly servers: readonly Server[]; readonly weAreMx: boolean }
  | { readonly ok: false; readonly failure: Failure; readonly weAreMx: boolean }

/** What was found and will not be tried, for people who ask why. */
export interface Dropped {
  readonly host: string
  readonly address: string
  readonly reason: string
}

export interface LookupOptions {
  readonly protocol: 'smtp' | 'lmtp'
  readonly settings: ClientSettings
  readonly resolver: DnsResolver
  /** `smtp_dns_reply_filter` and the like; without `dnssec`, which the settings say. */
  readonly query?: QueryOptions
  /** Our own name: that of a server behind a unix socket. */
  readonly hostname: string
  /** Families that may be used, `inet_protocols`. */
  readonly families: readonly Family[]
  /** `dns.disable_dns_lookups`. */
  readonly dnsDisabled: boolean
  /** Whether an address is one of ours. */
  isOwnAddress(address: string): boolean
  /** 0 ≤ random() < 1. */
  random(): number
  warn(event: string, facts: object): void
  dropped?(dropped: Dropped): void
}

type Host = Extract<Destination, { kind: 'host' }>

interface Found extends FoundAddress {
  readonly preference: number
  readonly port: number
  readonly weight?: number
  readonly exchangerSecure: boolean
  readonly exchangerOf: readonly string[]
}

/** What named the servers. */
interface Naming {
  readonly type: 'MX' | 'SRV'
  readonly secure: boolean
  /** The name that has the records: what aliases lead to. */
  readonly owner: string
}

/** A name that a record points to. */
interface Target {
  readonly host: string
  readonly preference: number
  readonly port: number
  readonly weight?: number
}

/** Looks up the servers of a destination; never rejects. */
export async function findServers(destination: Destination, options: LookupOptions): Promise<ServerList> {
  if (destination.kind === 'unix') {
    const server = { host: options.hostname, address: destination.path, port: 0, preference: 0, best: true }
    return { ok: true, servers: [server], weAreMx: false }
  }
  if (options.families.length === 0) {
    const failure = localFailure('lookup', '4.4.4', 'all network protocols are disabled (net.inet_protocols)')
    return { ok: false, failure, weAreMx: false }
  }
  return new ServerLookup(destination, options).run()
}

class ServerLookup {
  readonly #destination: Host
  readonly #options: LookupOptions
  readonly #dnsDisabled: boolean
  readonly #query: QueryOptions
  readonly #failures = new LookupFailures()

  constructor(destination: Host, options: LookupOptions) {
    this.#destination = destination
    this.#options = options
    const { dns_support_level: level, dns_resolver_options } = options.settings
    this.#dnsDisabled = level === 'disabled' || (level === '' && options.dnsDisabled)
    this.#query = { ...options.query, dnssec: level === 'dnssec', search: dns_resolver_options }
  }

  run(): Promise<ServerList> {
    const { bracketed, literal, service } = this.#destination
    const isSrv = !bracketed && !literal && this.#options.settings.use_srv_lookup.includes(service)
    return isSrv && !this.#dnsDisabled ? this.#service() : this.#withoutService()
  }

  #withoutService(): Promise<ServerList> {
    return this.#destination.mx && !this.#dnsDisabled ? this.#exchangers() : this.#host()
  }

  async #service(): Promise<ServerList> {
    const { host, service } = this.#destination
    const { allow_srv_lookup_fallback: isAlways, ignore_srv_lookup_error: isOnError } = this.#options.settings
    const name = `_${service.toLowerCase()}._tcp.${host}`
    const answer = await this.#options.resolver.query(name, 'SRV', this.#query)
    if (!answer.ok) {
      if (isAlways || (isOnError && answer.kind !== 'not-found')) return this.#withoutService()
      return this.#refused(answer, `${name}, type SRV`)
    }
    if (answer.records.some(({ target }) => target === '')) {
      return isAlways ? this.#withoutService() : this.#null(`${host} does not offer ${service} (null SRV)`)
    }
    const targets = answer.records.map(({ target, priority, weight, port }) => ({
      host: target,
      preference: priority,
      port,
      weight,
    }))
    return this.#fromTargets(targets, { type: 'SRV', secure: answer.secure, owner: host })
  }

  async #exchangers(): Promise<ServerList> {
    const { settings, resolver } = this.#options
    const { host: domain, port } = this.#destination
    const answer = await resolver.query(domain, 'MX', this.#query)
    if (!answer.ok) {
      if (answer.kind === 'not-found') return this.#host()
      if (settings.ignore_mx_lookup_error && answer.kind !== 'filtered') return this.#host()
      return this.#refused(answer, `${domain}, type MX`)
    }
    if (answer.records.some(({ exchange }) => exchange === '')) {
      return this.#null(`${domain} does not accept mail (null MX)`)
    }
    const targets = answer.records.map(({ exchange, preference }) => ({ host: exchange, preference, port }))
    return this.#fromTargets(targets, { type: 'MX', secure: answer.secure, owner: answer.name })
  }

  async #host(): Promise<ServerList> {
    const { host, port, nexthop } = this.#destination
    const found = await this.#addresses([{ host, preference: 0, port }])
    if (found.length === 0) return this.#failed(false)
    if (this.#detectLoops && found.some(({ address }) => this.#options.isOwnAddress(address))) {
      return this.#loop('5.4.6', `mail for ${nexthop} comes back to ourselves`)
    }
    return this.#ordered(found, false)
  }

  /** All names are resolved, best first in what their failures mean. */
  async #fromTargets(unsorted: readonly Target[], naming: Naming): Promise<ServerList> {
    const { type } = naming
    const { settings, isOwnAddress, warn } = this.#options
    const domain = this.#destination.host
    const targets = [...unsorted].sort((a, b) => a.preference - b.preference)
    const found = await this.#addresses(targets, naming)
    if (found.length === 0) {
      warn('delivery.no-mx-address', { domain, type })
      const failed = this.#failed(false)
      const isDeferred = type === 'MX' && settings.defer_if_no_mx_address_found && !failed.ok
      return isDeferred ? { ...failed, failure: softened(failed.failure) } : failed
    }
    const self = this.#detectLoops ? found.find(({ address }) => isOwnAddress(address)) : undefined
    if (self === undefined) return this.#ordered(found, false)
    const better = found.filter(({ preference }) => preference < self.preference)
    for (const one of found) {
      if (one.preference >= self.preference)
        this.#drop(one, 'we are an exchanger ourselves, of no lesser preference')
    }
    if (better.length > 0) return this.#ordered(better, true)
    return found[0]!.preference === targets[0]!.preference
      ? this.#loop('5.4.6', `mail for ${domain} comes back to ourselves`)
      : this.#loop('4.4.4', `the preferred mail exchangers of ${domain} have no address`)
  }

  async #addresses(targets: readonly Target[], naming?: Naming): Promise<Found[]> {
    const { settings, resolver, families, warn } = this.#options
    const options: HostLookupOptions = {
      resolver,
      families,
      methods: this.#dnsDisabled ? ['native'] : settings.host_lookup,
      query: this.#query,
      warn,
    }
    const exchangerSecure = naming?.secure ?? true
    const exchangerOf = naming === undefined ? [] : [...new Set([this.#destination.host, naming.owner])]
    const lookups = await Promise.all(targets.map(({ host }) => hostAddresses(host, options)))
    return lookups.flatMap(({ found, note }, index) => {
      note(this.#failures)
      const { preference, port, weight } = targets[index]!
      const rank = {
        preference,
        port,
        exchangerSecure,
        exchangerOf,
        ...(weight === undefined ? {} : { weight }),
      }
      return found.map((address) => ({ ...address, ...rank }))
    })
  }

  get #detectLoops(): boolean {
    return this.#options.protocol === 'smtp' && this.#destination.port === 25
  }

  #drop({ qname, address }: FoundAddress, reason: string): void {
    this.#options.dropped?.({ host: qname, address, reason })
  }

  #null(reason: string): ServerList {
    return { ok: false, failure: localFailure('lookup', '5.1.0', reason), weAreMx: false }
  }

  #loop(dsn: string, reason: string): ServerList {
    return { ok: false, failure: localFailure('lookup', dsn, reason), weAreMx: true }
  }

  #refused(answer: Extract<DnsAnswer<'MX' | 'SRV'>, { ok: false }>, question: string): ServerList {
    this.#failures.dns(answer, question)
    return this.#failed(false)
  }

  #failed(weAreMx: boolean): Extract<ServerList, { ok: false }> {
    const nothing = localFailure('lookup', '5.4.4', `no address found for ${this.#destination.host}`)
    return { ok: false, failure: this.#failures.last ?? nothing, weAreMx }
  }

  #ordered(found: readonly Found[], weAreMx: boolean): ServerList {
    const { settings, random } = this.#options
    const isWeighted = found.some(({ weight }) => weight !== undefined)
    const list = isWeighted
      ? byWeight(found, random)
      : byPreference(found, {
          randomize: settings.randomize_addresses,
          familyFirst: settings.address_preference,
          random,
        })
    const limit = settings.mx_address_limit
    const balanced = settings.balance_inet_protocols && limit > 0 ? balanceFamilies(list, limit) : list
    for (const one of list) {
      if (!balanced.includes(one)) this.#drop(one, 'no room for more of its family within mx_address_limit')
    }
    const best = Math.min(...balanced.map(({ preference }) => preference))
    const servers = balanced.map((one) => ({
      host: settings.cname_overrides_servername ? one.rname : one.qname,
      address: one.address,
      port: one.port,
      preference: one.preference,
      best: one.preference === best,
      ...(one.qname === one.address
        ? {}
        : {
            dns: {
              qname: one.qname,
              rname: one.rname,
              addressSecure: one.secure,
              exchangerSecure: one.exchangerSecure,
              exchangerOf: one.exchangerOf,
            },
          }),
    }))
    return { ok: true, servers, weAreMx }
  }
}
