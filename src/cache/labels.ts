/**
 * The keys of the connection cache, built here and nowhere else: whoever looks up and whoever saves must agree.
 * A label joins its fields with a space; an empty field is `-`, and one that contains a space or looks like what
 * it is not is written as `=` and base64url.
 */

/** What a connection was made for: the same label means "any connection to this destination will do". */
export interface DestinationKey {
  /** Name of the transport; stands for all its settings. */
  readonly transport: string
  /** Next hop of the request as written, also when the connection goes to a fallback relay. */
  readonly nexthop: string
  /** Only when credentials depend on the sender. */
  readonly sender?: string
  readonly smtputf8?: boolean
  /** Of mail that demands TLS, RFC 8689. */
  readonly requiretls?: boolean
}

/** What makes connections to one server address interchangeable. */
export interface EndpointKey {
  readonly transport: string
  readonly sender?: string
  /** IP address, or the path of a unix socket. */
  readonly address: string
  /** 0 for unix sockets. */
  readonly port: number
  /** Only when credentials or certificate checks depend on them. */
  readonly nexthop?: string
  readonly host?: string
  readonly tlsLevel?: string
  readonly smtputf8?: boolean
  readonly requiretls?: boolean
}

export function destinationLabel(key: DestinationKey): string {
  return `${field(key.transport)} ${field(key.sender)} ${field(key.nexthop)} ${demands(key)}`
}

export function endpointLabel(key: EndpointKey): string {
  return [
    field(key.transport),
    field(key.sender),
    field(key.nexthop),
    field(key.host),
    field(key.address),
    key.port,
    field(key.tlsLevel),
    demands(key),
  ].join(' ')
}

/** What mail demands of a connection, as bits. */
function demands({ smtputf8, requiretls }: { smtputf8?: boolean; requiretls?: boolean }): number {
  return (smtputf8 === true ? 1 : 0) + (requiretls === true ? 2 : 0)
}

function field(value: string | undefined): string {
  if (value === undefined || value === '') return '-'
  if (value === '-' || value.startsWith('=') || value.includes(' ')) {
    return `=${Buffer.from(value).toString('base64url')}`
  }
  return value
}

/**
 * A destination label for people: the next hop, the transport when it is not `smtp`, the sender where it matters, and
 * what the mail demands.
 */
export function readableLabel(label: string): string {
  const [transport = '', sender = '', nexthop = '', demanded = ''] = label.split(' ').map(written)
  const from = sender === '' ? '' : ` from ${sender}`
  const demands = ['', ' (SMTPUTF8)', ' (REQUIRETLS)', ' (SMTPUTF8, REQUIRETLS)'][Number(demanded)] ?? ''
  return `${transport === 'smtp' ? '' : `${transport}:`}${nexthop}${from}${demands}`
}

/** What `field` made a field of. */
function written(field: string): string {
  if (field === '-') return ''
  return field.startsWith('=') ? Buffer.from(field.slice(1), 'base64url').toString() : field
}
