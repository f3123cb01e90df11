/** The jobs on disk. Only the queue actor has it open. */
import { DatabaseSync } from 'node:sqlite'

export interface Job {
  readonly key: string
  readonly text: string
  /** How often it was handed out before. */
  readonly attempts: number
}

export class JobStore {
  readonly #database: DatabaseSync

  constructor(file: string) {
    this.#database = new DatabaseSync(file)
    // A commit returns when it is on the disk: what was promised survives a power cut.
    this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
    this.#database.exec(`CREATE TABLE IF NOT EXISTS job (
      number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, text TEXT NOT NULL,
      state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, result TEXT) STRICT`)
    this.#database.exec("CREATE INDEX IF NOT EXISTS waiting ON job (number) WHERE state = 'waiting'")
    // Who had these in hand when the queue ended is not known any more, so they are done again.
    this.#database.exec("UPDATE job SET state = 'waiting' WHERE state = 'taken'")
  }

  /** Adding the same key again changes nothing, so that a caller without an answer may simply repeat itself. */
  add(key: string, text: string): void {
    this.#database.prepare('INSERT OR IGNORE INTO job (key, text) VALUES (?, ?)').run(key, text)
  }

  take(): Job | undefined {
    const row = this.#database
      .prepare(
        `UPDATE job SET state = 'taken', attempts = attempts + 1
         WHERE number = (SELECT number FROM job WHERE state = 'waiting' ORDER BY number LIMIT 1)
         RETURNING key, text, attempts - 1 AS attempts`,
      )
      .get()
    return row as Job | undefined
  }

  putBack(key: string): void {
    this.#database.prepare("UPDATE job SET state = 'waiting' WHERE key = ? AND state = 'taken'").run(key)
  }

  done(key: string, result: string): void {
    this.#database.prepare("UPDATE job SET state = 'done', result = ? WHERE key = ?").run(result, key)
  }

  result(key: string): string | undefined {
    const row = this.#database.prepare('SELECT result FROM job WHERE key = ?').get(key)
    return (row?.result as string | null | undefined) ?? undefined
  }

  /** How many jobs are in each state, and how often jobs were handed out in all. */
  counts(): { waiting: number; taken: number; done: number; attempts: number } {
    const row = this.#database
      .prepare(
        `SELECT count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'taken') AS taken,
                count(*) FILTER (WHERE state = 'done') AS done, coalesce(sum(attempts), 0) AS attempts FROM job`,
      )
      .get()
    return { ...(row as { waiting: number; taken: number; done: number; attempts: number }) }
  }

  close(): void {
    this.#database.close()
  }
}
