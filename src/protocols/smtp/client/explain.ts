/** Why mail for a next hop would go where: each question and answer, what is left out, the servers in order. */
import { type DnsResolver, recordText } from '../../../dns/resolver.ts'
import type { ClientSettings } from './config.ts'
import { DestinationError, type ParsedDestination, parseDestinations } from './destination.ts'
import { type Dropped, findServers, type LookupOptions, type Server } from './servers.ts'

export interface AskedQuestion {
  /** `MX d.test`, or `hosts d.test` for what the system was asked. */
  readonly question: string
  /** Records as in a zone file; empty when there is a failure. */
  readonly records: readonly string[]
  readonly failure?: string
  /** DNSSEC vouches for it. */
  readonly secure: boolean
}

export interface ExplainedHop {
  /** As written. */
  readonly nexthop: string
  /** What is looked for: mail exchangers, services, a host, an address, a socket. */
  readonly lookup: 'mx' | 'srv' | 'host' | 'address' | 'socket' | 'none'
  /** From `fallback_relay`. */
  readonly fallback: boolean
  readonly asked: readonly AskedQuestion[]
  /** In the order in which they are tried. */
  readonly servers: readonly Server[]
  /** How many of them are visited at most: `mx_address_limit`. */
  readonly visited: number
  readonly dropped: readonly Dropped[]
  /** No other next hop is tried after this one, as we are an exchanger of it ourselves. */
  readonly isLast: boolean
  readonly warnings: readonly string[]
  /** What the mail would be deferred (class 4) or returned (class 5) with, were there nothing after it. */
  readonly failure?: { readonly dsn: string; readonly reason: string }
}

export type ExplainOptions = Omit<LookupOptions, 'warn' | 'dropped'> & {
  readonly knownPorts: Readonly<Record<string, string>>
}

/** One after the other, all of them; a delivery stops at the first that takes the mail. */
export async function explainDestination(nexthop: string, options: ExplainOptions): Promise<ExplainedHop[]> {
  const { settings, protocol, knownPorts } = options
  const parse = { protocol, defaultService: settings.tcp_port, knownPorts }
  const isSocket = protocol === 'lmtp' && nexthop.startsWith('unix:')
  const fallback = isSocket ? '' : settings.fallback_relay.join(' ')
  const hops: ExplainedHop[] = []
  for (const destination of parseDestinations(nexthop, parse))
    hops.push(await explain(destination, options, false))
  if (fallback === '' || hops.some(({ isLast }) => isLast)) return hops
  for (const destination of parseDestinations(fallback, parse))
    hops.push(await explain(destination, options, true))
  return hops
}

async function explain(
  destination: ParsedDestination,
  options: ExplainOptions,
  fallback: boolean,
): Promise<ExplainedHop> {
  const asked: AskedQuestion[] = []
  const dropped: Dropped[] = []
  const warnings: string[] = []
  const common = { fallback, asked, dropped, warnings }
  if (destination instanceof DestinationError) {
    const failure = { dsn: '4.3.5', reason: destination.message }
    const nexthop = String(destination.details?.nexthop ?? '')
    return { ...common, nexthop, lookup: 'none', servers: [], visited: 0, isLast: false, failure }
  }
  const list = await findServers(destination, {
    ...options,
    resolver: noting(options.resolver, asked),
    warn: (event) => warnings.push(event),
    dropped: (one) => dropped.push(one),
  })
  const servers = list.ok ? list.servers : []
  const { mx_address_limit: limit } = options.settings
  return {
    ...common,
    nexthop: destination.nexthop,
    lookup: lookupOf(destination, options.settings),
    servers,
    visited: limit === 0 ? servers.length : Math.min(limit, servers.length),
    isLast: list.weAreMx,
    ...(list.ok ? {} : { failure: { dsn: list.failure.dsn, reason: list.failure.reason } }),
  }
}

function lookupOf(destination: Exclude<ParsedDestination, DestinationError>, settings: ClientSettings) {
  if (destination.kind === 'unix') return 'socket'
  if (destination.literal) return 'address'
  if (!destination.bracketed && settings.use_srv_lookup.includes(destination.service)) return 'srv'
  return destination.mx ? 'mx' : 'host'
}

/** The same resolver; what is asked and answered is noted. */
function noting(resolver: DnsResolver, asked: AskedQuestion[]): DnsResolver {
  return {
    async query(name, type, options) {
      const answer = await resolver.query(name, type, options)
      const records = answer.ok
        ? answer.records.map((data) => recordText(answer.name, answer.ttl, type, data))
        : []
      const failure = answer.ok ? {} : { failure: answer.detail }
      asked.push({ question: `${type} ${name}`, records, secure: answer.secure, ...failure })
      return answer
    },
    async native(name) {
      const answer = await resolver.native(name)
      const records = answer.ok ? answer.records.map(({ address }) => address) : []
      const failure = answer.ok ? {} : { failure: answer.detail }
      asked.push({ question: `hosts ${name}`, records, secure: false, ...failure })
      return answer
    },
  }
}
