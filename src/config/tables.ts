/** The tables that belong to the service as a whole. Those of a part stand in that part's `config.ts`. */
import { tlsEngineSettings } from '../protocols/smtp/client/tls/config.ts'
import { boolean, certificates, choice, duration, integer, integerOr, path, size, string } from './schema.ts'

const hostnamePattern = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$/i

/** Keys outside any table. */
export const generalSettings = {
  hostname: string({
    default: '',
    doc: 'The name of this machine in greetings, `Received` fields and new Message-Ids. Empty: what the system says. Mail for it is always local.',
    check: (value) =>
      value === '' || hostnamePattern.test(value) ? undefined : 'is not a host name such as mail.example.org',
  }),
  data_dir: path({
    default: './mailactors-data',
    live: false,
    doc: 'Where the queue, the mail, the indexes and the control socket are. One service per data directory.',
    check: (value) => (value === '' ? 'cannot be empty' : undefined),
  }),
  shutdown_timeout: duration({
    default: 30_000,
    min: 0,
    max: 3_600_000,
    doc: 'How long running deliveries may go on after a stop was asked for. What is not done by then stays in the queue.',
  }),
}

export const listenerServices = ['pop3', 'smtp', 'submission', 'lmtp', 'admin'] as const
export const tlsModes = ['off', 'starttls', 'implicit'] as const

/** Keys of one `[[listener]]`. */
export const listenerSettings = {
  service: choice(listenerServices, {
    default: 'smtp',
    doc: 'What is spoken there. Required. `submission` is `smtp` for mail programs: login needed before mail is taken for other hosts.',
  }),
  address: string({
    default: '',
    doc: 'Where to listen: `host:port`, `[v6]:port`, `:port` (all addresses), `unix:/path`. Required. Port 0 lets the system choose; `status` and the `ready` line name the choice.',
  }),
  tls: choice(tlsModes, {
    default: 'off',
    doc: '`starttls` offers TLS in the protocol, `implicit` begins with it. Unset: `starttls` when `tls.cert` is given, else `off`. Unix sockets and `admin` are always `off` unless said otherwise.',
  }),
  proxy_protocol: boolean({
    default: false,
    doc: 'Whether each connection begins with a PROXY header (version 1 or 2) of a load balancer, see `[proxy_protocol]`.',
  }),
}

/** Table `[tls]`: TLS of all servers, and what is the same for all deliveries. */
export const tlsSettings = {
  mode: choice(['no', 'yes', 'required'], {
    default: 'yes',
    doc: '`no`: no TLS, whatever the listeners say. `required`: nobody may log in without it, not even from this machine.',
  }),
  cert: path({ default: '', doc: 'Certificate of this server with its chain, PEM. Empty: no TLS.' }),
  key: path({ default: '', doc: 'Private key of `cert`, PEM. Empty: it is in the same file.' }),
  sni: certificates({
    default: {},
    doc: 'Certificates for other names that clients ask for (SNI): `"mx.example.net" = { cert = "a.pem", key = "a.key" }`, or the path of one file with both. `*.example.net` stands for all names one level below.',
  }),
  min_version: choice(['TLSv1.2', 'TLSv1.3'], { default: 'TLSv1.2', doc: 'Lowest version of TLS.' }),
  ciphers: string({
    default: '',
    doc: 'Ciphers, as OpenSSL writes them; of TLS 1.3 by their full names. Empty: those of Node.',
  }),
  ...tlsEngineSettings,
}

/** Table `[tls.client_cert]`: certificates of clients. */
export const clientCertSettings = {
  ca: path({
    default: '',
    doc: 'Certificates of those who sign them, PEM. Empty: clients are not asked for one.',
  }),
  require: boolean({
    default: false,
    doc: 'Whether a login needs a good client certificate.',
  }),
  username: boolean({
    default: false,
    doc: 'Whether the common name of the certificate is the user name, whatever the client says.',
  }),
}

