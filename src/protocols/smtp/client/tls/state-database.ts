/** What of TLS has to survive a restart: MTA-STS policies of domains, and counts for reports. All SQL of it. */
import { mkdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { CountedEvent, ReportEvent } from './rpt/events.ts'
import type { StsState } from './sts/lookup.ts'

const version = 1

const schema = `
  CREATE TABLE sts (
    domain  TEXT PRIMARY KEY,
    state   TEXT NOT NULL,       -- JSON
    expires INTEGER NOT NULL     -- ms since the epoch; then it can go
  ) STRICT;
  CREATE TABLE report (
    day    TEXT NOT NULL,        -- 2026-11-28
    domain TEXT NOT NULL,
    event  TEXT NOT NULL,        -- JSON
    count  INTEGER NOT NULL,
    PRIMARY KEY (day, domain, event)
  ) STRICT;
  PRAGMA user_version = ${version};
`

/** One report that can be made. */
export interface ReportKey {
  readonly day: string
  readonly domain: string
}

export class StateDatabase {
  readonly #db: DatabaseSync

  /** Opens or makes `tls.db` in `directory`. One that cannot be read is set aside: all in it can be found again. */
  constructor(directory: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const file = join(directory, 'tls.db')
    try {
      this.#db = open(file)
    } catch (error) {
      if (!isDamage(error)) throw error
      for (const suffix of ['', '-wal', '-shm']) {
        try {
          renameSync(file + suffix, `${file}.damaged${suffix}`)
        } catch (missing) {
          if ((missing as NodeJS.ErrnoException).code !== 'ENOENT') throw missing
        }
      }
      this.#db = open(file)
    }
  }

  sts(domain: string): StsState | undefined {
    const row = this.#db.prepare('SELECT state FROM sts WHERE domain = ?').get(domain)
    return row === undefined ? undefined : (JSON.parse(String(row.state)) as StsState)
  }

  saveSts(domain: string, state: StsState, expires: number): void {
    this.#db
      .prepare('INSERT OR REPLACE INTO sts (domain, state, expires) VALUES (?, ?, ?)')
      .run(domain, JSON.stringify(state), expires)
  }

  dropExpired(now: number): void {
    this.#db.prepare('DELETE FROM sts WHERE expires < ?').run(now)
  }

  count(
    counts: readonly { readonly day: string; readonly event: ReportEvent; readonly count: number }[],
  ): void {
    const insert = this.#db.prepare(
      `INSERT INTO report (day, domain, event, count) VALUES (?, ?, ?, ?)
       ON CONFLICT (day, domain, event) DO UPDATE SET count = count + excluded.count`,
    )
    this.#db.exec('BEGIN')
    try {
      for (const { day, event, count } of counts) insert.run(day, event.domain, JSON.stringify(event), count)
      this.#db.exec('COMMIT')
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  reports(): readonly ReportKey[] {
    const rows = this.#db.prepare('SELECT DISTINCT day, domain FROM report ORDER BY day, domain').all()
    return rows.map(({ day, domain }) => ({ day: String(day), domain: String(domain) }))
  }

  events({ day, domain }: ReportKey): readonly CountedEvent[] {
    const rows = this.#db
      .prepare('SELECT event, count FROM report WHERE day = ? AND domain = ?')
      .all(day, domain)
    return rows.map(({ event, count }) => ({
      ...(JSON.parse(String(event)) as ReportEvent),
      count: Number(count),
    }))
  }

  dropReport({ day, domain }: ReportKey): void {
    this.#db.prepare('DELETE FROM report WHERE day = ? AND domain = ?').run(day, domain)
  }

  close(): void {
    this.#db.close()
  }
}

function open(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: 5_000 })
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;')
    const found = Number(db.prepare('PRAGMA user_version').get()?.user_version)
    if (found === 0) db.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`)
    else if (found !== version) throw new Error(`version ${found} is not ours (${version})`)
    db.prepare('SELECT count(*) FROM sts').get()
    db.prepare('SELECT count(*) FROM report').get()
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** SQLite: corrupt, or no database at all. Another version is no reason to lose anything that is not found again. */
function isDamage(error: unknown): boolean {
  const { errcode } = error as { errcode?: number }
  return errcode === 11 || errcode === 26 || (error as Error).message.includes('is not ours')
}
