/** A user database in which every name is a user, all alike. */
import type { Account } from './contract.ts'
import { readPassword, type StoredPassword } from './schemes.ts'
import { parseStaticFields, type StaticFields } from './static-fields.ts'
import type { DatabaseSettings, Refresh, User, UserDatabase } from './user-database.ts'
import { mailLocation, userNameProblem, userPaths } from './user-name.ts'

export class StaticUsers implements UserDatabase {
  readonly name = 'static'
  readonly isKnown = true
  readonly accounts = []
  readonly #fields: StaticFields
  readonly #settings: DatabaseSettings
  readonly #password: StoredPassword | undefined

  /** @throws RangeError for fields that the configuration does not let through. */
  constructor(fields: string, settings: DatabaseSettings) {
    const parsed = parseStaticFields(fields)
    if ('problem' in parsed) throw new RangeError(parsed.problem)
    this.#fields = parsed
    this.#settings = settings
    const stored = parsed.password === '' ? undefined : readPassword(parsed.password)
    this.#password = stored === undefined || 'problem' in stored ? undefined : stored
  }

  get isCertain(): boolean {
    return this.#fields.allowAllUsers
  }

  get decoy(): UserDatabase['decoy'] {
    return this.#password && { password: this.#password, field: this.#fields.password }
  }

  find(name: string): User | undefined {
    if (userNameProblem(name) !== undefined) return undefined
    const { password: field, nologin, allowNets } = this.#fields
    return {
      account: this.#account(name),
      field,
      password: this.#password,
      isDisabled: nologin,
      isMaster: false,
      isUndelayed: false,
      allowedNetworks: allowNets,
    }
  }

  refresh(): Refresh {
    return { kind: 'unchanged' }
  }

  #account(user: string): Account {
    const { uid, gid, home: givenHome, mail } = this.#fields
    const settings = mailLocation(mail === '' ? undefined : mail, this.#settings)
    const paths = userPaths(user, givenHome, settings)
    return { user, ...paths, ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) }
  }
}
