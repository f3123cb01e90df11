/**
 * The header that a load balancer puts in front of a connection: HAProxy's PROXY protocol, versions 1 and 2.
 *
 *     v1 = "PROXY" SP ( "UNKNOWN" *OCTET / ( "TCP4" / "TCP6" ) SP source SP destination SP port SP port ) CRLF
 *     v2 = 12 octets of signature, version and command, family and transport, u16 length, addresses, TLVs
 */
import { isIPv4, isIPv6 } from 'node:net'

export interface ProxyAddress {
  readonly address: string
  readonly port: number
}

export interface ProxyHeader {
  /** The client and where it connected to; undefined: the proxy speaks for itself (`LOCAL`, `UNKNOWN`). */
  readonly source?: ProxyAddress
  readonly destination?: ProxyAddress
  /** Name the client asked for in TLS (SNI), when the proxy ended its TLS. */
  readonly authority?: string
  readonly alpn?: string
  /** There is TLS between client and proxy. */
  readonly tls?: boolean
  /** Common name of the client's certificate, which the proxy has verified. */
  readonly certificateName?: string
}

export type ProxyParse =
  /** `length` octets belong to the header. */
  | { readonly kind: 'header'; readonly header: ProxyHeader; readonly length: number }
  | { readonly kind: 'more' }
  | { readonly kind: 'malformed'; readonly problem: string }

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const lineStart = Buffer.from('PROXY ', 'latin1')
/** Longest line of version 1, its end included, and longest header of version 2. */
const maxLine = 108
const maxBinary = 1500
const fixedLength = 16

const more: ProxyParse = { kind: 'more' }
const malformed = (problem: string): ProxyParse => ({ kind: 'malformed', problem })

/** Looks at the first octets of a connection. */
export function parseProxyHeader(octets: Buffer): ProxyParse {
  if (startsAlike(octets, lineStart)) return parseLine(octets)
  if (startsAlike(octets, signature)) return parseBinary(octets)
  return malformed('no PROXY header')
}

/** Whether `octets` begins with `start`, as far as it goes. */
function startsAlike(octets: Buffer, start: Buffer): boolean {
  const length = Math.min(octets.length, start.length)
  return octets.subarray(0, length).equals(start.subarray(0, length))
}

function parseLine(octets: Buffer): ProxyParse {
  const end = octets.subarray(0, maxLine).indexOf('\r\n')
  if (end === -1) return octets.length < maxLine ? more : malformed('the line is too long')
  const length = end + 2
  const words = octets.toString('latin1', lineStart.length, end).split(' ')
  const [family, from = '', to = '', fromPort = '', toPort = '', ...rest] = words
  if (family === 'UNKNOWN') return { kind: 'header', header: {}, length }
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  if (isAddress === undefined) return malformed('unknown address family')
  if (!isAddress(from) || !isAddress(to) || rest.length > 0) return malformed('wrong addresses')
  const source = { address: from, port: portOf(fromPort) }
  const destination = { address: to, port: portOf(toPort) }
  if (Number.isNaN(source.port) || Number.isNaN(destination.port)) return malformed('wrong ports')
  return { kind: 'header', header: { source, destination }, length }
}

const portOf = (text: string): number =>
  /^\d{1,5}$/.test(text) && Number(text) <= 65_535 ? Number(text) : Number.NaN

function parseBinary(octets: Buffer): ProxyParse {
  if (octets.length < fixedLength) return more
  const command = octets[12]!
  if (command >> 4 !== 2 || (command & 15) > 1) return malformed('unknown version or command')
  const length = fixedLength + octets.readUInt16BE(14)
  if (length > maxBinary) return malformed('the header is too long')
  if (octets.length < length) return more
  const body = octets.subarray(fixedLength, length)
  // LOCAL: a check of the proxy's own.
  if ((command & 15) === 0) return { kind: 'header', header: {}, length }
  const family = octets[13]! >> 4
  const transport = octets[13]! & 15
  if (transport !== 1 && octets[13] !== 0) return malformed('not a stream')
  const addressOctets = [0, 12, 36, 216][family]
  if (addressOctets === undefined || body.length < addressOctets) return malformed('wrong addresses')
  const header = parseTlvs(body.subarray(addressOctets), addressesOf(family, body))
  return typeof header === 'string' ? malformed(header) : { kind: 'header', header, length }
}

function addressesOf(family: number, body: Buffer): ProxyHeader {
  const size = family === 1 ? 4 : 16
  if (family !== 1 && family !== 2) return {}
  const ports = 2 * size
  return {
    source: { address: addressText(body.subarray(0, size)), port: body.readUInt16BE(ports) },
    destination: { address: addressText(body.subarray(size, ports)), port: body.readUInt16BE(ports + 2) },
  }
}

function addressText(octets: Buffer): string {
  if (octets.length === 4) return octets.join('.')
  const groups = Array.from({ length: 8 }, (_, i) => octets.readUInt16BE(2 * i).toString(16)).join(':')
  return new URL(`http://[${groups}]`).hostname.slice(1, -1)
}

const hostName = /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?$/i

/** Adds what the TLVs say; a text: what is wrong with them. */
function parseTlvs(octets: Buffer, addresses: ProxyHeader): ProxyHeader | string {
  const header: { -readonly [K in keyof ProxyHeader]: ProxyHeader[K] } = { ...addresses }
  for (const [type, value] of eachTlv(octets)) {
    if (value === undefined) return 'a TLV is cut off'
    if (type === 0x01) header.alpn = value.toString('latin1')
    else if (type === 0x02) {
      header.authority = value.toString('latin1')
      if (!hostName.test(header.authority)) return 'the authority is no host name'
    } else if (type === 0x20) {
      if (value.length < 5) return 'the TLS facts are cut off'
      header.tls = (value[0]! & 1) === 1
      const isVerified = (value[0]! & 6) !== 0 && value.readUInt32BE(1) === 0
      for (const [inner, text] of eachTlv(value.subarray(5))) {
        if (text === undefined) return 'a TLV is cut off'
        if (inner === 0x22 && header.tls && isVerified) header.certificateName = text.toString('utf8')
      }
    }
  }
  return header
}

/** Type and value of each; the value undefined: it is not all there. */
function* eachTlv(octets: Buffer): Generator<readonly [type: number, value: Buffer | undefined]> {
  let at = 0
  while (at < octets.length) {
    const end = at + 3 <= octets.length ? at + 3 + octets.readUInt16BE(at + 1) : Number.POSITIVE_INFINITY
    yield [octets[at]!, end <= octets.length ? octets.subarray(at + 3, end) : undefined]
    at = end
  }
}
