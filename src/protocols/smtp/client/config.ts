/**
 * Settings of the delivery client: `smtpSettings` is the table `[smtp]`, `lmtpSettings` the table `[lmtp]`. A key
 * of `[lmtp]` that the user does not set has the effective value of the same key of `[smtp]`, except those in
 * `lmtpOwnKeys`, which have a default of their own. `inheritLmtp` does that, once, when the configuration is loaded.
 */
import {
  boolean,
  choice,
  duration,
  type Entry,
  integer,
  list,
  maps,
  type Settings,
  string,
} from '../../../config/schema.ts'
import { listProblem } from '../../../tables/config.ts'
import { saslSettings } from './sasl/config.ts'
import { tlsClientSettings } from './tls/config.ts'

const second = 1_000

/** A limit on one wait for the server; zero would mean "at once", which no server can meet. */
const wait = (defaultMs: number, doc: string): Entry<number> =>
  duration({ default: defaultMs, min: 1, max: 86_400_000, doc })

export const smtpSettings = {
  relayhost: string({
    default: '',
    doc: 'Next hop of all mail that [transport] does not route: `domain`, `domain:port`, `[host]` or `[host]:port`; brackets skip the MX lookup. Empty: the domain of the recipient.',
  }),
  fallback_relay: list({
    default: [],
    doc: 'Next hops tried last, when a destination cannot be looked up or its servers cannot be used for now.',
  }),
  tcp_port: string({
    default: 'smtp',
    doc: 'Port of destinations that name none: a number or a service name.',
  }),

  helo_name: string({ default: '', doc: 'Name in EHLO and HELO. Empty: `hostname`.' }),
  always_send_ehlo: boolean({
    default: true,
    doc: 'Greet with EHLO even when the server does not announce ESMTP.',
  }),
  never_send_ehlo: boolean({ default: false, doc: 'Always greet with HELO.' }),
  discard_ehlo_keywords: list({
    default: [],
    doc: 'Extensions to ignore even when the server offers them, such as `pipelining` or `dsn`.',
  }),
  discard_ehlo_keyword_address_maps: maps({
    default: [],
    doc: 'Extensions to ignore by the address of the server, instead of those of `discard_ehlo_keywords`.',
  }),
  skip_5xx_greeting: boolean({
    default: true,
    doc: 'A server that greets with 5xx is passed over like one that greets with 4xx. If false, the mail is returned.',
  }),
  reply_filter: maps({
    default: [],
    doc: 'Lines that are read in the place of those a server sends: looked up without CRLF before they are understood.',
  }),
  skip_quit_response: boolean({ default: true, doc: 'Close after QUIT without waiting for its reply.' }),
  quote_rfc821_envelope: boolean({
    default: true,
    doc: 'Quote local parts that need it in MAIL FROM and RCPT TO, as RFC 5321 section 4.1.2 demands.',
  }),
  line_length_limit: integer({
    default: 998,
    min: 0,
    max: 1_000_000,
    doc: 'Octets in a line of mail, without CRLF; longer lines are folded (CRLF and a space). 0: never fold.',
  }),
  generic_maps: maps({
    default: [],
    doc: 'Other addresses for the envelope and the header of mail that goes out: `user@domain`, `user` (local domains), `@domain`.',
  }),
  header_checks: maps({
    default: [],
    doc: 'What to do with fields of the header on their way out: DUNNO, IGNORE, STRIP, REPLACE text, PREPEND text, INFO, WARN.',
  }),
  mime_header_checks: maps({
    default: [],
    doc: 'The same for fields about MIME, in the header and in front of parts.',
  }),
  nested_header_checks: maps({
    default: [],
    doc: 'The same for headers of attached mail.',
  }),
  body_checks: maps({ default: [], doc: 'The same for lines of the body.' }),
  send_xforward_command: boolean({
    default: false,
    doc: 'Tell servers that offer XFORWARD whom the mail came from.',
  }),
  send_dummy_mail_auth: boolean({
    default: false,
    doc: 'Add `AUTH=<>` to MAIL FROM where the server offers AUTH.',
  }),
  delivery_status_filter: maps({
    default: [],
    doc: 'Other codes and words for results, as `dsn.default_delivery_status_filter`, which is used when this is empty.',
  }),
  assume_final: boolean({
    default: false,
    doc: 'LMTP servers have the mailboxes: a notice of success says "delivered", not "relayed".',
  }),
  address_verify_target: choice(['rcpt', 'data'], {
    default: 'rcpt',
    doc: 'How far a delivery goes that only asks whether an address can be delivered to.',
  }),
  pix_workaround_maps: maps({
    default: [],
    doc: 'Workarounds by the address of the server, instead of `pix_workarounds`.',
  }),
  pix_workarounds: list({
    default: ['disable_esmtp', 'delay_dotcrlf'],
    doc: 'What to do when the greeting looks masked by an old firewall: `disable_esmtp` greets with HELO, `delay_dotcrlf` pauses before the final dot.',
  }),
  pix_workaround_threshold_time: duration({
    default: 500 * second,
    min: 0,
    doc: 'Age of a mail from which on `delay_dotcrlf` applies.',
  }),
  pix_workaround_delay_time: duration({
    default: 10 * second,
    min: 1,
    doc: 'The pause of `delay_dotcrlf`.',
  }),

  host_lookup: list({
    default: ['dns'],
    doc: 'Where addresses of hosts come from: `dns`, `native` (hosts file and what else the system uses). DNS is asked first.',
    check: (value) => {
      const wrong = value.find((word) => word !== 'dns' && word !== 'native')
      return wrong === undefined ? undefined : `\`${wrong}\` is neither \`dns\` nor \`native\``
    },
  }),
  dns_support_level: choice(['', 'disabled', 'enabled', 'dnssec'], {
    default: '',
    doc: '`disabled`: no MX lookups, hosts are looked up by the system. `dnssec`: the name server is asked for proof (DANE needs it); it should be a validating one on this machine. Empty: by `dns.disable_dns_lookups`.',
  }),
  dns_resolver_options: list({
    default: [],
    doc: '`res_defnames`: a name without dots is looked up in the first search domain of the system too. `res_dnsrch`: names are looked up in all of its search domains.',
    check: (value) => {
      const wrong = value.find((word) => word !== 'res_defnames' && word !== 'res_dnsrch')
      return wrong === undefined ? undefined : `\`${wrong}\` is neither \`res_defnames\` nor \`res_dnsrch\``
    },
  }),
  dns_reply_filter: maps({
    default: [],
    doc: 'Tables asked for each DNS record, as `name. ttl IN type data`; records with the result `IGNORE` are left out. When nothing is left, the mail waits (4.7.0).',
  }),
  cname_overrides_servername: boolean({
    default: false,
    doc: 'A server goes by the name its alias leads to, in logs, credentials and certificates; otherwise by the name in the MX record.',
  }),
  best_mx_transport: string({
    default: '',
    doc: 'What to do with mail for a domain whose best mail exchanger we are ourselves although it is not ours: the transport that takes it, `local`, `lmtp:unix:/run/lmtp.sock` and the like. Empty: it is returned (5.4.6).',
    check: (value) =>
      value === '' || /^[a-z][a-z0-9_-]*(?::.*)?$/.test(value)
        ? undefined
        : 'is not transport:nexthop, such as lmtp:unix:/run/lmtp.sock',
  }),
  use_srv_lookup: list({
    default: [],
    doc: 'Services whose servers are found by SRV records (RFC 2782), such as `submission` in `example.com:submission`.',
  }),
  ignore_srv_lookup_error: boolean({
    default: false,
    doc: 'When the SRV lookup fails, go on as without `use_srv_lookup`.',
  }),
  allow_srv_lookup_fallback: boolean({
    default: false,
    doc: 'When there are no SRV records, or their lookup fails, go on as without `use_srv_lookup`.',
  }),
  ignore_mx_lookup_error: boolean({
    default: false,
    doc: 'When the MX lookup fails, go on with the address of the domain itself.',
  }),
  defer_if_no_mx_address_found: boolean({
    default: false,
    doc: 'Keep mail queued when none of the mail exchangers has an address; otherwise it is returned.',
  }),
  address_preference: choice(['any', 'ipv4', 'ipv6'], {
    default: 'any',
    doc: 'Address family tried first among servers of equal preference.',
  }),
  balance_inet_protocols: boolean({
    default: true,
    doc: 'Leave room for both address families within `mx_address_limit`.',
  }),
  randomize_addresses: boolean({
    default: true,
    doc: 'Try servers of equal preference in random order, RFC 5321 section 5.1.',
  }),
  mx_address_limit: integer({
    default: 5,
    min: 0,
    max: 1_000,
    doc: 'Addresses tried for one destination and attempt. 0: no limit.',
  }),
  mx_session_limit: integer({
    default: 2,
    min: 0,
    max: 1_000,
    doc: 'Sessions that got past EHLO for one destination and attempt. 0: no limit.',
  }),
  bind_address: string({ default: '', doc: 'IPv4 address to connect from. Empty: the system chooses.' }),
  bind_address6: string({ default: '', doc: 'IPv6 address to connect from. Empty: the system chooses.' }),
  bind_address_enforce: boolean({
    default: false,
    doc: 'Do not connect when the bind address cannot be used; otherwise the system chooses one.',
  }),

  connect_timeout: duration({
    default: 30 * second,
    min: 0,
    max: 86_400_000,
    doc: 'Limit for the TCP connection. 0: the limit of the operating system.',
  }),
  helo_timeout: wait(300 * second, 'Limit for the greeting and for the reply to EHLO or HELO.'),
  mail_timeout: wait(300 * second, 'Limit for the reply to MAIL FROM.'),
  rcpt_timeout: wait(300 * second, 'Limit for the reply to RCPT TO.'),
  data_init_timeout: wait(120 * second, 'Limit for the reply to DATA.'),
  data_xfer_timeout: wait(180 * second, 'Limit for each write of content.'),
  data_done_timeout: wait(
    600 * second,
    'Limit for the reply to the final dot. Giving up earlier means duplicates.',
  ),
  rset_timeout: wait(20 * second, 'Limit for the reply to RSET, also as the probe of a reused connection.'),
  quit_timeout: wait(300 * second, 'Limit for the reply to QUIT.'),
  xforward_timeout: wait(300 * second, 'Limit for the reply to XFORWARD.'),
  per_request_deadline: boolean({
    default: false,
    doc: 'The limits are budgets for a whole command and its whole reply, instead of limits for the next octet.',
  }),
  min_data_rate: integer({
    default: 500,
    min: 1,
    max: 1_000_000_000,
    doc: 'Octets of content each second that a server must take when `per_request_deadline` is set.',
  }),
  starttls_timeout: wait(300 * second, 'Limit for STARTTLS and for the TLS handshake.'),

  ...saslSettings,

  connection_cache_destinations: list({
    default: [],
    doc: 'Destinations whose connections are always kept for the next delivery: domains without brackets and port, socket paths of LMTP, or lookup tables that have them (`texthash:/path`); `!` in front excepts.',
    check: listProblem,
  }),
  connection_cache_on_demand: boolean({
    default: true,
    doc: 'Keep connections while a destination has much mail waiting.',
  }),
  connection_cache_time_limit: duration({
    default: 2 * second,
    min: 0,
    doc: 'How long a connection may be idle in the cache. `cache.ttl_limit` caps it.',
  }),
  connection_reuse_time_limit: duration({
    default: 300 * second,
    min: 0,
    doc: 'Age from which on a connection is closed after its delivery.',
  }),
  tls_connection_reuse: boolean({
    default: false,
    doc: 'Keep connections with TLS as well. A server that limits the mails of a connection may not like it.',
  }),
  connection_reuse_count_limit: integer({
    default: 0,
    min: 0,
    doc: 'How often a connection is used again before it is closed. 0: no limit.',
  }),

  ...tlsClientSettings,
}

