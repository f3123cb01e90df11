/** `static:` in `auth.passdb` and `auth.userdb`: the same for everybody, as Dovecot's driver of that name. */
import { readPassword } from './schemes.ts'

export interface StaticFields {
  /** As in a passwd-file; without a scheme it is the password itself. Empty: there is none. */
  readonly password: string
  readonly uid: number | undefined
  readonly gid: number | undefined
  /** With variables; empty: the default. */
  readonly home: string
  readonly mail: string
  readonly nologin: boolean
  readonly allowNets: readonly string[] | undefined
  /** A user database says that there is everybody, not only whom a password database knows. */
  readonly allowAllUsers: boolean
}

const keys = ['password', 'uid', 'gid', 'home', 'mail', 'nologin', 'allow_nets', 'allow_all_users']

/** Blank-separated `key=value`, or what is wrong with them. */
export function parseStaticFields(text: string): StaticFields | { readonly problem: string } {
  const fields = new Map<string, string>()
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const equals = word.indexOf('=')
    const key = equals === -1 ? word : word.slice(0, equals)
    if (!keys.includes(key)) return { problem: `unknown field ${key} (valid are ${keys.join(', ')})` }
    fields.set(key, equals === -1 ? 'yes' : word.slice(equals + 1))
  }
  for (const key of ['uid', 'gid']) {
    if (!/^[0-9]*$/.test(fields.get(key) ?? '')) return { problem: `${key} must be a number` }
  }
  const written = fields.get('password') ?? ''
  const password = written === '' || written.startsWith('{') ? written : `{PLAIN}${written}`
  const stored = password === '' ? undefined : readPassword(password)
  if (stored !== undefined && 'problem' in stored) return { problem: `password: ${stored.problem}` }
  const isOn = (key: string) => /^(?:yes|y|1|true)$/i.test(fields.get(key) ?? '')
  const number = (key: string) => (fields.has(key) ? Number(fields.get(key)) : undefined)
  return {
    password,
    uid: number('uid'),
    gid: number('gid'),
    home: fields.get('home') ?? '',
    mail: fields.get('mail') ?? '',
    nologin: isOn('nologin'),
    allowNets: fields.get('allow_nets')?.split(','),
    allowAllUsers: isOn('allow_all_users'),
  }
}

/** What is wrong with an entry of `auth.passdb` or `auth.userdb`. */
export function databaseProblem(source: string): string | undefined {
  const [driver = '', ...rest] = source.split(':')
  const argument = rest.join(':')
  if (driver === 'passwd-file')
    return argument.startsWith('/') ? undefined : `"${source}" needs the absolute path of a file`
  if (driver !== 'static')
    return `"${source}" is of no driver that is here (passwd-file:/FILE, static:KEY=VALUE…)`
  const fields = parseStaticFields(argument)
  return 'problem' in fields ? `"static:…": ${fields.problem}` : undefined
}
