/**
 * Which transport and next hop a recipient has: local domains first, then the `[transport]` table, then
 * `smtp.relayhost`, then the domain itself by SMTP. Decided anew at each attempt, so that a corrected table
 * helps mail that is waiting already.
 */

export interface Route {
  /** Name of the transport: `smtp`, `lmtp`, `local`. */
  readonly transport: string
  /** Where to, in lower case: equal strings are one site. */
  readonly nexthop: string
}

/** The address cannot be routed; its recipient bounces. */
export interface Unroutable {
  readonly dsn: string
  readonly reason: string
}

export interface RoutingSettings {
  readonly hostname: string
  readonly localDomains: readonly string[]
  /** Domain, `.domain` (subdomains) or `*` to `transport:nexthop`. */
  readonly transport: Readonly<Record<string, string>>
  readonly relayhost: string
  /** Whether the next hop of a transport is a text for people, such as that of `error`. */
  hasText(transport: string): boolean
}

/** Finds routes; keeps no state of its own, so a new one is made when settings change. */
export class Router {
  readonly #local: ReadonlySet<string>
  readonly #table: ReadonlyMap<string, string>
  readonly #relayhost: string
  readonly #hasText: (transport: string) => boolean

  constructor(settings: RoutingSettings) {
    this.#local = new Set([settings.hostname, ...settings.localDomains].map((domain) => domain.toLowerCase()))
    this.#table = new Map(
      Object.entries(settings.transport).map(([domain, value]) => [domain.toLowerCase(), value]),
    )
    this.#relayhost = settings.relayhost.trim().toLowerCase()
    this.#hasText = (transport) => settings.hasText(transport)
  }

  /** The route of an address. An address without a domain is local, as sendmail has it. */
  route(address: string): Route | Unroutable {
    const at = address.lastIndexOf('@')
    const domain = at === -1 ? '' : address.slice(at + 1).toLowerCase()
    if (address === '' || at === 0 || (at !== -1 && domain === '')) {
      return { dsn: '5.1.3', reason: 'the recipient address has no local part or no domain' }
    }
    const listed = this.#listed(domain)
    // A domain that is local by name may still be given to a transport of its own, such as LMTP to another store.
    if (domain === '' || this.#local.has(domain)) {
      const own = this.#table.get(domain)
      return own === undefined ? { transport: 'local', nexthop: domain } : this.#parse(own, domain)
    }
    if (listed !== undefined) return this.#parse(listed, domain)
    if (this.#relayhost !== '') return { transport: 'smtp', nexthop: this.#relayhost }
    return { transport: 'smtp', nexthop: domain }
  }

  /** Most specific entry: the domain, then `.parent` from the longest to the shortest, then `*`. */
  #listed(domain: string): string | undefined {
    const exact = this.#table.get(domain)
    if (exact !== undefined || this.#table.size === 0) return exact
    // A bracketed literal such as [192.0.2.1] has dots too, but no parents.
    if (!domain.startsWith('[')) {
      for (let dot = domain.indexOf('.'); dot !== -1; dot = domain.indexOf('.', dot + 1)) {
        const parent = this.#table.get(domain.slice(dot))
        if (parent !== undefined) return parent
      }
    }
    return this.#table.get('*')
  }

  /** `transport:nexthop`; without next hop the domain, without transport `smtp`. */
  #parse(value: string, domain: string): Route {
    const match = /^([a-z][a-z0-9_-]*)?:(.*)$/is.exec(value.trim())
    const transport = match?.[1]?.toLowerCase() ?? 'smtp'
    const nexthop = match === null ? value.trim() : (match[2] ?? '').trim()
    if (this.#hasText(transport)) return { transport, nexthop }
    // The path of a socket is the one next hop where case matters.
    const name = /^unix:/i.test(nexthop) ? nexthop : nexthop.toLowerCase()
    const otherwise = transport === 'smtp' && this.#relayhost !== '' ? this.#relayhost : domain
    return { transport, nexthop: name === '' ? otherwise : name }
  }
}

/** Whether `route` answered that there is none. */
export const isUnroutable = (route: Route | Unroutable): route is Unroutable => 'dsn' in route
