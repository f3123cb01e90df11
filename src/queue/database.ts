/**
 * Opens `queue.db`. Layout, version 2:
 *
 *     message    one row a mail; its id is the id of its first recipient
 *     recipient  one row a recipient that is not done; ids are consecutive within a mail
 *     content    up to 128 KiB in the row, apart from `message` so that scans do not drag it along; larger
 *                content is a file named after the queue id in `content/`
 *
 * A database that cannot be read is renamed, never deleted. Another takes its place, with what could be read of it.
 */
import { mkdirSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Logger } from '../actors/index.ts'
import { QueueVersionError, storeFailure, withoutStack } from './errors.ts'
import { salvage } from './salvage.ts'

const version = 2

/** State of a recipient that neither waits nor is due: its mail is on hold or corrupt. */
export const parked = -1

const schema = `
  CREATE TABLE message (
    id          INTEGER PRIMARY KEY,
    queue_id    TEXT NOT NULL,
    arrived     INTEGER NOT NULL,        -- ms since the epoch
    size        INTEGER NOT NULL,        -- octets of the content
    sender      TEXT NOT NULL,
    state       INTEGER NOT NULL,        -- 0 incoming or active, 1 deferred, 2 hold, 3 corrupt
    recipients  INTEGER NOT NULL,        -- how many there were
    warned      INTEGER NOT NULL,        -- 1: the sender was told of the delay
    envelope    TEXT NOT NULL,           -- JSON: parameters of MAIL, and the client
    file        TEXT,                    -- name in content/, or null
    expire      INTEGER NOT NULL DEFAULT 0, -- 1: returned at the next attempt
    crc         INTEGER                  -- CRC-32 of the content
  ) STRICT;
  CREATE UNIQUE INDEX message_queue_id ON message (queue_id);
  CREATE TABLE recipient (
    id           INTEGER PRIMARY KEY,
    mail         INTEGER NOT NULL,
    address      TEXT NOT NULL,
    site         TEXT NOT NULL,          -- transport:nexthop of the last attempt
    next_attempt INTEGER NOT NULL,       -- ms since the epoch; 0 never tried; -1 parked
    attempts     INTEGER NOT NULL,
    detail       TEXT,                   -- JSON: ORCPT, NOTIFY
    reason       TEXT,                   -- of the delay
    outcome      TEXT,                   -- JSON: done, and a notice is due
    tried        TEXT                    -- JSON: when and where the last attempt was
  ) STRICT;
  -- Partial: new mail, which most often leaves within the second, never touches it.
  CREATE INDEX recipient_due ON recipient (next_attempt) WHERE next_attempt > 0;
  CREATE TABLE content (
    id    INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
  ) STRICT;
  CREATE TABLE writer (process TEXT NOT NULL) STRICT;
  PRAGMA user_version = ${version};
`

/** From version 1. */
const upgrade = `
  ALTER TABLE message ADD COLUMN expire INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE message ADD COLUMN crc INTEGER;
  ALTER TABLE recipient ADD COLUMN tried TEXT;
  PRAGMA user_version = 2;
`

export interface OpenOptions {
  readonly log: Logger
  /** Names a file that is set aside; milliseconds since the epoch. */
  readonly now: number
  /** Most pages of 4 KiB; for tests of a full disk. */
  readonly maxPages?: number
}

/**
 * Opens or makes the database in `directory`, and makes the directory.
 * @throws QueueVersionError when a later version wrote it; system errors when it cannot be opened at all.
 */
export function openQueueDatabase(directory: string, options: OpenOptions): DatabaseSync {
  mkdirSync(join(directory, 'content'), { recursive: true, mode: 0o700 })
  const path = join(directory, 'queue.db')
  try {
    return open(path, options)
  } catch (error) {
    const failure = storeFailure(error)
    if (failure !== 'damaged') throw failure === undefined ? error : withoutStack(error as Error)
    replaceDamaged(directory, options, (error as Error).message)
    return open(path, options)
  }
}

/** Sets a damaged database aside, which is closed, and makes one of what can be read of it. */
export function replaceDamaged(directory: string, options: OpenOptions, reason: string): void {
  const path = join(directory, 'queue.db')
  const aside = setAside(directory, options.now)
  const database = open(path, options)
  try {
    const { mails, corrupt } = salvage(aside, database)
    options.log.error(
      { event: 'queue.damaged', file: path, aside, mails, corrupt, reason },
      'the queue database is damaged: it was set aside, and what could be read was taken over',
    )
  } finally {
    database.close()
  }
}

/** Renames a damaged database and what belongs to it; returns the new name. It must be closed. */
function setAside(directory: string, now: number): string {
  const path = join(directory, 'queue.db')
  const aside = `${path}.damaged-${new Date(now).toISOString().replaceAll(/[:.]/g, '')}`
  for (const suffix of ['', '-wal', '-shm']) {
    try {
      renameSync(path + suffix, aside + suffix)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return aside
}

/** A database up to this size is checked whole at start-up: some 100 ms. */
const checkedOctets = 64 * 1024 * 1024

function open(path: string, options: OpenOptions): DatabaseSync {
  const database = new DatabaseSync(path)
  try {
    // FULL here; the store flushes by itself, see there. The page cache holds the working set of a
    // busy queue; content pages pass through it once.
    database.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA busy_timeout = 2000;
      PRAGMA cache_size = -32768;
      PRAGMA journal_size_limit = 67108864;
      PRAGMA temp_store = MEMORY;
    `)
    const found = Number(database.prepare('PRAGMA user_version').get()?.user_version)
    if (found > version) {
      throw new QueueVersionError('the queue database was written by a later version of mailactors', {
        file: path,
        found,
        known: version,
      })
    }
    if (found === 0) database.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`)
    else if (statSync(path).size <= checkedOctets) check(database)
    if (found === 1) database.exec(`BEGIN IMMEDIATE; ${upgrade} COMMIT`)
    // Partial, so that the start need not read every mail to count them: deferred mail is what a long queue is made of.
    database.exec('CREATE INDEX IF NOT EXISTS message_state ON message (state) WHERE state <> 1')
    // One write, so that the log file is there and its name on the disk before anybody counts on it.
    database.exec(`PRAGMA user_version = ${version}`)
    if (options.maxPages !== undefined) database.exec(`PRAGMA max_page_count = ${options.maxPages}`)
    return database
  } catch (error) {
    database.close()
    throw error
  }
}

function check(database: DatabaseSync): void {
  const verdict = String(database.prepare('PRAGMA quick_check(1)').get()?.quick_check)
  if (verdict !== 'ok') throw Object.assign(new Error(verdict), { errcode: 11 })
}
