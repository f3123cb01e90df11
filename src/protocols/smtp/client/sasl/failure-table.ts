/** The file `failures.db`: all SQL about refused logins. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface KnownFailure {
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly salt: string
  readonly digest: string
  readonly dsn: string
  readonly reason: string
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

export class FailureTable {
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
