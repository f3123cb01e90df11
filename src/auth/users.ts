/** The users of one passwd-file in memory, read again when the file changes. */
import { statSync } from 'node:fs'
import type { Account } from './contract.ts'
import type { PasswdEntry } from './passwd-entry.ts'
import { type parsePasswd, readPasswd } from './passwd-file.ts'
import { quotaFields } from './quota-fields.ts'
import { readPassword, type StoredPassword } from './schemes.ts'
import { type IdKind, systemId } from './system-ids.ts'
import type { Refresh, User, UserDatabase } from './user-database.ts'
import { mailLocation, type PathSettings, userNameProblem, userPaths } from './user-name.ts'

export interface UsersSettings extends PathSettings {
  readonly path: string
  readonly allowWeakSchemes: boolean
}

export class Users implements UserDatabase {
  readonly isCertain = true
  readonly #settings: UsersSettings
  #byName: ReadonlyMap<string, User> = new Map()
  #decoy: UserDatabase['decoy']
  /** Identity of the file that was read last; `failed…` after a failure. */
  #stamp = ''
  #wasRead = false

  get name(): string {
    return this.#settings.path
  }

  constructor(settings: UsersSettings) {
    this.#settings = settings
  }

  /** Whether the file was ever read: without it nobody can be said not to exist. */
  get isKnown(): boolean {
    return this.#wasRead
  }

  get decoy(): UserDatabase['decoy'] {
    return this.#decoy
  }

  /** The user of exactly this name, in whatever case. */
  find(name: string): User | undefined {
    return this.#byName.get(name.toLowerCase())
  }

  /** In the order of the file. */
  get accounts(): readonly Account[] {
    return Array.from(this.#byName.values(), ({ account }) => account)
  }

  /** Reads the file if it is not the one that was read last. */
  refresh(): Refresh {
    const { path } = this.#settings
    let stamp: string
    try {
      const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
      stamp = stat === undefined ? 'missing' : `${stat.ino} ${stat.size} ${stat.mtimeNs}`
      if (stamp === this.#stamp) return { kind: 'unchanged' }
      this.#stamp = stamp
      const content = readPasswd(path)
      if (content === undefined) return this.#missing()
      return this.#take(content)
    } catch (error) {
      const { message } = error as Error
      const failed = `failed ${message}`
      if (failed === this.#stamp) return { kind: 'unchanged' }
      this.#stamp = failed
      return { kind: 'failed', problem: message }
    }
  }

  /** A file that was there and is gone is an editor's doing, or a mistake: refusing all mail for good is no answer to that. */
  #missing(): Refresh {
    const { path } = this.#settings
    if (this.#wasRead && this.#byName.size > 0)
      return { kind: 'failed', problem: `${path} is gone; its users stay known` }
    this.#wasRead = true
    return { kind: 'read', users: 0, problems: [`${path} is not there: there are no users`] }
  }

  #take({ entries, badLines }: ReturnType<typeof parsePasswd>): Refresh {
    const { path } = this.#settings
    const problems = badLines.map(({ line, problem }) => `${path}:${line}: ${problem}`)
    const users = new Map<string, User>()
    this.#decoy = undefined
    for (const entry of entries) {
      const password = this.#readPassword(entry.password)
      const extra = extraFields(entry.extra)
      if ('problem' in password) problems.push(`${path}: user ${entry.user}: ${password.problem}`)
      const stored = 'problem' in password ? undefined : password
      if (this.#decoy === undefined && stored !== undefined && stored.hash !== '') {
        this.#decoy = { password: stored, field: entry.password }
      }
      const account = this.#account(entry, extra)
      const { uid = 0, gid = 0 } = account
      if (Number.isNaN(uid + gid))
        problems.push(`${path}: user ${entry.user}: no such user or group of the system`)
      const isOpen = entry.password === '' && isOn(extra.get('nopassword'))
      users.set(entry.user.toLowerCase(), {
        account,
        field: entry.password,
        password: isOpen ? anyPassword : stored,
        isUndelayed: isOn(extra.get('nodelay')),
        isDisabled: isOn(extra.get('nologin')),
        isMaster: isOn(extra.get('master')),
        allowedNetworks: extra.get('allow_nets')?.split(','),
      })
    }
    this.#byName = users
    this.#wasRead = true
    return { kind: 'read', users: users.size, problems }
  }

  #readPassword(field: string): ReturnType<typeof readPassword> {
    const password = readPassword(field)
    if ('problem' in password || !password.isWeak || this.#settings.allowWeakSchemes) return password
    return { problem: `{${password.scheme}} is too weak, see auth.allow_weak_schemes` }
  }

  #account(entry: PasswdEntry, extra: ReadonlyMap<string, string>): Account {
    const settings = mailLocation(extra.get('userdb_mail'), this.#settings)
    const quota = quotaFields(extra)
    const uid = idOf(extra.get('userdb_uid') ?? entry.uid, 'passwd')
    const gid = idOf(extra.get('userdb_gid') ?? entry.gid, 'group')
    const renamed = extra.get('user')
    const user = renamed === undefined || userNameProblem(renamed) !== undefined ? entry.user : renamed
    return {
      user,
      ...userPaths(user, extra.get('userdb_home') ?? entry.home, settings),
      ...(quota === undefined ? {} : { quota }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    }
  }
}

/** `nopassword`: whatever is sent fits. */
const anyPassword: StoredPassword = {
  scheme: 'PLAIN',
  hash: '',
  isSlow: false,
  blocks: false,
  isWeak: false,
  verify: () => true,
}

const idOf = (written: number | string | undefined, kind: IdKind): number | undefined =>
  typeof written !== 'string' ? written : /^\d+$/.test(written) ? Number(written) : systemId(written, kind)

/** `key=value`, or a key alone. */
function extraFields(extra: string): ReadonlyMap<string, string> {
  return new Map(
    extra.split(/\s+/).map((field) => {
      const equals = field.indexOf('=')
      return equals < 0 ? [field, 'yes'] : [field.slice(0, equals), field.slice(equals + 1)]
    }),
  )
}

const isOn = (value: string | undefined): boolean => value !== undefined && !/^(no|n|0|false)$/i.test(value)

/**
 * Names to look for, for mail to `address`: the whole address, then its local part, each as it is and without
 * its extension (`ann+lists`). Delimiters are single characters; the first one in the local part counts.
 */
export function addressCandidates(address: string, delimiters: string): readonly string[] {
  const at = address.lastIndexOf('@')
  const written = at < 0 ? address : address.slice(0, at)
  const domain = at < 0 ? '' : address.slice(at)
  const local = /^".*"$/s.test(written) ? written.slice(1, -1).replace(/\\(.)/gs, '$1') : written
  let cut = -1
  for (let index = 1; index < local.length && cut < 0; index++) {
    if (delimiters.includes(local[index] ?? '')) cut = index
  }
  const bases = cut < 0 ? [local] : [local, local.slice(0, cut)]
  return domain === '' ? bases : [...bases.map((base) => base + domain), ...bases]
}
