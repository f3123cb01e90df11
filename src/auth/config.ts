import { boolean, choice, duration, integer, list, path, size, string } from '../config/schema.ts'
import { databaseProblem } from './static-fields.ts'

/** Schemes `mailactors user add` can write. */
export const writableSchemes = ['ARGON2ID', 'SSHA512', 'SSHA256', 'PLAIN'] as const
export type WritableScheme = (typeof writableSchemes)[number]

/** Mechanisms that `auth.mechanisms` may name; APOP is a command of POP3. */
export const configurableMechanisms = [
  'PLAIN',
  'LOGIN',
  'CRAM-MD5',
  'SCRAM-SHA-1',
  'SCRAM-SHA-1-PLUS',
  'SCRAM-SHA-256',
  'SCRAM-SHA-256-PLUS',
  'OAUTHBEARER',
  'XOAUTH2',
  'EXTERNAL',
  'APOP',
] as const

const checkMechanisms = (names: readonly string[]): string | undefined => {
  const known: readonly string[] = configurableMechanisms
  const unknown = names.find((name) => !known.includes(name.toUpperCase()))
  return unknown === undefined ? undefined : `unknown mechanism ${unknown} (known are ${known.join(', ')})`
}

const checkNameFormat = (format: string): boolean =>
  /%[LU]?[un]/.test(format) && !/%(?![LU]?[und])/.test(format)

const checkDatabases = (sources: readonly string[]): string | undefined =>
  sources.map(databaseProblem).find((problem) => problem !== undefined)

const checkRange = (text: string): string | undefined =>
  /^[0-9]{1,10}-[0-9]{0,10}$/.test(text) ? undefined : 'must be like 500- or 500-59999'

