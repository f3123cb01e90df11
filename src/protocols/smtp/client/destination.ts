/**
 * Destination syntax of the delivery client: pure, asks neither DNS nor the system except for service names
 * through the function it is given.
 *
 * SMTP:  `domain` `domain:service` `[host]` `[host]:service` `[1.2.3.4]` `[ipv6:ADDR]`, each with `:service`
 * LMTP:  `unix:/path` `inet:host:service` `host:service` and the bracketed forms
 *
 * Both take a list, separated by commas or white space, tried from left to right.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { MailactorsError } from '../../../actors/index.ts'

/** A next hop that cannot be understood: the configuration is wrong, so mail waits (4.3.5). */
export class DestinationError extends MailactorsError {
  readonly code = 'MA_DESTINATION'
}

export type Destination =
  | {
      readonly kind: 'host'
      /** The element of the list as written, without `inet:`: key of policies and caches. */
      readonly nexthop: string
      /** Domain, host or address; A-labels, lower case. */
      readonly host: string
      /** Whether `host` is an address already. */
      readonly literal: boolean
      /** Whether to look for mail exchangers of `host`. */
      readonly mx: boolean
      readonly port: number
    }
  | { readonly kind: 'unix'; readonly nexthop: string; readonly path: string }

export interface DestinationOptions {
  readonly protocol: 'smtp' | 'lmtp'
  /** Port or service name of destinations that name none. */
  readonly defaultService: string
}

/** Names that work without a services file. RFC 6409, RFC 8314, RFC 2033. */
const knownPorts: ReadonlyMap<string, number> = new Map([
  ['lmtp', 24],
  ['smtp', 25],
  ['smtps', 465],
  ['submissions', 465],
  ['submission', 587],
])

/** Longest path of a unix socket on Linux, with its terminating NUL not counted. */
const maxSocketPath = 107

/**
 * Reads a next hop.
 * @throws DestinationError with a sentence that names the element.
 */
export function parseDestinations(nexthop: string, options: DestinationOptions): readonly Destination[] {
  if (options.protocol === 'lmtp') {
    if (nexthop.startsWith('unix:')) return [unixDestination(nexthop)]
    // Once, in front of the whole list: members after the first do not carry it.
    const rest = nexthop.startsWith('inet:') ? nexthop.slice('inet:'.length) : nexthop
    return parseList(rest, options)
  }
  return parseList(nexthop, options)
}

function parseList(text: string, options: DestinationOptions): Destination[] {
  const elements = text.split(/[\s,]+/).filter((element) => element !== '')
  if (elements.length === 0) throw new DestinationError('the next hop is empty', { nexthop: text })
  return elements.map((element) => parseElement(element, options))
}

function unixDestination(nexthop: string): Destination {
  const path = nexthop.slice('unix:'.length)
  if (path === '') throw new DestinationError('the path of the unix socket is missing', { nexthop })
  if (path.includes('\0')) throw new DestinationError('the path of the unix socket has a NUL', { nexthop })
  if (Buffer.byteLength(path) > maxSocketPath) {
    throw new DestinationError(`the path of the unix socket is longer than ${maxSocketPath} octets`, {
      nexthop,
    })
  }
  return { kind: 'unix', nexthop, path }
}

function parseElement(element: string, options: DestinationOptions): Destination {
  const bracketed = element.startsWith('[')
  const { host, service } = bracketed ? splitBracketed(element) : splitPlain(element)
  const literal = isIP(host) !== 0
  const mx = !bracketed && options.protocol === 'smtp' && !literal
  return {
    kind: 'host',
    nexthop: element,
    host: literal ? host : asciiHost(host, element),
    literal,
    mx,
    port: servicePort(service === '' ? options.defaultService : service, element),
  }
}

/** `[host]`, `[host]:service`; nothing else may follow the bracket. */
function splitBracketed(element: string): { host: string; service: string } {
  const end = element.indexOf(']')
  if (end < 0) throw new DestinationError(`missing "]" in "${element}"`, { nexthop: element })
  const inner = element.slice(1, end)
  const rest = element.slice(end + 1)
  if (rest !== '' && !rest.startsWith(':')) {
    throw new DestinationError(`only ":port" may follow the bracket in "${element}"`, { nexthop: element })
  }
  if (inner === '') throw new DestinationError(`no host in "${element}"`, { nexthop: element })
  const prefixed = /^ipv6:/i.test(inner)
  const host = prefixed ? inner.slice('ipv6:'.length) : inner
  // A bare `[2001:db8::7]` is what people write; with the prefix nothing but an IPv6 address will do.
  if (prefixed && !isIPv6(host)) {
    throw new DestinationError(`"${host}" is not an IPv6 address`, { nexthop: element })
  }
  return { host, service: rest.slice(1) }
}

/** Splits at the last colon, so a bare IPv6 address fails: it needs brackets. */
function splitPlain(element: string): { host: string; service: string } {
  const colon = element.lastIndexOf(':')
  if (colon < 0) return { host: element, service: '' }
  const host = element.slice(0, colon)
  if (host === '') throw new DestinationError(`no host in "${element}"`, { nexthop: element })
  if (host.includes(':')) {
    throw new DestinationError(`"${element}" has more than one colon; an IPv6 address needs brackets`, {
      nexthop: element,
    })
  }
  return { host, service: element.slice(colon + 1) }
}

function asciiHost(host: string, nexthop: string): string {
  const ascii = isAscii(host) ? host.toLowerCase() : domainToASCII(host)
  if (!isHostname(ascii)) throw new DestinationError(`"${host}" is not a host name`, { nexthop })
  return ascii.endsWith('.') ? ascii.slice(0, -1) : ascii
}

/** Host names of RFC 1123 section 2.1, with `_` allowed because it is used; not a name of numbers only. */
export function isHostname(name: string): boolean {
  if (name.length > 254 || !/^(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?$/i.test(name)) {
    return false
  }
  return !/^[0-9.]+$/.test(name)
}

function isAscii(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text)
}

function servicePort(service: string, nexthop: string): number {
  if (/^[0-9]/.test(service)) {
    const port = /^[0-9]{1,5}$/.test(service) ? Number(service) : 0
    if (port < 1 || port > 65_535) {
      throw new DestinationError(`"${service}" is not a port (1 to 65535)`, { nexthop })
    }
    return port
  }
  const port = knownPorts.get(service.toLowerCase())
  if (port === undefined) throw new DestinationError(`unknown service "${service}"`, { nexthop })
  return port
}

/** `[addr]` of log lines keeps an address readable; true for what `isIPv4` or `isIPv6` accept. */
export function isAddress(text: string): boolean {
  return isIPv4(text) || isIPv6(text)
}
