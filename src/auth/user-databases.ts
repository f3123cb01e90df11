/**
 * The databases of users, asked in order. One tells who somebody is (`auth.passdb`), another where the mail is
 * (`auth.userdb`); without such lists the passwd-file does both.
 */
import type { Account } from './contract.ts'
import { openDatabase, type Refresh, type User, type UserDatabase } from './user-database.ts'
import { pathSettings } from './user-name.ts'

type Located = Parameters<typeof pathSettings>[0]

export interface UserDatabasesSettings extends Located {
  readonly auth: {
    readonly passwd_file: string
    readonly passdb: readonly string[]
    readonly userdb: readonly string[]
    readonly allow_weak_schemes: boolean
    readonly valid_uids: string
    readonly valid_gids: string
  }
}

/** Of several users of one name, each with a password of its own. `account` undefined: it is not known where the mail is. */
export interface Candidate extends Omit<User, 'account'> {
  readonly account: Account | undefined
}

export class UserDatabases {
  readonly #passwords: readonly UserDatabase[]
  readonly #places: readonly UserDatabase[]
  /** The lists are the same: an entry is of the database it was found in. */
  readonly #isOne: boolean
  readonly #isValid: (account: Account) => boolean

  constructor(config: UserDatabasesSettings) {
    const { auth } = config
    const settings = { ...pathSettings(config), allowWeakSchemes: auth.allow_weak_schemes }
    const opened = new Map<string, UserDatabase>()
    const open = (source: string): UserDatabase => {
      const database = opened.get(source) ?? openDatabase(source, settings)
      opened.set(source, database)
      return database
    }
    const passwordSources = auth.passdb.length === 0 ? [`passwd-file:${auth.passwd_file}`] : auth.passdb
    this.#passwords = passwordSources.map(open)
    this.#isOne = auth.userdb.length === 0
    this.#places = this.#isOne ? this.#passwords : auth.userdb.map(open)
    const uids = parseRange(auth.valid_uids)
    const gids = parseRange(auth.valid_gids)
    this.#isValid = ({ uid, gid }) => isWithin(uid, uids) && isWithin(gid, gids)
  }

  /** Whether somebody can be said not to exist. */
  get isKnown(): boolean {
    return [...this.#passwords, ...this.#places].every(({ isKnown }) => isKnown)
  }

  get decoy(): UserDatabase['decoy'] {
    for (const { decoy } of this.#passwords) if (decoy !== undefined) return decoy
    return undefined
  }

  /** Those that can be listed. */
  get accounts(): readonly Account[] {
    return this.#places.flatMap(({ accounts }) => accounts)
  }

  /** Users of this name, in whatever case, in the order in which their passwords are tried. */
  candidates(name: string): readonly Candidate[] {
    return this.#passwords.flatMap((database) => {
      const user = database.find(name)
      if (user === undefined) return []
      const account = this.#isOne ? user.account : this.#place(name)
      return [{ ...user, account: account !== undefined && this.#isValid(account) ? account : undefined }]
    })
  }

  find(name: string): Candidate | undefined {
    return this.candidates(name)[0]
  }

  /** Who gets mail for this name. `invalid`: an id of it is not among those that users may have. */
  recipient(name: string): Account | 'invalid' | undefined {
    const account = this.#place(name)
    return account === undefined || this.#isValid(account) ? account : 'invalid'
  }

  #place(name: string): Account | undefined {
    for (const database of this.#places) {
      const user = database.find(name)
      if (user === undefined) continue
      if (database.isCertain || this.#passwords.some((known) => known.find(name) !== undefined)) {
        return user.account
      }
    }
    return undefined
  }

  /** Brings all up to date: what each found out, by its name. */
  refresh(): readonly { readonly name: string; readonly found: Refresh }[] {
    return [...new Set([...this.#passwords, ...this.#places])].map((database) => ({
      name: database.name,
      found: database.refresh(),
    }))
  }
}

type Range = readonly [number, number]

/** `500-`, `100-200`, or one number. */
export function parseRange(text: string): Range {
  const [, first = '', dash, last = ''] = /^([0-9]+)(?:(-)([0-9]*))?$/.exec(text) ?? []
  if (first === '') return [0, Number.POSITIVE_INFINITY]
  const to = dash === undefined ? Number(first) : last === '' ? Number.POSITIVE_INFINITY : Number(last)
  return [Number(first), to]
}

const isWithin = (id: number | undefined, [first, last]: Range): boolean =>
  id === undefined || (id >= first && id <= last)
