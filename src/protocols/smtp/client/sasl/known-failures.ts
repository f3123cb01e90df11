/**
 * Logins that were refused for good (535): not tried again with the same password until they are old. One actor for all
 * delivery threads, on disk in `sasl/failures.db`. Of a password only a salted digest is kept.
 */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type ActorContext, actor, type Contract } from '../../../../actors/index.ts'
import type { Config } from '../../../../config/settings.ts'

export interface KnownFailure {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly salt: string
  readonly digest: string
  readonly dsn: string
  readonly reason: string
}

export type SaslFailuresContract = Contract<{
  find(key: string): KnownFailure | null
  remember(key: string, failure: KnownFailure): void
  forget(key: string): void
}>

/** What a delivery knows of them. */
export interface SaslFailures {
  find(key: string): Promise<KnownFailure | undefined>
  remember(key: string, failure: { at: number; password: string; dsn: string; reason: string }): void
  forget(key: string): void
}

export const failureKey = (host: string, user: string): string => `${host.toLowerCase()};${user}`

export function passwordDigest(password: string, salt: string): string {
  return createHash('sha256').update(salt).update(password).digest('base64')
}

/** Rows that are kept; the oldest go first. */
const maxRows = 10_000

const schema = `
  CREATE TABLE IF NOT EXISTS failure (
    key    TEXT PRIMARY KEY,     -- host;user
    at     INTEGER NOT NULL,     -- ms since the epoch
    salt   TEXT NOT NULL,
    digest TEXT NOT NULL,        -- of salt and password
    dsn    TEXT NOT NULL,
    reason TEXT NOT NULL
  ) STRICT;
`

class FailureTable {
  readonly #db: DatabaseSync

  constructor(directory: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const file = join(directory, 'failures.db')
    try {
      this.#db = open(file)
    } catch {
      // Nothing in it that would not be found out again.
      rmSync(file, { force: true })
      this.#db = open(file)
    }
  }

  find(key: string): KnownFailure | null {
    const row = this.#db.prepare('SELECT at, salt, digest, dsn, reason FROM failure WHERE key = ?').get(key)
    return row === undefined ? null : ({ ...row } as unknown as KnownFailure)
  }

  remember(key: string, { at, salt, digest, dsn, reason }: KnownFailure): void {
    this.#db
      .prepare('INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?, ?, ?)')
      .run(key, at, salt, digest, dsn, reason)
    this.#db
      .prepare(
        'DELETE FROM failure WHERE key IN (SELECT key FROM failure ORDER BY at DESC LIMIT -1 OFFSET ?)',
      )
      .run(maxRows)
  }

  forget(key: string): void {
    this.#db.prepare('DELETE FROM failure WHERE key = ?').run(key)
  }

  close(): void {
    this.#db.close()
  }
}

function open(file: string): DatabaseSync {
  const db = new DatabaseSync(file)
  db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; ${schema}`)
  return db
}

export const saslFailures = actor<SaslFailuresContract, undefined>({
  name: 'sasl-failures',
  module: import.meta.url,
  init: (context) => {
    let table: FailureTable | undefined
    const { data_dir } = context.setting<Config>('config')!
    const opened = () => (table ??= new FailureTable(join(data_dir, 'sasl')))
    return {
      find: (key) => opened().find(key),
      remember: (key, failure) => opened().remember(key, failure),
      forget: (key) => opened().forget(key),
      terminate: () => table?.close(),
    }
  },
})

/** Undefined: the actor is not there, and nothing is remembered. */
export function saslFailuresOf(context: ActorContext): SaslFailures | undefined {
  const store = context.whereis<SaslFailuresContract>('sasl-failures')
  if (store === undefined) return undefined
  return {
    find: (key) =>
      store.ask('find', key).then(
        (known) => known ?? undefined,
        // Then the server is asked once more.
        () => undefined,
      ),
    remember: (key, { password, ...failure }) => {
      const salt = randomBytes(12).toString('base64')
      store.tell('remember', key, { ...failure, salt, digest: passwordDigest(password, salt) })
    },
    forget: (key) => {
      store.tell('forget', key)
    },
  }
}
