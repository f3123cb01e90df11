/**
 * Settings of the SMTP and LMTP server, table `[smtpd]`: the names of Postfix's `smtpd_*` parameters without
 * the prefix. Parameters that Postfix has without a prefix (`message_size_limit`, `mynetworks`, …) live here
 * under their own names, because only the server reads them.
 */
import { isIP } from 'node:net'
import {
  boolean,
  choice,
  duration,
  integer,
  list,
  type Settings,
  size,
  string,
} from '../../../config/schema.ts'

export const smtpdSettings = {
  banner: string({
    default: '$myhostname ESMTP mailactors',
    doc: 'Text after the 220 of the greeting. $myhostname stands for `hostname` and has to come first (RFC 5321 section 4.2). LMTP says LMTP in place of the word ESMTP.',
    check: (value) =>
      !value.startsWith('$myhostname')
        ? 'must begin with $myhostname'
        : /[^\x20-\x7e]/.test(value) || value.length > 480
          ? 'must be one line of printable ASCII, 480 characters at most'
          : undefined,
  }),
  timeout: duration({
    default: 300_000,
    min: 1_000,
    max: 86_400_000,
    doc: 'Time for the next whole command, or for the next piece of mail content; then 421 and close. Bytes that trickle in without completing a command do not extend it. RFC 5321 section 4.5.3.2.7 asks for 5 minutes at least.',
  }),
  min_data_rate: integer({
    default: 500,
    min: 0,
    max: 1_000_000_000,
    doc: 'Octets per second that mail content has to arrive with: each such portion buys one more second, up to `timeout`. 0: every octet buys a full `timeout`.',
  }),
  soft_error_limit: integer({
    default: 10,
    min: 1,
    max: 1_000_000,
    doc: 'Errors in one session after which each further error reply is delayed by `error_sleep_time`. An accepted mail sets the count back to 0.',
  }),
  hard_error_limit: integer({
    default: 20,
    min: 1,
    max: 1_000_000,
    doc: 'Errors in one session after which the server says 421 and closes.',
  }),
  error_sleep_time: duration({
    default: 1_000,
    min: 0,
    max: 60_000,
    doc: 'Delay before an error reply to a client that is over `soft_error_limit`.',
  }),
  junk_command_limit: integer({
    default: 100,
    min: 1,
    max: 1_000_000,
    doc: 'Commands without effect (NOOP, VRFY, RSET, HELP) that a client may send between two mails; further ones count as errors.',
  }),
  recipient_limit: integer({
    default: 1_000,
    min: 1,
    max: 100_000,
    doc: 'Recipients per mail. Further ones are told 452 4.5.3, to come in another mail.',
  }),
  recipient_overshoot_limit: integer({
    default: 1_000,
    min: 0,
    max: 1_000_000,
    doc: 'Recipients above `recipient_limit` that are not counted as errors.',
  }),
  line_length_limit: size({
    default: 2_048,
    min: 512,
    max: 1_048_576,
    doc: 'Longest command line, its line end not counted. Longer ones are read to their end and refused with 500. Lines of mail content have no limit but that of the mail.',
  }),
  sasl_response_limit: size({
    default: 12_288,
    min: 512,
    max: 1_048_576,
    doc: 'Longest line of an AUTH dialogue (RFC 4954 section 4 asks for 12288).',
  }),
  message_size_limit: size({
    default: 10_240_000,
    min: 0,
    doc: 'Largest mail, its header included; announced with SIZE. A larger one is read to its end and refused with 552. 0: no limit.',
  }),
  hopcount_limit: integer({
    default: 50,
    min: 1,
    max: 10_000,
    doc: 'Received fields a mail may arrive with; one with more goes in circles and is refused with 554 5.4.6.',
  }),
  mynetworks: list({
    default: ['127.0.0.0/8', '::1/128'],
    doc: 'Networks whose clients may send to any destination without AUTH: address or address/prefix length. Unix sockets always may.',
    check: (networks) => {
      const wrong = networks.find((network) => parseNetwork(network) === undefined)
      return wrong === undefined ? undefined : `${wrong}: not a network such as 192.0.2.0/24 or 2001:db8::/32`
    },
  }),
  forbid_bare_newline: choice(['reject', 'normalize', 'note'], {
    default: 'reject',
    doc: 'What happens to mail content with a CR or LF that is not part of CRLF. In no case does it end a line of the protocol or the content. reject: 550 5.5.2. normalize: a lone LF is stored as CRLF, a lone CR as a space. note: like normalize, and a log line.',
  }),
  forbid_bare_newline_exclusions: list({
    default: ['127.0.0.0/8', '::1/128'],
    doc: 'Networks whose mail is normalized where `forbid_bare_newline` says reject: simple tools on this machine send text with Unix line ends. Unix sockets belong to them.',
    check: (networks) => {
      const wrong = networks.find((network) => parseNetwork(network) === undefined)
      return wrong === undefined ? undefined : `${wrong}: not a network such as 192.0.2.0/24 or 2001:db8::/32`
    },
  }),
  forbidden_commands: list({
    default: ['CONNECT', 'GET', 'POST'],
    doc: 'Commands of other protocols; the client that sends one is told 421 and disconnected.',
  }),
  helo_required: boolean({
    default: false,
    doc: 'Whether MAIL is refused with 503 before HELO or EHLO. LMTP always requires LHLO.',
  }),
  sasl_auth_enable: boolean({
    default: true,
    doc: 'Whether AUTH is offered (over TLS, from this machine, or with auth.allow_cleartext).',
  }),
  disable_vrfy_command: boolean({
    default: false,
    doc: 'Whether VRFY is refused with 502 instead of the noncommittal 252.',
  }),
  in_memory_limit: size({
    default: 131_072,
    min: 4_096,
    max: 16_777_216,
    doc: 'Content up to this size is kept in memory and handed over with the mail; larger content goes to a file under DATA_DIR/queue/content while it arrives.',
  }),
} as const

export type SmtpdSettings = Settings<typeof smtpdSettings>

/** Splits `address` or `address/prefix`; undefined when it is neither. */
export function parseNetwork(
  text: string,
): { address: string; prefix: number; family: 'ipv4' | 'ipv6' } | undefined {
  const match = /^\[?([0-9A-Fa-f:.]+)\]?(?:\/([0-9]{1,3}))?$/.exec(text)
  if (match === null) return undefined
  const address = match[1]!
  const version = isIP(address)
  if (version === 0) return undefined
  const bits = version === 4 ? 32 : 128
  const prefix = match[2] === undefined ? bits : Number(match[2])
  return prefix > bits ? undefined : { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' }
}
