/** Settings of the POP3 server. */
import {
  boolean,
  choice,
  duration,
  integer,
  list,
  networks,
  path,
  type Settings,
  size,
  string,
} from '../../config/schema.ts'
import {
  checkTemplate,
  describeVariables,
  loginFormatVariables,
  loginVariables,
  logoutVariables,
  prefixVariables,
} from './template.ts'
import { checkUidlFormat } from './uidl-format.ts'

/** Table `[pop3]`. */
export const pop3Settings = {
  idle_timeout: duration({
    default: 600_000,
    min: 600_000,
    max: 7 * 86_400_000,
    doc: 'Ends a session that neither sends a command nor reads its answer for so long. At least 10 minutes by RFC 1939 section 3. Nothing is deleted then.',
  }),
  commit_interval: duration({
    default: 10_000,
    min: 0,
    doc: 'After so much idle time, sizes that the session found out are stored, so that the next one need not read the mails again. 0: only at the end.',
  }),
  max_line: size({
    default: 2048,
    min: 255,
    max: 65_536,
    doc: 'Longest command line after login, including its line end. RFC 2449 section 4 asks for 255 at least.',
  }),
  max_bad_commands: integer({
    default: 20,
    min: 1,
    max: 10_000,
    doc: 'Wrong commands in a row that are tolerated after login; one more ends the session.',
  }),
  output_high_water: size({
    default: 4096,
    min: 512,
    max: 16 * 1024 * 1024,
    doc: 'With so much unsent output no further command is read, until half of it is sent.',
  }),
  no_flag_updates: boolean({
    default: false,
    doc: 'Do not mark fetched mails as seen, and leave new mails in `new/`.',
  }),
  enable_last: boolean({
    default: false,
    doc: 'Offer LAST of RFC 1460. RSET then also removes the seen mark of all mails.',
  }),
  fast_size_lookups: boolean({
    default: false,
    doc: 'Accept the size on disk where the size with CRLF line ends is unknown, rather than reading the mail.',
  }),
  client_workarounds: list({
    default: [],
    doc: 'Help for faulty clients: `outlook-no-nuls` sends NUL octets as 0x80, `oe-ns-eoh` adds a missing end of headers.',
    check: (values) => {
      const unknown = values.find((value) => value !== 'outlook-no-nuls' && value !== 'oe-ns-eoh')
      return unknown === undefined ? undefined : `unknown workaround '${unknown}'`
    },
  }),
  uidl_format: string({
    default: '%08Xu%08Xv',
    doc: 'How UIDLs are made: `%u` uid, `%v` uid validity, `%f` base file name, `%g` GUID; `X` and `x` for hexadecimal, digits for zero-padded width. Another format makes clients download everything again.',
    check: checkUidlFormat,
  }),
  uidl_duplicates: choice(['allow', 'rename'], {
    default: 'allow',
    doc: 'Whether equal UIDLs in one mailbox are shown as they are or get `-2`, `-3` … appended.',
  }),
  reuse_xuidl: boolean({
    default: false,
    doc: 'The UIDL of a mail is its X-UIDL header field, if it has one that can be a UIDL: for mailboxes that came from another server.',
  }),
  save_uidl: boolean({
    default: false,
    doc: 'UIDLs that a client was told are kept in `dovecot-uidlist` and stay what they are, whatever `uidl_format` becomes.',
  }),
  deleted_flag: string({
    default: '',
    doc: 'Mails with this keyword, `$POP3Deleted` for example, are not shown. Empty: all are shown.',
    check: (value) =>
      /^([\x21-\x7e]{1,60})?$/.test(value) && !/[\\(){%*"\]]/.test(value)
        ? undefined
        : 'is no keyword: up to 60 printable ASCII characters, none of them a space or one of \\(){%*"]',
  }),
  delete_type: choice(['default', 'expunge', 'flag'], {
    default: 'default',
    doc: 'What becomes of deleted messages at QUIT: `expunge` removes them, `flag` gives them the keyword `deleted_flag` and keeps them for other programs, `default` does that if there is a `deleted_flag`.',
  }),
  silent_autologout: boolean({
    default: false,
    doc: 'Close an idle session without a word, as RFC 1939 section 3 says, instead of with an -ERR line.',
  }),
  exact_octets: boolean({
    default: false,
    doc: 'Count the line end that is added to a mail without one in the size that RETR announces.',
  }),
  lock_session: boolean({
    default: false,
    doc: 'One POP3 session of a mailbox at a time, as RFC 1939 section 4 wants it: the next login waits, then gets `[IN-USE]`. Other programs see the lock file `dovecot-pop3-session.lock` in the Maildir.',
  }),
  lock_wait: duration({
    default: 10_000,
    min: 0,
    max: 120_000,
    doc: 'How long a login waits for the session that has the lock.',
  }),
  lock_stale: duration({
    default: 300_000,
    min: 120_000,
    doc: 'A lock file of another host that did not change for so long was left behind. Ours is touched every minute.',
  }),
  close_on_busy: boolean({
    default: false,
    doc: 'Whether `[IN-USE]` also ends the connection, instead of letting the client try again.',
  }),
  max_sessions: integer({
    default: 20_000,
    min: 1,
    max: 1_000_000,
    doc: 'Sessions that are logged in at the same time; a login beyond it is told to come back later.',
  }),
  logout_format: string({
    default:
      'top=%{top_count}/%{top_bytes}, retr=%{retr_count}/%{retr_bytes}, del=%{deleted_count}/%{deleted_bytes}, size=%{message_bytes}',
    check: checkTemplate(logoutVariables),
    doc: `What the line at the end of a session tells (\`summary\` of \`pop3.logout\`). Variables, with the letters of Dovecot 2.3: ${describeVariables(logoutVariables)}.`,
  }),
  rawlog_dir: path({
    default: '',
    doc: 'An existing folder that gets two files for each session, `.in` and `.out`: all that is said after login, with times. Empty: none. For hunting a fault, not for every day.',
  }),
}

/** Of table `[log]`: how lines about sessions are written where `log.format` is `syslog`. */
export const sessionLogSettings = {
  login_format: string({
    default: '%{message}: %{elements}',
    check: checkTemplate(loginFormatVariables),
    doc: 'With `syslog`: the line about a login or an attempt, made of `message` (`%$`) and `elements` (`%s`).',
  }),
  login_elements: list({
    default: [
      'user=<%{user}>',
      'method=%{mechanism}',
      'rip=%{remote_ip}',
      'lip=%{local_ip}',
      'mpid=%{mail_pid}',
      '%{secured}',
      'session=<%{session}>',
    ],
    check: (elements) => elements.map(checkTemplate(loginVariables)).find((problem) => problem !== undefined),
    doc: `The elements of that line; one whose variables are all empty is left out. Variables, with the letters of Dovecot 2.3: ${describeVariables(loginVariables)}.`,
  }),
  mail_prefix: string({
    default: '%{service}(%{user})<%{mail_pid}><%{session}>: ',
    check: checkTemplate(prefixVariables),
    doc: `With \`syslog\`: what the line at the end of a session begins with. Variables: ${describeVariables(prefixVariables)}.`,
  }),
}

/** Table `[pop3.capa]`: what CAPA offers beyond the usual. */
export const capaSettings = {
  login_delay: duration({
    default: 0,
    min: 0,
    max: 86_400_000,
    doc: 'LOGIN-DELAY: least time between two logins of a user; one that comes earlier is refused with `[LOGIN-DELAY]`. 0: none.',
  }),
  expire: string({
    default: '',
    check: (value) =>
      /^(\d{1,6}|NEVER)?$/.test(value) ? undefined : 'is neither a number of days nor NEVER',
    doc: 'EXPIRE: after how many days mail is removed here, or `NEVER`. Only tells clients; it has to be true. Empty: not said.',
  }),
  implementation: string({
    default: '',
    check: (value) =>
      /^[\x21-\x7e]{0,200}$/.test(value) ? undefined : 'must be printable ASCII without blanks',
    doc: 'IMPLEMENTATION: name of the software, told after login. Empty: not said.',
  }),
  utf8: boolean({
    default: false,
    doc: 'Offer UTF8 of RFC 6856. Mail with 8-bit header fields is then refused with `[UTF8]` to clients that have not asked for it.',
  }),
  utf8_after_login: boolean({
    default: false,
    doc: 'Take UTF8 after the login too, where RFC 6856 does not allow it, for clients that say it then. Needs `utf8`.',
  }),
  lang: boolean({ default: false, doc: 'Offer LANG of RFC 6856; there is English.' }),
}

/** Table `[login]`: POP3 clients before they have logged in. */
export const loginSettings = {
  greeting: string({
    default: 'mailactors ready.',
    doc: 'Text of the first line a client sees.',
    check: (value) =>
      /^[\x20-\x7e]{1,400}$/.test(value) && !value.startsWith('[')
        ? undefined
        : 'must be 1 to 400 printable ASCII characters and not begin with [',
  }),
  timeout: duration({
    default: 180_000,
    min: 1_000,
    doc: 'All the time a client has to log in, from the connection on.',
  }),
  max_line: size({
    default: 1026,
    min: 255,
    max: 65_536,
    doc: 'Longest command line before login, without its verb and the space behind it, including its line end.',
  }),
  max_sasl_line: size({
    default: 8192,
    min: 1024,
    max: 1024 * 1024,
    doc: 'Longest initial response or answer to a challenge, in base64.',
  }),
  max_bad_commands: integer({
    default: 3,
    min: 1,
    max: 1000,
    doc: 'Unknown commands in a row before login that end the connection.',
  }),
  max_pending: integer({
    default: 1000,
    min: 1,
    max: 1_000_000,
    doc: 'Connections that have not logged in yet; for one more the oldest of them has to go.',
  }),
  trusted_networks: networks({
    default: [],
    doc: 'Addresses and networks of proxies and web mail: they may say with XCLIENT for whom they come, count as secured unless `tls.mode` is `required`, and never wait because of failed logins.',
  }),
}

export type LoginSettings = Settings<typeof loginSettings>
export type CapaSettings = Settings<typeof capaSettings>
export type Pop3Settings = Settings<typeof pop3Settings> & { readonly capa: CapaSettings }
