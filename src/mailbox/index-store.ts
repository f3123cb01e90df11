/**
 * `DATA_DIR/index/index.db`: what is known of mailboxes, so that opening one needs no reading. All of it can be
 * found out again from the Maildir and its `dovecot-uidlist`; deleting the file loses time, not UIDLs.
 *
 * One database for all mailboxes, one writer. A write returns when it is on the disk (WAL, synchronous=FULL).
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { MailboxError } from './errors.ts'

/** Everything stored of one mailbox. */
export interface StoredIndex {
  /** JSON, see `mailbox.ts`. */
  readonly state: string
  /** `page.ts`, in the order of their numbers. */
  readonly pages: readonly Uint8Array[]
  /** Mails that a session's QUIT asked to remove, and that may still be there after a crash. */
  readonly intents: readonly { readonly uid: number; readonly base: string }[]
}

/** Changes of one mailbox that are stored together or not at all. */
export interface IndexWrite {
  /** Absolute path: the key of the mailbox. */
  readonly maildir: string
  /** Forget all that was stored of it before. */
  readonly reset?: boolean
  /** Forget it altogether; nothing else is written then. */
  readonly forget?: boolean
  readonly state?: string
  /** `bytes` null removes the row. */
  readonly pages?: readonly { readonly number: number; readonly bytes: Uint8Array | null }[]
  readonly addIntents?: readonly { readonly uid: number; readonly base: string }[]
  readonly dropIntents?: readonly number[]
}

const schemaVersion = 2

const schema = `
  CREATE TABLE mailbox (id INTEGER PRIMARY KEY, maildir TEXT NOT NULL UNIQUE, state TEXT NOT NULL) STRICT;
  CREATE TABLE page (
    mailbox INTEGER NOT NULL, number INTEGER NOT NULL, mails BLOB NOT NULL, PRIMARY KEY (mailbox, number)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE intent (
    mailbox INTEGER NOT NULL, uid INTEGER NOT NULL, base TEXT NOT NULL, PRIMARY KEY (mailbox, uid)
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${schemaVersion};
`

export class IndexStore {
  readonly #db: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  private constructor(db: DatabaseSync) {
    this.#db = db
  }

  /**
   * Opens or creates the file. One that is damaged, or made by a later version, is moved aside to `…broken` and
   * a new one begun: `replaced` then says why.
   * @throws MailboxError `MA_MAILBOX_IO` when that does not work either.
   */
  static open(file: string): { readonly store: IndexStore; readonly replaced?: string } {
    try {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
      try {
        return { store: new IndexStore(openDatabase(file)) }
      } catch (error) {
        const replaced = (error as Error).message
        for (const suffix of ['', '-wal', '-shm']) {
          rmSync(`${file}${suffix}.broken`, { force: true })
          try {
            renameSync(`${file}${suffix}`, `${file}${suffix}.broken`)
          } catch {
            // Was not there; if it cannot be moved the next open says so.
          }
        }
        return { store: new IndexStore(openDatabase(file)), replaced }
      }
    } catch (error) {
      const message = `opening the mailbox index failed: ${(error as Error).message}`
      throw new MailboxError('MA_MAILBOX_IO', message, { path: file }, { cause: error })
    }
  }

  /** What the index has of a mailbox, beside a service that may be running; undefined: nothing, or it cannot be read. */
  static peek(file: string, maildir: string): StoredIndex | undefined {
    if (!existsSync(file)) return undefined
    try {
      const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
      try {
        return new IndexStore(db).load(maildir)
      } finally {
        db.close()
      }
    } catch {
      return undefined
    }
  }

  close(): void {
    this.#db.close()
  }

  load(maildir: string): StoredIndex | undefined {
    const row = this.#run('SELECT id, state FROM mailbox WHERE maildir = ?').get(maildir) as
      | { id: number; state: string }
      | undefined
    if (row === undefined) return undefined
    const pages = this.#run('SELECT mails FROM page WHERE mailbox = ? ORDER BY number').all(row.id)
    const intents = this.#run('SELECT uid, base FROM intent WHERE mailbox = ? ORDER BY uid').all(row.id)
    return {
      state: row.state,
      pages: (pages as { mails: Uint8Array }[]).map(({ mails }) => mails),
      intents: intents as { uid: number; base: string }[],
    }
  }

  /** Stores all of it in one transaction; when it returns it is on the disk, when it throws nothing was stored. */
  write(writes: readonly IndexWrite[]): void {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      for (const write of writes) this.#apply(write)
      this.#db.exec('COMMIT')
    } catch (error) {
      // A full disk may have ended the transaction already.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  #apply(write: IndexWrite): void {
    let id = (
      this.#run('SELECT id FROM mailbox WHERE maildir = ?').get(write.maildir) as { id: number } | undefined
    )?.id
    if (write.forget === true) {
      for (const table of ['page', 'intent'])
        this.#run(`DELETE FROM ${table} WHERE mailbox = ?`).run(id ?? -1)
      this.#run('DELETE FROM mailbox WHERE id = ?').run(id ?? -1)
      return
    }
    if (id === undefined) {
      id = Number(
        this.#run('INSERT INTO mailbox (maildir, state) VALUES (?, ?)').run(write.maildir, '')
          .lastInsertRowid,
      )
    } else if (write.reset === true) {
      this.#run('DELETE FROM page WHERE mailbox = ?').run(id)
      this.#run('DELETE FROM intent WHERE mailbox = ?').run(id)
    }
    if (write.state !== undefined) {
      this.#run('UPDATE mailbox SET state = ? WHERE id = ?').run(write.state, id)
    }
    for (const { number, bytes } of write.pages ?? []) {
      if (bytes === null) this.#run('DELETE FROM page WHERE mailbox = ? AND number = ?').run(id, number)
      else
        this.#run('INSERT OR REPLACE INTO page (mailbox, number, mails) VALUES (?, ?, ?)').run(
          id,
          number,
          bytes,
        )
    }
    for (const { uid, base } of write.addIntents ?? []) {
      this.#run('INSERT OR REPLACE INTO intent (mailbox, uid, base) VALUES (?, ?, ?)').run(id, uid, base)
    }
    for (const uid of write.dropIntents ?? []) {
      this.#run('DELETE FROM intent WHERE mailbox = ? AND uid = ?').run(id, uid)
    }
  }

  #run(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#db.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }
}

function openDatabase(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: 5_000 })
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000;')
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number }
    if (version === 0) db.exec(`BEGIN IMMEDIATE; ${schema} COMMIT;`)
    else if (version !== schemaVersion) throw new Error(`version ${version} is not ours (${schemaVersion})`)
    // Damage is found now and not in the middle of somebody's session.
    db.prepare('SELECT count(*) FROM mailbox').get()
    db.prepare('SELECT count(*) FROM intent').get()
    return db
  } catch (error) {
    db.close()
    throw error
  }
}
