/**
 * From a destination to the ordered list of servers to try: RFC 5321 section 5.1, null MX of RFC 7505, detection of
 * loops by address, limits.
 */
import { isIP } from 'node:net'
import type { DnsResolver, Family, LookupFailure, LookupResult, MxRecord } from '../../../dns/resolver.ts'
import type { ClientSettings } from './config.ts'
import { type Destination, isHostname } from './destination.ts'
import { type Failure, isHard, localFailure, softened } from './failure.ts'

export interface Server {
  /** Name that was looked up: for logs, credentials and certificates. */
  readonly host: string
  /** IP address, or path of a unix socket. */
  readonly address: string
  /** 0 for unix sockets. */
  readonly port: number
  readonly preference: number
  /** One of the most preferred servers of its destination. */
  readonly best: boolean
}

export type ServerList =
  /** `weAreMx`: we are an exchanger ourselves; what the better ones refuse goes nowhere else. */
  | { readonly ok: true; readonly servers: readonly Server[]; readonly weAreMx: boolean }
  | { readonly ok: false; readonly failure: Failure; readonly weAreMx: boolean }

export interface LookupOptions {
  readonly protocol: 'smtp' | 'lmtp'
  readonly settings: ClientSettings
  readonly resolver: DnsResolver
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
}

interface Found {
  readonly host: string
  readonly address: string
  readonly family: Family
  readonly preference: number
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
  const lookup = new ServerLookup(destination, options)
  return destination.mx && !lookup.dnsDisabled ? lookup.exchangers() : lookup.host()
}

class ServerLookup {
  readonly dnsDisabled: boolean
  readonly #destination: Extract<Destination, { kind: 'host' }>
  readonly #options: LookupOptions
  /** The failure to report when nothing is found; soft ones are never replaced by hard ones. */
  #failure: Failure | undefined

  constructor(destination: Extract<Destination, { kind: 'host' }>, options: LookupOptions) {
    this.#destination = destination
    this.#options = options
    const level = options.settings.dns_support_level
    this.dnsDisabled = level === 'disabled' || (level === '' && options.dnsDisabled)
  }

  async host(): Promise<ServerList> {
    const { host, literal } = this.#destination
    const found = literal ? this.#literal(host, 0) : await this.#addresses(host, 0)
    if (found.length === 0) return this.#failed(false)
    if (this.#detectLoops && found.some(({ address }) => this.#options.isOwnAddress(address))) {
      this.#loop('5.4.6', `mail for ${this.#destination.nexthop} comes back to ourselves`)
      return this.#failed(true)
    }
    return this.#ordered(found, false)
  }

  async exchangers(): Promise<ServerList> {
    const { settings, resolver } = this.#options
    const domain = this.#destination.host
    const answer = await resolver.mx(domain)
    if (!answer.ok) {
      if (answer.kind === 'not-found' || settings.ignore_mx_lookup_error) return this.host()
      this.#remember(answer.kind, `${domain}, type MX`, answer.detail)
      return this.#failed(false)
    }
    if (answer.records.some(({ exchange }) => exchange === '')) {
      const failure = localFailure('lookup', '5.1.0', `${domain} does not accept mail (null MX)`)
      return { ok: false, failure, weAreMx: false }
    }
    return this.#fromExchangers(domain, answer)
  }

