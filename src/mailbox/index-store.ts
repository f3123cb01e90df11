/**
 * `DATA_DIR/index/index.db`: what is known of mailboxes, so that opening one needs no reading. All of it can be
 * found out again from the Maildir and its `dovecot-uidlist`; deleting the file loses time, not UIDLs.
 *
 * One database for all mailboxes, one writer. A write returns when it is on the disk (WAL, synchronous=FULL).
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'

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

export interface IndexStoreOptions {
  /** Told when the file was set aside, or could not be used, and why. */
  readonly onTrouble?: (what: string, why: string) => void
}

export class IndexStore {
  readonly #file: string
  readonly #onTrouble: (what: string, why: string) => void
  #db: DatabaseSync
  #statements = new Map<string, StatementSync>()

  private constructor(file: string, db: DatabaseSync, { onTrouble = () => {} }: IndexStoreOptions = {}) {
    this.#file = file
    this.#db = db
    this.#onTrouble = onTrouble
  }

  /**
   * Opens or creates the file. One that is damaged, or made by another version, is moved aside to `…broken` and a new
   * one begun, now or when that turns out. One that cannot be used for another reason, such as a full disk, is left
   * alone, and memory takes its place: mailboxes must be open to who can make room.
   */
  static open(file: string, options: IndexStoreOptions = {}): IndexStore {
    const { onTrouble = () => {} } = options
    try {
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
      try {
        return new IndexStore(file, openDatabase(file), options)
      } catch (error) {
        if (!isDamage(error)) throw error
        setAside(file)
        onTrouble('index set aside, made anew', (error as Error).message)
        return new IndexStore(file, openDatabase(file), options)
      }
    } catch (error) {
      onTrouble('index cannot be used and is kept in memory only', (error as Error).message)
      return new IndexStore(file, openDatabase(':memory:'), options)
    }
  }

  /** What the index has of a mailbox, beside a service that may be running; undefined: nothing, or it cannot be read. */
  static peek(file: string, maildir: string): StoredIndex | undefined {
    if (!existsSync(file)) return undefined
    try {
      const db = new DatabaseSync(file, { readOnly: true, timeout: 5_000 })
      try {
        return new IndexStore(file, db).#load(maildir)
      } finally {
        db.close()
      }
    } catch {
      return undefined
    }
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close()
  }

  load(maildir: string): StoredIndex | undefined {
    try {
      return this.#load(maildir)
    } catch (error) {
      // Whatever it is, the Maildir has all that is needed.
      if (isDamage(error)) this.#beginAnew(error)
      else this.#onTrouble('index cannot be read', (error as Error).message)
      return undefined
    }
  }

  #beginAnew(error: unknown): void {
    this.#statements.clear()
    this.#db.close()
    setAside(this.#file)
    this.#db = openDatabase(this.#file)
    this.#onTrouble('index set aside, made anew', (error as Error).message)
  }

  #load(maildir: string): StoredIndex | undefined {
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
      if (this.#db.isTransaction && !isDamage(error)) this.#db.exec('ROLLBACK')
      if (isDamage(error)) this.#beginAnew(error)
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

/** SQLite says that the file is no database, or that its pages make no sense. */
function isDamage(error: unknown): boolean {
  const { errcode = 0 } = error as { errcode?: number }
  const { corrupt, notDatabase, shortRead } = damageCodes
  const kind = errcode & 0xff
  return error instanceof OtherVersion || kind === corrupt || kind === notDatabase || errcode === shortRead
}

/** SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_IOERR_SHORT_READ. */
const damageCodes = { corrupt: 11, notDatabase: 26, shortRead: 522 }

class OtherVersion extends Error {}

function setAside(file: string): void {
  for (const suffix of ['', '-wal', '-shm']) {
    rmSync(`${file}${suffix}.broken`, { force: true })
    try {
      renameSync(`${file}${suffix}`, `${file}${suffix}.broken`)
    } catch {
      // Was not there; if it cannot be moved the next open says so.
    }
  }
}

function openDatabase(file: string): DatabaseSync {
  const db = new DatabaseSync(file, { timeout: 5_000 })
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000;')
    const { user_version: version } = db.prepare('PRAGMA user_version').get() as { user_version: number }
    if (version === 0) db.exec(`BEGIN IMMEDIATE; ${schema} COMMIT;`)
    else if (version !== schemaVersion)
      throw new OtherVersion(`version ${version} is not ours (${schemaVersion})`)
    // Damage is found now and not in the middle of somebody's session.
    db.prepare('SELECT count(*) FROM mailbox').get()
    db.prepare('SELECT count(*) FROM intent').get()
    return db
  } catch (error) {
    db.close()
    throw error
  }
}
