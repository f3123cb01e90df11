/** Several tables asked in order, and the ways in which addresses and domains are looked up in them. */
import { isIP } from 'node:net'
import { found, type Lookup, none, type Table } from './result.ts'

export class Maps {
  readonly #tables: readonly Table[]

  constructor(tables: readonly Table[]) {
    this.#tables = tables
  }

  get isEmpty(): boolean {
    return this.#tables.length === 0
  }

  /**
   * The first answer that is not `none`. `partial`: the key is a part of what is looked for, which patterns are
   * not asked about. An empty result is an error: a table says "not found" by not having the key.
   */
  lookup(key: string, { partial = false }: { readonly partial?: boolean } = {}): Lookup {
    for (const table of this.#tables) {
      const answer = table.lookup({ key, partial })
      if (answer.kind === 'none') continue
      if (answer.kind === 'found' && answer.value === '') {
        return { kind: 'error', detail: `the lookup of "${key}" gives an empty result` }
      }
      return answer
    }
    return none
  }
}

export interface AddressSearch {
  /** Characters that separate the extension of a local part, `recipient_delimiter`. Empty: there are none. */
  readonly delimiter?: string
  /** Whether `user` alone is asked for: for addresses of domains that are ours. Default: never. */
  isLocal?(domain: string): boolean
}

export interface AddressLookup {
  readonly lookup: Lookup
  /** With its delimiter; what was left out of the key that was found. */
  readonly extension: string
}

/**
 * Looks for an address as Postfix does: `user+ext@domain`, `user@domain`, `user+ext` and `user` when the domain is
 * ours, `@domain`. Patterns see the whole address only.
 */
export function findAddress(maps: Maps, address: string, search: AddressSearch = {}): AddressLookup {
  const { local, domain } = splitAddress(address)
  const { base, extension } = splitExtension(local, search.delimiter ?? '')
  const at = domain === '' ? '' : `@${domain}`
  const isLocal = domain !== '' && search.isLocal?.(domain) === true
  const keys: readonly { readonly key: string; readonly extension: string }[] = [
    { key: address, extension: '' },
    ...(extension === '' ? [] : [{ key: base + at, extension }]),
    ...(isLocal ? [{ key: local, extension: '' }] : []),
    ...(isLocal && extension !== '' ? [{ key: base, extension }] : []),
    ...(domain === '' ? [] : [{ key: at, extension: '' }]),
  ]
  for (const [index, { key, extension }] of keys.entries()) {
    const lookup = maps.lookup(key, { partial: index > 0 })
    if (lookup.kind !== 'none') return { lookup, extension }
  }
  return { lookup: none, extension: '' }
}

/**
 * The address that takes the place of `address`, as generic and canonical maps say it: a result `@domain` keeps
 * the local part, one without domain gets `origin`. `none`: it stays as it is.
 */
export function mapAddress(
  maps: Maps,
  address: string,
  options: AddressSearch & {
    /** Domain of a result that has none. */
    readonly origin?: string
    /** Whether the extension of the address is added to a result found without it. */
    readonly propagateExtension?: boolean
  } = {},
): Lookup {
  const { lookup, extension } = findAddress(maps, address, options)
  if (lookup.kind !== 'found') return lookup
  if (lookup.value.startsWith('@')) return found(splitAddress(address).local + lookup.value)
  const { local, domain } = splitAddress(lookup.value)
  const propagated = options.propagateExtension === true && extension !== '' ? local + extension : local
  const place = domain === '' ? (options.origin ?? '') : domain
  return found(place === '' ? propagated : `${propagated}@${place}`)
}

/**
 * Looks for a domain and then for its parents, written as `.parent`, or as `parent` where
 * `parent_domain_matches_subdomains` says so.
 */
export function findDomain(
  maps: Maps,
  domain: string,
  { parents = 'dotted' }: { readonly parents?: 'dotted' | 'plain' } = {},
): Lookup {
  const whole = maps.lookup(domain)
  if (whole.kind !== 'none') return whole
  // An address has no parents.
  if (isIP(domain) !== 0 || domain.startsWith('[')) return none
  for (let dot = domain.indexOf('.', 1); dot > 0; dot = domain.indexOf('.', dot + 1)) {
    const answer = maps.lookup(domain.slice(parents === 'dotted' ? dot : dot + 1), { partial: true })
    if (answer.kind !== 'none') return answer
  }
  return none
}

/** Looks for an address and then for the networks it is in: `1.2.3.4`, `1.2.3`, `1.2`, `1`; with colons for IPv6. */
export function findNetwork(maps: Maps, address: string): Lookup {
  const whole = maps.lookup(address)
  if (whole.kind !== 'none') return whole
  const separator = isIP(address) === 6 ? ':' : '.'
  for (let end = address.lastIndexOf(separator); end > 0; end = address.lastIndexOf(separator, end - 1)) {
    const key = address.slice(0, end).replace(/:$/, '')
    const answer = maps.lookup(key, { partial: true })
    if (answer.kind !== 'none') return answer
  }
  return none
}

/** The last `@` separates the domain. */
function splitAddress(address: string): { local: string; domain: string } {
  const at = address.lastIndexOf('@')
  return at < 0
    ? { local: address, domain: '' }
    : { local: address.slice(0, at), domain: address.slice(at + 1) }
}

/** Postfix's special local parts keep what looks like an extension. */
const indivisible: ReadonlySet<string> = new Set(['mailer-daemon', 'double-bounce'])

function splitExtension(local: string, delimiters: string): { base: string; extension: string } {
  const position = [...local].findIndex((char, index) => index > 0 && delimiters.includes(char))
  const isWhole = position < 0 || indivisible.has(local.toLowerCase()) || isOwner(local, delimiters)
  if (isWhole) return { base: local, extension: '' }
  return { base: local.slice(0, position), extension: local.slice(position) }
}

/** `owner-list` and `list-request` are no extensions of `owner` and `list`, even with `-` as the delimiter. */
function isOwner(local: string, delimiters: string): boolean {
  return delimiters.includes('-') && /^owner-.|.-request$/i.test(local)
}