  async #fromExchangers(
    domain: string,
    answer: Extract<LookupResult<MxRecord>, { ok: true }>,
  ): Promise<ServerList> {
    const { settings, isOwnAddress, warn } = this.#options
    const records = [...answer.records].sort((a, b) => a.preference - b.preference)
    const groups = await Promise.all(
      records.map(({ exchange, preference }) =>
        isIP(exchange) === 0 ? this.#addresses(exchange, preference) : this.#literal(exchange, preference),
      ),
    )
    let found = groups.flat()
    if (found.length === 0) {
      warn('delivery.no-mx-address', { domain })
      if (settings.defer_if_no_mx_address_found && this.#failure !== undefined) {
        this.#failure = softened(this.#failure)
      }
      return this.#failed(false)
    }
    let weAreMx = false
    const self = this.#detectLoops ? found.find(({ address }) => isOwnAddress(address)) : undefined
    if (self !== undefined) {
      weAreMx = true
      const bestResolved = found[0]!.preference
      found = found.filter(({ preference }) => preference < self.preference)
      if (found.length === 0) {
        if (bestResolved === records[0]!.preference) {
          this.#loop('5.4.6', `mail for ${domain} comes back to ourselves`)
        } else this.#loop('4.4.4', `the preferred mail exchangers of ${domain} have no address`)
        return this.#failed(true)
      }
    }
    return this.#ordered(found, weAreMx)
  }

  get #detectLoops(): boolean {
    return this.#options.protocol === 'smtp' && this.#destination.port === 25
  }

  #loop(dsn: string, reason: string): void {
    this.#failure = localFailure('lookup', dsn, reason)
  }

  #failed(weAreMx: boolean): ServerList {
    const failure =
      this.#failure ?? localFailure('lookup', '5.4.4', `no address found for ${this.#destination.host}`)
    return { ok: false, failure, weAreMx: weAreMx || failure.dsn.endsWith('.4.6') }
  }

  #literal(address: string, preference: number): Found[] {
    const family: Family = isIP(address) === 6 ? 6 : 4
    if (!this.#options.families.includes(family)) {
      this.#failure ??= localFailure('lookup', '5.4.4', `the protocol of ${address} is disabled`)
      return []
    }
    return [{ host: address, address, family, preference }]
  }

  /** Addresses of a host in both families, DNS first, the system after it when DNS knows nothing. */
  async #addresses(host: string, preference: number): Promise<Found[]> {
    // RFC 6761 section 6.3: these names are loopback whatever a name server says.
    if (host === 'localhost' || host.endsWith('.localhost')) return this.#loopback(host, preference)
    const { settings, resolver, families } = this.#options
    const methods = this.dnsDisabled ? ['native'] : settings.host_lookup
    if (methods.includes('dns')) {
      const answers = await Promise.all(
        families.map(async (family) => ({ family, answer: await resolver.address(host, family) })),
      )
      const found: Found[] = []
      for (const { family, answer } of answers) {
        if (!answer.ok) continue
        for (const address of answer.records) found.push({ host, address, family, preference })
      }
      if (found.length > 0) return found
      const worst = pickWorst(answers.map(({ answer }) => answer))
      this.#remember(worst.kind, `${host}, type A`, worst.detail)
      if (worst.kind !== 'not-found') return []
    }
    if (!methods.includes('native') || !isHostname(host)) return []
    const answer = await resolver.native(host)
    if (!answer.ok) {
      this.#remember(answer.kind, host, answer.detail)
      return []
    }
    return answer.records
      .filter(({ family }) => families.includes(family))
      .map(({ address, family }) => ({ host, address, family, preference }))
  }

  #loopback(host: string, preference: number): Found[] {
    const { families } = this.#options
    return families.map((family) => ({
      host,
      address: family === 4 ? '127.0.0.1' : '::1',
      family,
      preference,
    }))
  }

  #remember(kind: LookupFailure, name: string, detail: string): void {
    const before = this.#failure
    if (before !== undefined && !isHard(before)) return
    const dsn = { 'not-found': '5.4.4', soft: '4.4.3', refused: '5.4.3', malformed: '5.4.4' }[kind]
    this.#failure = localFailure('lookup', dsn, `lookup of ${name} failed: ${detail}`)
  }

  #ordered(found: readonly Found[], weAreMx: boolean): ServerList {
    const { settings, random } = this.#options
    const list = [...found]
    if (settings.randomize_addresses) shuffle(list, random)
    // Array sort is stable: equals stay shuffled.
    const familyRank =
      settings.address_preference === 'ipv6' ? -1 : settings.address_preference === 'ipv4' ? 1 : 0
    list.sort((a, b) => a.preference - b.preference || familyRank * (a.family - b.family))
    const limit = settings.mx_address_limit
    const balanced = settings.balance_inet_protocols && limit > 0 ? balanceFamilies(list, limit) : list
    const best = Math.min(...balanced.map(({ preference }) => preference))
    const servers = balanced.map(({ host, address, preference }) => ({
      host,
      address,
      port: this.#destination.port,
      preference,
      best: preference === best,
    }))
    return { ok: true, servers, weAreMx }
  }
}

type Failed = Extract<LookupResult<unknown>, { ok: false }>

/** Soft dominates: what cannot be known now may be there later. */
function pickWorst(answers: readonly LookupResult<unknown>[]): Failed {
  const rank: Record<LookupFailure, number> = { soft: 3, refused: 2, malformed: 1, 'not-found': 0 }
  const failed = answers.filter((answer): answer is Failed => !answer.ok)
  return failed.reduce((worst, answer) => (rank[answer.kind] > rank[worst.kind] ? answer : worst))
}

function shuffle<T>(list: T[], random: () => number): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
}

/**
 * Leaves room for both families within `limit` addresses: a family that needs no more than half keeps all, else
 * they share evenly, and the odd place goes to the family of the first entry. Order is kept.
 */
export function balanceFamilies<T extends { readonly family: Family }>(
  list: readonly T[],
  limit: number,
): readonly T[] {
  const six = list.filter(({ family }) => family === 6).length
  const four = list.length - six
  if (list.length <= limit || six === 0 || four === 0) return list
  const half = limit / 2
  let keepSix: number
  if (six <= half) keepSix = six
  else if (four <= half) keepSix = limit - four
  else keepSix = list[0]!.family === 6 ? Math.ceil(half) : Math.floor(half)
  let keepFour = limit - keepSix
  return list.filter(({ family }) => (family === 6 ? keepSix-- > 0 : keepFour-- > 0))
}
