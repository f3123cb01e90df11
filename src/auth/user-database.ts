/**
 * Where users come from: the seam for drivers. `auth.passdb` and `auth.userdb` name the databases that are asked, in
 * this order; a driver is a class with this interface and a line in `openDatabase`.
 *
 * Lookups are answered from memory: `refresh` brings it up to date and is called no more than once a second, and
 * before a user is said not to exist. What has to ask elsewhere for a password (PAM, a directory) does so in `verify` of
 * the password it gives, which may take its time: with `isSlow` few run at once and a bounded number waits.
 */
import type { Account } from './contract.ts'
import type { StoredPassword } from './schemes.ts'
import { StaticUsers } from './static-users.ts'
import type { PathSettings } from './user-name.ts'
import { Users } from './users.ts'

export interface User {
  readonly account: Account
  /** The password field as written: tells whether the password changed. */
  readonly field: string
  /** Undefined: it cannot be checked, so it never fits. */
  readonly password: StoredPassword | undefined
  /** `nologin`: gets mail and cannot log in. */
  readonly isDisabled: boolean
  /** `master`: may log in as anybody else, with PLAIN or SCRAM. */
  readonly isMaster: boolean
  /** `nodelay`: a refusal is answered at once. */
  readonly isUndelayed: boolean
  /** `allow_nets`: where logins may come from; undefined: from anywhere. */
  readonly allowedNetworks: readonly string[] | undefined
}

/** What bringing it up to date found out. */
export type Refresh =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'read'; readonly users: number; readonly problems: readonly string[] }
  /** The users known before stay. `problem` is given once for each change. */
  | { readonly kind: 'failed'; readonly problem: string }

export interface UserDatabase {
  /** For the log: a path, or the driver. */
  readonly name: string
  /** Whether it could ever be asked: without that nobody can be said not to exist. */
  readonly isKnown: boolean
  /** Whether a user that it finds is there for certain; otherwise a database of passwords has to know the name too. */
  readonly isCertain: boolean
  /** A user to check passwords against for names that do not exist, so that they cost what others cost. */
  readonly decoy: { readonly password: StoredPassword; readonly field: string } | undefined
  /** Its users, as far as they can be listed, in order. */
  readonly accounts: readonly Account[]
  /** The user of exactly this name, in whatever case. */
  find(name: string): User | undefined
  refresh(): Refresh
}

export interface DatabaseSettings extends PathSettings {
  readonly allowWeakSchemes: boolean
}

/** `driver:argument`, as `auth.passdb` and `auth.userdb` have them. */
export function openDatabase(source: string, settings: DatabaseSettings): UserDatabase {
  const { driver, argument } = splitSource(source)
  return driver === 'static'
    ? new StaticUsers(argument, settings)
    : new Users({ ...settings, path: argument })
}

const splitSource = (source: string): { driver: string; argument: string } => {
  const colon = source.indexOf(':')
  return colon === -1
    ? { driver: source, argument: '' }
    : { driver: source.slice(0, colon), argument: source.slice(colon + 1) }
}
