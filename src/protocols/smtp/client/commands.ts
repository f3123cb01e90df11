/**
 * MAIL and RCPT with the parameters that the server offered to take: RFC 1870 (SIZE), RFC 6152 (BODY), RFC 3461
 * (RET, ENVID, ORCPT, NOTIFY), RFC 6531 (SMTPUTF8), RFC 4954 (AUTH). The order of parameters is fixed. And XFORWARD,
 * which tells a server behind us whose client the mail came from.
 */
import { isIPv6 } from 'node:net'
import type { DeliveryRecipient, DeliveryRequest } from '../../../queue/contract.ts'
import { encodeXtext } from '../xtext.ts'
import { hasUtf8, quoteAddress, unquoteAddress } from './address.ts'
import type { Features } from './ehlo.ts'

export interface CommandOptions {
  readonly features: Features
  /** `quote_rfc821_envelope`. */
  readonly quote: boolean
  /** What the content is declared to be, RFC 6152. */
  readonly body: DeliveryRequest['body']
  /** The content is converted on its way: its size is not known before. */
  readonly converting: boolean
  /** `send_dummy_mail_auth`. */
  readonly dummyAuth: boolean
  /** `generic_maps`; throws when they cannot be asked. */
  mapAddress(address: string): string
}

export function mailCommand(request: DeliveryRequest, options: CommandOptions): string {
  const { features, body, converting, dummyAuth } = options
  let command = `MAIL FROM:<${path(request.sender, options)}>`
  if (features.size && !converting) command += ` SIZE=${request.size}`
  if (features.eightBitMime && body !== undefined) command += ` BODY=${body}`
  if (features.dsn) {
    if (request.envid !== undefined) command += ` ENVID=${encodeXtext(request.envid)}`
    const ret = returnOf(request, features)
    if (ret !== undefined) command += ` RET=${ret}`
  }
  if (features.smtpUtf8 && request.smtputf8 === true) command += ' SMTPUTF8'
  if (features.requireTls && request.requiretls === true) command += ' REQUIRETLS'
  if (dummyAuth && features.auth !== undefined) command += ' AUTH=<>'
  return clean(command)
}

/** RFC 8689 section 4.3: a server that does not promise TLS gets no content to send back. */
function returnOf(
  { ret, requiretls }: DeliveryRequest,
  { requireTls }: Features,
): 'FULL' | 'HDRS' | undefined {
  return requiretls === true && !requireTls ? 'HDRS' : ret
}

export function rcptCommand(
  recipient: DeliveryRecipient,
  request: DeliveryRequest,
  options: CommandOptions,
): string {
  let command = `RCPT TO:<${path(recipient.address, options)}>`
  if (options.features.dsn) {
    const orcpt = orcptValue(recipient, request.smtputf8 === true && options.features.smtpUtf8)
    if (orcpt !== undefined) command += ` ORCPT=${orcpt}`
    if (recipient.notify !== undefined && recipient.notify.length > 0) {
      command += ` NOTIFY=${recipient.notify.join(',')}`
    }
  }
  return clean(command)
}

/** At most two commands, of what the server takes and is known of the client; none is an empty list. */
export function xforwardCommands(request: DeliveryRequest, features: Features, isLocal: boolean): string[] {
  const { client, queueId } = request
  const submitted = client.protocol === 'local'
  const values: Readonly<Record<string, string | undefined>> = {
    NAME: client.name,
    ADDR: isIPv6(client.address) ? `IPV6:${client.address}` : client.address,
    PORT: submitted || client.port === 0 ? undefined : String(client.port),
    PROTO: submitted ? undefined : client.protocol,
    HELO: client.helo,
    IDENT: client.ident ?? queueId,
    SOURCE: client.source ?? (isLocal ? 'LOCAL' : 'REMOTE'),
  }
  const command = (names: readonly string[]): string[] => {
    const pairs = names.flatMap((name) => {
      const value = values[name]
      const known = value !== undefined && value !== '' && value !== 'unknown'
      return known && features.xforward.includes(name) ? [`${name}=${encodeXtext(value)}`] : []
    })
    return pairs.length === 0 ? [] : [clean(`XFORWARD ${pairs.join(' ')}`)]
  }
  return [...command(['NAME', 'ADDR', 'PORT']), ...command(['PROTO', 'HELO', 'IDENT', 'SOURCE'])]
}

/**
 * ORCPT as it came; without one, from the address before rewriting. A UTF-8 address has the type `utf-8` (RFC
 * 6533 section 3), which only an SMTPUTF8 server takes; otherwise it is left out.
 */
function orcptValue(recipient: DeliveryRecipient, utf8: boolean): string | undefined {
  const { orcpt } = recipient
  if (orcpt !== undefined) {
    if (/^[!-~]+$/.test(orcpt)) return orcpt
    return utf8 && /^utf-8;[^\x00-\x20\x7f]+$/i.test(orcpt) ? orcpt : undefined
  }
  const original = quoteAddress(recipient.origTo ?? recipient.address)
  if (!hasUtf8(original)) return `rfc822;${encodeXtext(original)}`
  return utf8 ? `utf-8;${original.replace(/[\x00-\x20+=\\\x7f]/g, embeddedChar)}` : undefined
}

/** EmbeddedUnicodeChar of RFC 6533 section 3. */
function embeddedChar(char: string): string {
  return `\\x{${char.codePointAt(0)!.toString(16).toUpperCase()}}`
}

function path(address: string, options: CommandOptions): string {
  const mapped = address === '' ? '' : options.mapAddress(address)
  return options.quote ? quoteAddress(mapped) : unquoteAddress(mapped)
}

/** Whatever an address holds, it cannot end the command line: that would be a second command. */
function clean(command: string): string {
  return /[\r\n\0]/.test(command) ? command.replace(/[\r\n\0]/g, '') : command
}