/** LMTP says LHLO where SMTP says EHLO; these keys are named after it. */
const lhloNames = {
  helo_name: 'lhlo_name',
  helo_timeout: 'lhlo_timeout',
  discard_ehlo_keywords: 'discard_lhlo_keywords',
  discard_ehlo_keyword_address_maps: 'discard_lhlo_keyword_address_maps',
} as const

const lhloKeys: ReadonlySet<string> = new Set(Object.values(lhloNames))

/** Not of LMTP: it has no relay host of its own, no HELO, no MX lookup. */
const smtpOnly = [
  'relayhost',
  'best_mx_transport',
  'always_send_ehlo',
  'never_send_ehlo',
  'ignore_mx_lookup_error',
  'tls_dane_insecure_mx_policy',
  'mta_sts',
  'mta_sts_address',
  'tlsrpt_enable',
  'tlsrpt_skip_reused_handshakes',
  'tlsrpt_contact_info',
  'tlsrpt_dkim_key_file',
  'tlsrpt_dkim_selector',
  'tlsrpt_https_private',
] as const

type LhloKeys = typeof lhloNames
type SmtpOnlyKey = (typeof smtpOnly)[number]
type LmtpTable = Omit<typeof smtpSettings, keyof LhloKeys | SmtpOnlyKey> & {
  [K in keyof LhloKeys as LhloKeys[K]]: (typeof smtpSettings)[K]
}

