import { boolean, choice, duration, integer, path, string } from '../config/schema.ts'

/** Schemes `mailactors user add` can write. */
export const writableSchemes = ['ARGON2ID', 'SSHA512', 'SSHA256', 'PLAIN'] as const
export type WritableScheme = (typeof writableSchemes)[number]

/** Table `[auth]`: who may log in, and how passwords are checked. */
export const authSettings = {
  passwd_file: path({
    default: '',
    doc: 'The users: one `user:{SCHEME}hash:uid:gid:gecos:home:shell:extra` a line. Empty: `users` in `data_dir`. Read again when the file changes.',
  }),
  allow_cleartext: boolean({
    default: false,
    doc: 'Whether passwords may cross a connection without TLS. Connections from this machine itself (loopback) count as secured.',
  }),
  failure_delay: duration({
    default: 2_000,
    min: 0,
    max: 60_000,
    doc: 'A refused login is answered this long after it was asked, whatever the reason, so that guessing is slow and tells nothing. 0 answers at once.',
  }),
  default_scheme: choice(writableSchemes, {
    default: 'ARGON2ID',
    doc: 'Scheme of new passwords written by `mailactors user`, unless `--scheme` names another.',
  }),
  cache_size: integer({
    default: 10_000,
    min: 0,
    max: 1_000_000,
    doc: 'Users whose last good password is remembered (as a salted fast hash, in memory only), so that clients that poll do not pay for the slow hash each time. An entry ends when the user changes in the passwd-file. 0 remembers none.',
  }),
  cache_ttl: duration({
    default: 3_600_000,
    min: 0,
    doc: 'How long a good password is remembered at most.',
  }),
  postmaster: string({
    default: '',
    doc: 'The user who gets the mail for `postmaster` in local domains when there is no user of that name (RFC 5321 section 4.5.1). Empty: the first user of the passwd-file.',
  }),
  recipient_delimiter: string({
    default: '+',
    doc: 'Characters that separate a user from an extension in the local part of an address: mail for `ann+lists` goes to `ann` unless there is a user of the whole name. Empty: no extensions.',
    check: (value) => (/[@\s\p{Cc}]/u.test(value) ? 'cannot contain @, blanks or controls' : undefined),
  }),
}
