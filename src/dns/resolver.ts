/**
 * Questions to the DNS, as mail asks them. The answers are values: what a failed lookup means for mail is decided
 * by who asks. This file is the only one that knows which library does the asking.
 *
 * TODO(dnssec): `node:dns` hides the AD bit and the CNAME chain; DANE needs a packet library behind `DnsResolver`.
 */
import { lookup } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import type { Settings } from '../config/schema.ts'
import type { dnsSettings } from './config.ts'

/** Records of one set that are looked at; more is an attempt to exhaust memory. */
const maxRecords = 100

/**
 * - `not-found`: no such name, or no such records.
 * - `soft`: no answer for now (timeout, SERVFAIL, unreadable).
 * - `refused`: the name server will not answer this question.
 * - `malformed`: an answer whose data are no use.
 */
export type LookupFailure = 'not-found' | 'soft' | 'refused' | 'malformed'

export type LookupResult<T> =
  | { readonly ok: true; readonly records: readonly T[] }
  | { readonly ok: false; readonly kind: LookupFailure; readonly detail: string }

export interface MxRecord {
  readonly preference: number
  /** Without a trailing dot; empty: the null MX of RFC 7505. */
  readonly exchange: string
}

export type Family = 4 | 6

/** Never rejects. Names are A-labels without a trailing dot. */
export interface DnsResolver {
  mx(name: string): Promise<LookupResult<MxRecord>>
  address(name: string, family: Family): Promise<LookupResult<string>>
  /** As the system looks up hosts: hosts file and whatever else it is set up for. */
  native(name: string): Promise<LookupResult<{ readonly address: string; readonly family: Family }>>
}

/** The resolver of `[dns]`. Throws when a server of `[dns] servers` is not an address. */
export function createResolver(settings: Settings<typeof dnsSettings>): DnsResolver {
  return new NodeResolver(settings)
}

class NodeResolver implements DnsResolver {
  readonly #resolver: Resolver

  constructor(settings: Settings<typeof dnsSettings>) {
    this.#resolver = new Resolver({ timeout: settings.timeout, tries: settings.tries })
    if (settings.servers.length > 0) this.#resolver.setServers([...settings.servers])
  }

  async mx(name: string): Promise<LookupResult<MxRecord>> {
    const result = await this.#ask(name, () => this.#resolver.resolveMx(name))
    if (!result.ok) return result
    const records = result.records.map(({ priority, exchange }) => ({
      preference: priority,
      exchange: exchange.replace(/\.$/, '').toLowerCase(),
    }))
    return { ok: true, records }
  }

  address(name: string, family: Family): Promise<LookupResult<string>> {
    return this.#ask(name, () =>
      family === 4 ? this.#resolver.resolve4(name) : this.#resolver.resolve6(name),
    )
  }

  native(name: string): Promise<LookupResult<{ address: string; family: Family }>> {
    return new Promise((resolve) => {
      lookup(name, { all: true, order: 'verbatim' }, (error, found) => {
        if (error === null) {
          const records = found.map(({ address, family }) => ({ address, family: family as Family }))
          resolve({ ok: true, records: records.slice(0, maxRecords) })
          return
        }
        const temporary =
          error.code === 'EAI_AGAIN' || error.code === 'EAI_MEMORY' || error.code === 'EAI_SYSTEM'
        resolve({
          ok: false,
          kind: temporary ? 'soft' : 'not-found',
          detail: error.code ?? error.message,
        })
      })
    })
  }

  async #ask<T>(name: string, query: () => Promise<T[]>): Promise<LookupResult<T>> {
    if (!isQueryName(name)) return { ok: false, kind: 'not-found', detail: 'not a domain name' }
    try {
      const records = await query()
      if (records.length === 0) return { ok: false, kind: 'not-found', detail: 'no records' }
      return { ok: true, records: records.slice(0, maxRecords) }
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? ''
      return { ok: false, kind: failureKind(code), detail: describe(code, error as Error) }
    }
  }
}

/** What can be asked for at all, RFC 1035 section 3.1. */
function isQueryName(name: string): boolean {
  return name.length <= 253 && /^[\x21-\x2d\x2f-\x7e]{1,63}(\.[\x21-\x2d\x2f-\x7e]{1,63})*$/.test(name)
}

function failureKind(code: string): LookupFailure {
  switch (code) {
    case 'ENOTFOUND':
    case 'ENODATA':
    case 'EBADNAME':
      return 'not-found'
    case 'EREFUSED':
    case 'EFORMERR':
    case 'ENOTIMP':
      return 'refused'
    default:
      return 'soft'
  }
}

function describe(code: string, error: Error): string {
  switch (code) {
    case 'ENOTFOUND':
      return 'no such name'
    case 'ENODATA':
      return 'no records of this type'
    case 'EBADNAME':
      return 'not a domain name'
    case 'ETIMEOUT':
      return 'the name servers did not answer'
    case 'ESERVFAIL':
      return 'the name server failed'
    case 'EREFUSED':
      return 'the name server refused to answer'
    case 'ECONNREFUSED':
      return 'no name server can be reached'
    case '':
      return error.message
    default:
      return code
  }
}
