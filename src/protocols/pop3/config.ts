/** Settings of the POP3 server. */
import { boolean, choice, duration, integer, list, type Settings, size, string } from '../../config/schema.ts'
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
  silent_autologout: boolean({
    default: false,
    doc: 'Close an idle session without a word, as RFC 1939 section 3 says, instead of with an -ERR line.',
  }),
  exact_octets: boolean({
    default: false,
    doc: 'Count the line end that is added to a mail without one in the size that RETR announces.',
  }),
  login_greeting: string({
    default: 'mailactors ready.',
    doc: 'Text of the first line a client sees.',
    check: (value) =>
      /^[\x20-\x7e]{1,400}$/.test(value) && !value.startsWith('[')
        ? undefined
        : 'must be 1 to 400 printable ASCII characters and not begin with [',
  }),
  login_timeout: duration({
    default: 180_000,
    min: 1_000,
    doc: 'All the time a client has to log in, from the connection on.',
  }),
  login_max_line: size({
    default: 1026,
    min: 255,
    max: 65_536,
    doc: 'Longest command line before login, including its line end.',
  }),
  login_max_sasl_line: size({
    default: 8192,
    min: 1024,
    max: 1024 * 1024,
    doc: 'Longest AUTH line or answer to a challenge.',
  }),
  login_max_bad_commands: integer({
    default: 3,
    min: 1,
    max: 1000,
    doc: 'Unknown commands in a row before login that end the connection.',
  }),
}

export type Pop3Settings = Settings<typeof pop3Settings>