/** Keys of `[lmtp]` that do not follow `[smtp]`, with their defaults. */
const lmtpOwn = {
  fallback_relay: [] as readonly string[],
  tcp_port: '24',
  connect_timeout: 0,
  skip_quit_response: false,
  tls_security_level: 'none',
  requiretls_policy: ['opportunistic'] as readonly string[],
  tls_secure_cert_match: ['nexthop'] as readonly string[],
} as const

export const lmtpSettings: LmtpTable = Object.fromEntries(
  Object.entries(smtpSettings)
    .filter(([key]) => !(smtpOnly as readonly string[]).includes(key))
    .map(([key, entry]) => {
      const own = key in lmtpOwn ? { default: lmtpOwn[key as keyof typeof lmtpOwn] } : {}
      const inherited = key in lmtpOwn ? '' : ` Unset: as \`smtp.${key}\`.`
      return [lhloNames[key as keyof LhloKeys] ?? key, { ...entry, ...own, doc: `${entry.doc}${inherited}` }]
    }),
) as unknown as LmtpTable

/** Keys of `[lmtp]` whose default does not come from `[smtp]`. */
export const lmtpOwnKeys: ReadonlySet<string> = new Set(Object.keys(lmtpOwn))

export type SmtpSettings = Settings<typeof smtpSettings>
export type LmtpSettings = Settings<typeof lmtpSettings>

