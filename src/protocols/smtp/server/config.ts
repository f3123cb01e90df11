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

/** Networks, or `$mynetworks` for those of that setting. */
const checkNetworks = (networks: readonly string[]): string | undefined => {
  const wrong = networks.find((network) => network !== '$mynetworks' && parseNetwork(network) === undefined)
  return wrong === undefined ? undefined : `${wrong}: not a network such as 192.0.2.0/24 or 2001:db8::/32`
}

const rewriteWords = ['permit_inet_interfaces', 'permit_mynetworks', 'permit_sasl_authenticated']

/** A limit of what one client may do in `anvil.rate_time_unit`. */
const rateLimit = (what: string, then: string) =>
  integer({
    default: 0,
    min: 0,
    max: 1_000_000_000,
    doc: `${what} a client may make in \`anvil.rate_time_unit\`, over all its connections to this service; then ${then}. 0: no limit.`,
  })

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
    doc: 'Errors in one session after which each further reply is delayed by `error_sleep_time`. An accepted mail sets the count back to 0.',
  }),
  stress_timeout: duration({
    default: 10_000,
    min: 1_000,
    max: 86_400_000,
    doc: 'In place of `timeout` for connections that came while the service was under stress, see `limits.stress_threshold`.',
  }),
  stress_hard_error_limit: integer({
    default: 1,
    min: 1,
    max: 1_000_000,
    doc: 'In place of `hard_error_limit` for connections that came while the service was under stress.',
  }),
  stress_junk_command_limit: integer({
    default: 1,
    min: 1,
    max: 1_000_000,
    doc: 'In place of `junk_command_limit` for connections that came while the service was under stress.',
  }),
  per_request_deadline: boolean({
    default: true,
    doc: 'Whether `timeout` is for a whole command. Without it every octet buys a full `timeout`.',
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
    doc: 'Delay before each reply to a client that is over `soft_error_limit`.',
  }),
  junk_command_limit: integer({
    default: 100,
    min: 1,
    max: 1_000_000,
    doc: 'Commands without effect (HELO, EHLO, NOOP, VRFY, RSET, ETRN) that a client may send between two mails; further ones count as errors.',
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
  strict_rfc821_envelopes: boolean({
    default: false,
    doc: 'Whether paths need their angle brackets and the form of RFC 5321. Without it what people and programs write is taken too: comments, spaces around an address, a second pair of brackets.',
  }),
  strict_smtputf8: boolean({
    default: false,
    doc: 'Whether an address beyond ASCII is refused with 553 when the client did not say SMTPUTF8.',
  }),
  discard_ehlo_keywords: list({
    default: [],
    doc: 'Extensions not offered after EHLO and LHLO, for clients that cannot live with them: `CHUNKING`, `DSN`, `PIPELINING`, `STARTTLS`, ….',
    check: (words) => {
      const wrong = words.find((word) => !/^[A-Za-z0-9-]+$/.test(word))
      return wrong === undefined ? undefined : `${wrong}: not a keyword such as CHUNKING`
    },
  }),
  noop_commands: list({
    default: [],
    doc: 'Further commands that do nothing: answered with 250, and counted in `junk_command_limit`.',
  }),
  forbid_unauth_pipelining: boolean({
    default: false,
    doc: 'Whether a client is told 554 and disconnected when it sends more before it has the reply to HELO, EHLO, DATA, NOOP or VRFY, or to any command after HELO (RFC 2920).',
  }),
  peername_lookup: boolean({
    default: true,
    doc: 'Whether the name of a client is looked up, for `Received` and the log: that of its address, if the name has the address too. Not for this machine.',
  }),
  authorized_xclient_hosts: list({
    default: [],
    doc: "Networks whose clients may use XCLIENT: to speak for another client, with its address, name and login. Limits and rules are then the other client's.",
    check: checkNetworks,
  }),
  authorized_xforward_hosts: list({
    default: [],
    doc: 'Networks whose clients may use XFORWARD: to say where they have a mail from, for the log and for XFORWARD to the next server.',
    check: checkNetworks,
  }),
  client_connection_count_limit: integer({
    default: 50,
    min: 0,
    max: 1_000_000,
    doc: 'Connections a client may have open to this service at the same time; further ones are told 421. 0: no limit.',
  }),
  client_connection_rate_limit: rateLimit('Connections', 'it is told 421'),
  client_message_rate_limit: rateLimit('MAIL commands', 'MAIL is answered with 450'),
  client_recipient_rate_limit: rateLimit('RCPT commands', 'RCPT is answered with 450'),
  client_auth_rate_limit: rateLimit('AUTH commands', 'AUTH is answered with 450'),
  client_new_tls_session_rate_limit: rateLimit('TLS handshakes', 'STARTTLS is answered with 454'),
  client_event_limit_exceptions: list({
    default: ['$mynetworks'],
    doc: 'Networks whose clients no `client_…_limit` counts for. `$mynetworks` stands for those of that setting.',
    check: checkNetworks,
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
    check: (networks) =>
      networks.includes('$mynetworks') ? 'cannot refer to itself' : checkNetworks(networks),
  }),
  forbid_bare_newline: choice(['reject', 'normalize', 'note'], {
    default: 'reject',
    doc: 'What happens to an LF without a CR before it. In no case does it end mail content. reject: 550 5.5.2, and a command with it ends the session. normalize: it ends a command, and is stored as CRLF. note: like normalize, and a log line. A CR alone becomes a space.',
  }),
  forbid_bare_newline_exclusions: list({
    default: ['$mynetworks'],
    doc: 'Networks whose lines are normalized where `forbid_bare_newline` says reject: simple tools send text with Unix line ends. `$mynetworks` stands for those of that setting. Unix sockets belong to them.',
    check: checkNetworks,
  }),
  forbidden_commands: list({
    default: ['CONNECT', 'GET', 'POST'],
    doc: 'Commands of other protocols; the client that sends one is told 221 and disconnected, as is one whose command begins with no letter or is a header field.',
  }),
  helo_required: boolean({
    default: false,
    doc: 'Whether MAIL is refused with 503 before HELO or EHLO. LMTP always requires LHLO.',
  }),
  tls_security_level: choice(['none', 'may', 'encrypt'], {
    default: 'may',
    doc: 'none: STARTTLS is not offered. may: it is where there is a certificate. encrypt: before TLS most commands are answered with 530; not for port 25 of a public server (RFC 2487).',
  }),
  tls_received_header: boolean({
    default: false,
    doc: 'Whether the `Received` field names protocol and cipher of TLS.',
  }),
  sasl_authenticated_header: boolean({
    default: false,
    doc: 'Whether the `Received` field names the user who logged in.',
  }),
  local_header_rewrite_clients: list({
    default: ['permit_inet_interfaces'],
    doc: 'Clients whose mail gets `From`, `Date` and `Message-Id` when it came without: `permit_inet_interfaces` (this machine), `permit_mynetworks`, `permit_sasl_authenticated`, networks. The service `submission` does it for all.',
    check: (words) => checkNetworks(words.filter((word) => !rewriteWords.includes(word))),
  }),
  always_add_missing_headers: boolean({
    default: false,
    doc: 'Whether mail of all clients gets these fields.',
  }),
  message_drop_headers: list({
    default: ['bcc', 'content-length', 'resent-bcc', 'return-path'],
    doc: 'Fields taken out of the header of every mail.',
    check: (names) => {
      const wrong = names.find((name) => !/^[!-9;-~]+$/.test(name))
      return wrong === undefined ? undefined : `${wrong}: not the name of a field`
    },
  }),
  sasl_auth_enable: boolean({
    default: true,
    doc: 'Whether AUTH is offered (over TLS, from this machine, or with auth.allow_cleartext).',
  }),
  disable_vrfy_command: boolean({
    default: false,
    doc: 'Whether VRFY is refused with 502. Else it is answered as RCPT would be: it says no more than that.',
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

/** What the LMTP server has in table `[lmtp]`, beside the settings of the client. */
export const lmtpServerSettings = {
  user_concurrency_limit: integer({
    default: 10,
    min: 0,
    doc: 'Deliveries for one user that the LMTP server has under way at the same time, from RCPT to the end of the mail; with more, RCPT gets 451 4.3.0. 0: no limit.',
  }),
  hdr_delivery_address: choice(['final', 'original', 'none'], {
    default: 'final',
    doc: 'What Delivered-To says in mail that the LMTP server takes for one recipient: the address of RCPT, that of its ORCPT, or there is none. Mail for several recipients has none, as one does not concern the others.',
  }),
  add_received_header: boolean({
    default: true,
    doc: 'The LMTP server puts a Received field in front, as others do.',
  }),
  rcpt_check_quota: boolean({
    default: false,
    doc: 'The LMTP server looks at RCPT whether there is room in the mailbox, and refuses who has none, instead of after the content.',
  }),
}
