/**
 * Destination syntax of the delivery client: pure, asks neither DNS nor the system, but for the services file.
 *
 * SMTP:  `domain` `domain:service` `[host]` `[host]:service` `[1.2.3.4]` `[ipv6:ADDR]`, each with `:service`
 * LMTP:  `unix:/path` `inet:host:service` `host:service` and the bracketed forms
 *
 * Both take a list, separated by commas or white space, tried from left to right.
 */
import { isIP, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { MailactorsError } from '../../../actors/index.ts'
import { isHostname } from '../../../dns/names.ts'
import { servicePort } from './services.ts'

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
      /** Written in brackets: neither exchangers nor SRV records are looked for. */
      readonly bracketed: boolean
      /** Port or service name as written, or the default. */
      readonly service: string
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
  /** `net.known_tcp_ports`: services that work without the system's file. */
  readonly knownPorts: Readonly<Record<string, string>>
}

/** Longest path of a unix socket on Linux, with its terminating NUL not counted. */
const maxSocketPath = 107

/** An element of a list that cannot be understood: those before it are tried all the same. */
export type ParsedDestination = Destination | DestinationError

/** Reads a next hop; at least one element, which is an error when nothing is written. */
export function parseDestinations(
  nexthop: string,
  options: DestinationOptions,
): readonly ParsedDestination[] {
  const isUnix = options.protocol === 'lmtp' && nexthop.startsWith('unix:')
  if (isUnix) return [orError(() => unixDestination(nexthop))]
  // Once, in front of the whole list: members after the first do not carry it.
  const isInet = options.protocol === 'lmtp' && nexthop.startsWith('inet:')
  const list = isInet ? nexthop.slice('inet:'.length) : nexthop
  const elements = list.split(/[\s,]+/).filter((element) => element !== '')
  if (elements.length === 0) return [new DestinationError('the next hop is empty', { nexthop })]
  return elements.map((element) => orError(() => parseElement(element, options)))
}

function orError(parse: () => Destination): ParsedDestination {
  try {
    return parse()
  } catch (error) {
    if (error instanceof DestinationError) return error
    throw error
  }
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
  const { host, service: written } = bracketed ? splitBracketed(element) : splitPlain(element)
  const literal = isIP(host) !== 0
  const service = written === '' ? options.defaultService : written
  const port = servicePort(service, options.knownPorts)
  if (typeof port === 'string') throw new DestinationError(`${port} in "${element}"`, { nexthop: element })
  return {
    kind: 'host',
    nexthop: element,
    host: literal ? host : asciiHost(host, element),
    bracketed,
    service,
    literal,
    mx: !bracketed && options.protocol === 'smtp' && !literal,
    port,
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

function isAscii(text: string): boolean {
  return /^[\x21-\x7e]*$/.test(text)
}
