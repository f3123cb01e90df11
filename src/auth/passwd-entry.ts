/**
 * One line of a passwd-file, Dovecot's format:
 *
 *     user:{SCHEME}hash:uid:gid:gecos:home:shell:extra
 *
 * Only the first two fields are needed. `extra` are blank-separated `key=value` pairs; they are kept as they
 * are when the file is written.
 */
import { userNameProblem } from './user-name.ts'

export interface PasswdEntry {
  readonly user: string
  /** As written: `{SCHEME}hash`, or a hash alone. Empty: nobody can log in. */
  readonly password: string
  /** A text is the name of a user or group of the system. */
  readonly uid: number | string | undefined
  readonly gid: number | string | undefined
  readonly gecos: string
  /** May have `%` variables; empty: the default home. */
  readonly home: string
  readonly shell: string
  readonly extra: string
}

export type ParsedLine = { readonly entry: PasswdEntry } | { readonly problem: string } | undefined

/** A number, or a name as `useradd` and `groupadd` accept it. */
const idPattern = /^(?:\d{0,10}|[a-z_][a-z0-9_.-]*\$?)$/i

const idOf = (written: string): number | string | undefined =>
  written === '' ? undefined : /^\d/.test(written) ? Number(written) : written

/** Parses one line; undefined for an empty line or a comment. */
export function parsePasswdLine(line: string): ParsedLine {
  if (line.trim() === '' || line.startsWith('#')) return undefined
  const fields = line.split(':')
  const [user = '', password = '', uid = '', gid = '', gecos = '', home = '', shell = ''] = fields
  if (fields.length < 2) return { problem: 'no password field (write user:{SCHEME}hash)' }
  const problem = userNameProblem(user)
  if (problem !== undefined) return { problem: `the user name ${problem}` }
  if (!idPattern.test(uid) || !idPattern.test(gid)) return { problem: 'uid and gid must be numbers or names' }
  if (home.includes('\0')) return { problem: 'the home contains a NUL' }
  return {
    entry: {
      user,
      password,
      uid: idOf(uid),
      gid: idOf(gid),
      gecos,
      home,
      shell,
      // A value of the extra fields may have colons of its own: userdb_mail=maildir:/path.
      extra: fields.slice(7).join(':'),
    },
  }
}

/** The line of an entry, without its newline. Empty fields at the end are left out. */
export function formatPasswdLine(entry: PasswdEntry): string {
  const fields = [
    entry.user,
    entry.password,
    String(entry.uid ?? ''),
    String(entry.gid ?? ''),
    entry.gecos,
    entry.home,
    entry.shell,
    entry.extra,
  ]
  return fields.join(':').replace(/:+$/, '')
}