/** The effective `[lmtp]`: what the user wrote there (normalised), its own defaults, else the effective `[smtp]`. */
export function inheritLmtp(smtp: SmtpSettings, written: Readonly<Record<string, unknown>>): LmtpSettings {
  const from = new Map(Object.entries(lhloNames).map(([key, lmtpKey]) => [lmtpKey as string, key]))
  return Object.fromEntries(
    Object.entries(lmtpSettings).map(([key, entry]) => {
      if (key in written) return [key, written[key]]
      if (lmtpOwnKeys.has(key)) return [key, entry.default]
      return [key, smtp[(from.get(key) ?? key) as keyof SmtpSettings]]
    }),
  ) as LmtpSettings
}

/** Settings of one transport, under the names of `[smtp]` whichever the protocol. */
export type ClientSettings = SmtpSettings

/** What `[transports.NAME]` says that matters here. */
export interface OwnTransport {
  readonly protocol: string
  readonly smtp?: Partial<SmtpSettings>
  readonly lmtp?: Partial<LmtpSettings>
}

/** What a transport speaks: what its own table says, else LMTP by that name, else SMTP. */
export const clientProtocol = (transport: string, own?: OwnTransport): 'smtp' | 'lmtp' =>
  (own?.protocol ?? transport) === 'lmtp' ? 'lmtp' : 'smtp'

/** The settings of a transport: `[smtp]` or `[lmtp]`, with what its own table has instead. */
export function clientSettings(
  smtp: SmtpSettings,
  lmtp: LmtpSettings,
  transport: string,
  own?: OwnTransport,
): ClientSettings {
  if (clientProtocol(transport, own) === 'smtp')
    return own?.smtp === undefined ? smtp : { ...smtp, ...own.smtp }
  const set = { ...lmtp, ...own?.lmtp }
  const renamed = Object.entries(lhloNames).map(([key, name]) => [key, set[name]])
  const rest = Object.entries(set).filter(([key]) => !lhloKeys.has(key))
  return { ...smtp, ...Object.fromEntries([...rest, ...renamed]) }
}