const poolTable = (pool: {
  minThreads: number
  maxThreads: number | 'auto'
  minOfThreads: number
  what: string
  /** It has one thread, for good. */
  isFixed?: boolean
}) => ({
  min_threads: integer({
    default: pool.minThreads,
    min: pool.minOfThreads,
    max: pool.isFixed === true ? 1 : 256,
    live: pool.isFixed !== true,
    doc: `Threads that are always there for ${pool.what}.`,
  }),
  max_threads: integerOr(['auto'], {
    default: pool.maxThreads,
    min: 1,
    max: pool.isFixed === true ? 1 : 256,
    live: pool.isFixed !== true,
    doc: `Most threads for ${pool.what}. \`auto\`: as many as there are cores.`,
  }),
  actors_per_thread: integer({
    default: 5_000,
    min: 1,
    max: 1_000_000,
    doc: 'Actors one thread hosts before it counts as full. 1: each gets a thread of its own.',
  }),
  max_use: integer({
    default: 0,
    min: 0,
    doc: 'A thread is replaced after so many actors. 0: never.',
  }),
  max_idle: duration({
    default: 100_000,
    min: 1_000,
    doc: 'A thread beyond `min_threads` ends after this long without actors, or with too little to do.',
  }),
  max_heap: size({
    default: 0,
    min: 0,
    doc: 'A thread is replaced when its JavaScript heap stays above this. 0: never.',
  }),
  daemon_timeout: duration({
    default: 60_000,
    min: 3_000,
    max: 86_400_000,
    doc: 'A thread that is stuck for so long is terminated and replaced; the log names actor and message. A warning comes at a third of it.',
  }),
  service_throttle_time: duration({
    default: 0,
    min: 0,
    max: 86_400_000,
    doc: 'How long no thread is started after one died before its first job. 0: the next one is started at once.',
  }),
})

/** Of the pools that host actors. */
const actorPoolTable = (pool: Parameters<typeof poolTable>[0]) => ({
  ...poolTable(pool),
  spare_threads: integer({
    default: 1,
    min: 0,
    max: 16,
    live: false,
    doc: 'Threads that stand by beside `min_threads`, to take the place of one that died some 50 ms sooner. Each takes 8 to 12 MB.',
  }),
})

/** Tables `[pools.NAME]`. */
export const poolsSettings = {
  connections: actorPoolTable({
    minThreads: 1,
    maxThreads: 'auto',
    minOfThreads: 1,
    what: 'server sessions (POP3, SMTP, LMTP)',
  }),
  deliveries: actorPoolTable({
    minThreads: 1,
    maxThreads: 'auto',
    minOfThreads: 1,
    what: 'outbound deliveries',
  }),
  storage: actorPoolTable({
    minThreads: 1,
    maxThreads: 1,
    minOfThreads: 1,
    what: 'the queue, the connection cache and the mailboxes',
    isFixed: true,
  }),
  jobs: poolTable({
    minThreads: 0,
    maxThreads: 'auto',
    minOfThreads: 0,
    what: 'stateless work (password hashing, conversions)',
  }),
}

/** Table `[log]`. */
export const logSettings = {
  auth_verbose: boolean({
    default: true,
    doc: 'Whether each refused login is logged with its reason (`auth.failed`): unknown user, wrong password, from where it may not come.',
  }),
  auth_verbose_passwords: string({
    default: 'no',
    check: (value) =>
      /^(?:no|(?:plain|sha1)(?::[1-9][0-9]{0,2})?)$/.test(value)
        ? undefined
        : 'must be no, plain, sha1, plain:N or sha1:N',
    doc: 'What those lines show of the password that was tried, for finding out what is wrong: `sha1` its hash, `plain` itself, `sha1:6` the first 6 characters. People mistype passwords that are good elsewhere: turn it off again.',
  }),
  delay_logging_resolution_limit: integer({
    default: 2,
    min: 0,
    max: 6,
    doc: 'Decimals of the delays in the `delivery` event.',
  }),
  destination_concurrency_feedback_debug: boolean({
    default: false,
    doc: "Whether each change of a destination's window is logged (`queue.window`), and not at level debug alone.",
  }),
  level: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
    default: 'info',
    live: false,
    doc: 'The least important lines that are written.',
  }),
  format: choice(['auto', 'json', 'pretty', 'syslog'], {
    default: 'auto',
    live: false,
    doc: '`json`: one object a line. `pretty`: for people. `auto`: `pretty` on a terminal, else `json`. `syslog`: lines as Postfix and Dovecot write them, for log analysers.',
  }),
}

/** Table `[admin]`. */
export const adminSettings = {
  metrics: boolean({
    default: true,
    doc: 'Whether the admin listener answers `GET /metrics` in Prometheus text.',
  }),
}