/** Table `[auth]`: who may log in, and how passwords are checked. */
export const authSettings = {
  passwd_file: path({
    default: '',
    doc: 'The users: one `user:{SCHEME}hash:uid:gid:gecos:home:shell:extra` a line. Empty: `users` in `data_dir`. Read again when the file changes.',
  }),
  passdb: list({
    default: [],
    check: checkDatabases,
    doc: 'Where passwords are looked for, in this order, instead of in `passwd_file`: `passwd-file:/FILE`, or `static:` with blank-separated fields that are the same for everybody: `password=`, `nologin`, `allow_nets=`, `uid=`, `gid=`, `home=`, `mail=`. A password that is wrong for a user of one is tried on the next; if one cannot be read and no other lets the user in, the login fails for now.',
  }),
  userdb: list({
    default: [],
    check: checkDatabases,
    doc: 'Where home, mail and ids of a user are looked for, in this order; empty: in what knew the password. In `passwd-file:/FILE`, or `static:uid=5000 gid=5000 home=/srv/mail/%d/%n`, which is for users that a password database knows, or for everybody with `allow_all_users=yes`.',
  }),
  valid_uids: string({
    default: '500-',
    check: checkRange,
    doc: 'User ids that users may have, `first-` or `first-last`: one with another in its database cannot log in and gets no mail for now. Users without an id have that of the service.',
  }),
  valid_gids: string({ default: '1-', check: checkRange, doc: 'The same for group ids.' }),
  allow_cleartext: boolean({
    default: false,
    doc: 'Whether passwords may cross a connection without TLS. Connections from this machine itself (loopback) count as secured.',
  }),
  mechanisms: list({
    default: ['PLAIN', 'LOGIN'],
    check: checkMechanisms,
    doc: 'SASL mechanisms offered by POP3 and SMTP, in this order: `PLAIN`, `LOGIN`, `CRAM-MD5`, `SCRAM-SHA-1`, `SCRAM-SHA-256`, the same two with `-PLUS` (bound to the TLS connection), `OAUTHBEARER`, `XOAUTH2`, `EXTERNAL` (a client certificate, see `[tls.client_cert]`); `APOP` turns on that command of POP3. Those that send a password or token are offered on secured connections alone, -PLUS on TLS alone. CRAM-MD5 and APOP need passwords kept as `{PLAIN}` (CRAM-MD5 also `{CRAM-MD5}`), SCRAM needs `{PLAIN}` or the `{SCRAM-…}` scheme of its hash: many clients choose them when they see them, and then fail with other schemes.',
  }),
  allow_weak_schemes: boolean({
    default: false,
    doc: 'Whether password schemes count that are too easy to undo: `{MD5-CRYPT}`, `{PLAIN-MD5}`, `{LDAP-MD5}`, `{SMD5}`, `{CRAM-MD5}`, `{HMAC-MD5}`.',
  }),
  default_domain: string({
    default: '',
    doc: 'Appended as `@domain` to login names without one.',
    check: (value) => (/[@\s/:]/.test(value) ? 'is no domain' : undefined),
  }),
  username_chars: string({
    default: 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@',
    doc: 'Characters that login names may have; a name with any other is refused. Empty: any.',
  }),
  username_format: string({
    default: '%Lu',
    check: (value) =>
      checkNameFormat(value) ? undefined : 'has to contain %u or %n, and no other variable than %u %n %d',
    doc: 'The name that is looked for: `%u` as given, `%n` its part before the `@`, `%d` the part after it; an `L` after the `%` makes it lower case, a `U` upper case. The passwd-file is searched whatever the case.',
  }),
  master_separator: string({
    default: '',
    check: (value) =>
      /^[^\sA-Za-z0-9@._-]?$/.test(value) ? undefined : 'must be one punctuation mark such as *',
    doc: 'Lets `user*master` with the password of `master`, who needs `master` in the passwd-file, log in as `user`. Empty: no such names.',
  }),
  failure_delay: duration({
    default: 2_000,
    min: 0,
    max: 60_000,
    doc: 'A refused login is answered this long after it was asked, whatever the reason, so that guessing is slow and tells nothing. 0 answers at once.',
  }),
  ban_after: integer({
    default: 0,
    min: 0,
    max: 1_000_000,
    doc: 'So many wrong logins from an address (of IPv6 its /48), and any login from there is refused, right or wrong, for `ban_time`. The same wrong password again does not count, and addresses in `login.trusted_networks` never. 0: never.',
  }),
  ban_time: duration({
    default: 600_000,
    min: 1_000,
    max: 30 * 86_400_000,
    doc: 'How long a ban lasts, and how long wrong logins count for one.',
  }),
  internal_failure_delay: duration({
    default: 2_000,
    min: 0,
    max: 60_000,
    doc: 'A login that cannot be checked now (the passwd-file cannot be read, too many at once) is told so this long after it was asked, and up to half as much later: not all clients come back at the same time.',
  }),
  default_scheme: choice(writableSchemes, {
    default: 'ARGON2ID',
    doc: 'Scheme of new passwords written by `mailactors user`, unless `--scheme` names another.',
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
  oauth2_jwks: path({
    default: '',
    doc: 'File with the public keys (JWK Set, RFC 7517) of who signs tokens for OAUTHBEARER and XOAUTH2. Tokens are then checked here; without it they are shown to `oauth2_introspection_url`. Read again when it changes.',
  }),
  oauth2_issuers: list({
    default: [],
    doc: 'Accepted issuers (`iss`) of tokens. Empty: any whose signature fits.',
  }),
  oauth2_audience: string({
    default: '',
    doc: 'Audience (`aud`) that tokens must be for. Empty: any.',
  }),
  oauth2_scope: string({
    default: '',
    doc: 'Scopes that a token must have, separated by blanks; told to clients whose token is refused.',
  }),
  oauth2_username_attribute: string({
    default: 'email',
    doc: 'Claim of the token, or field of the introspection answer, that names the user.',
  }),
  oauth2_introspection_url: string({
    default: '',
    check: (value) => (value === '' || /^https?:\/\//.test(value) ? undefined : 'is no http(s) URL'),
    doc: 'Where tokens are shown that cannot be checked here (RFC 7662).',
  }),
  oauth2_introspection_mode: choice(['post', 'auth', 'get'], {
    default: 'post',
    doc: '`post` sends the token as RFC 7662 says, `auth` as a bearer token of a GET, `get` appends it to the URL.',
  }),
  oauth2_client_id: string({ default: '', doc: 'Name we give to the introspection server. Empty: none.' }),
  oauth2_client_secret: string({ default: '', doc: 'Password for `oauth2_client_id`.' }),
  oauth2_active_attribute: string({
    default: 'active',
    doc: 'Field of the introspection answer that says whether the token is good. Empty: a status of 200 is enough.',
  }),
  oauth2_active_value: string({
    default: 'true',
    doc: 'What `oauth2_active_attribute` has to be.',
  }),
  oauth2_timeout: duration({
    default: 5_000,
    min: 100,
    max: 60_000,
    doc: 'How long an introspection may take.',
  }),
  oauth2_token_expire_grace: duration({
    default: 60_000,
    min: 0,
    doc: 'How long after its end a token is still good: clocks differ.',
  }),
  oauth2_openid_configuration_url: string({
    default: '',
    doc: 'Told to clients whose token is refused: where they learn how to get one.',
  }),
}

/** Table `[auth.penalty]`: how clients wait that guess passwords. */
export const penaltySettings = {
  enabled: boolean({
    default: true,
    doc: 'After a wrong password the next login from that address (of IPv6 its /48) waits 4 seconds, then 8, then `max`, until one succeeds or 15 seconds pass without. The same wrong password again adds nothing. Addresses in `login.trusted_networks` never wait.',
  }),
  max: duration({ default: 15_000, min: 1_000, max: 60_000, doc: 'Longest wait.' }),
  expire: duration({
    default: 29_000,
    min: 15_000,
    max: 3_600_000,
    doc: 'Wrong passwords of an address are remembered for so long after the last.',
  }),
}

/** Table `[auth.cache]`: passwords that were found right or wrong. */
export const cacheSettings = {
  size: size({
    default: 4 * 1024 * 1024,
    min: 0,
    max: 1024 * 1024 * 1024,
    doc: 'Memory for passwords of which it is remembered whether they are right (as a keyed fast hash, never on disk; about 400 octets each), so that clients that poll do not pay for the slow hash each time. An entry ends when the password changes in its database. 0 remembers none.',
  }),
  ttl: duration({
    default: 3_600_000,
    min: 0,
    doc: 'How long a good password is remembered at most.',
  }),
  negative_ttl: duration({
    default: 3_600_000,
    min: 0,
    doc: 'How long it is remembered of a password that it is wrong. The answer is as late as ever (`auth.failure_delay`, `[auth.penalty]`).',
  }),
}
