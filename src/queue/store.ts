/**
 * The queue on disk: all SQL of the queue is here. One writer, the queue manager, which groups its changes into
 * transactions; a change is on stable storage when the `flush` after it is done. SQLite itself would flush within the
 * commit, and the thread would stand still for as long as the disk takes: a COMMIT here only writes the log file, and
 * `flush` puts it on the disk while other work goes on. A crash before leaves a log that ends before the commit.
 *
 * Nothing is written when mail becomes active: what was active when the process died is simply due again.
 */
import { closeSync, fdatasync, fdatasyncSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { crc32 } from 'node:zlib'
import type { NewMail } from './contract.ts'
import { type OpenOptions, openQueueDatabase, parked } from './database.ts'
import {
  type MailState,
  type Outcome,
  type Row,
  type StoredMail,
  type StoredRecipient,
  stateNames,
  stateNumbers,
  type Tried,
  toMail,
  toRecipient,
} from './rows.ts'

export type { MailState, Outcome, StoredMail, StoredRecipient } from './rows.ts'

/**
 * A recipient (?2: which, empty: all) that waits for this destination or next hop, or whose domain it is. The domain is
 * what ETRN names, and the next hop what a list of the queue shows: with a relayhost they differ.
 */
const isForSite = `(?2 = '' OR site = ?2 OR substr(site, instr(site, ':') + 1) = ?2
  OR lower(substr(address, -length(?2) - 1)) = '@' || ?2)`

/** Place in the order of due recipients: the last one that was read. */
export interface DueCursor {
  readonly time: number
  readonly id: number
}

/** The stored queue. Not for use by more than one actor. */
export class QueueStore {
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()
  readonly #begin: StatementSync
  readonly #commit: StatementSync
  readonly #insertMail: StatementSync
  readonly #insertRecipient: StatementSync
  readonly #insertContent: StatementSync
  readonly #deleteRecipient: StatementSync
  readonly #deleteMail: StatementSync
  readonly #deleteContent: StatementSync
  readonly #log: string
  #nextId: number
  #closed = false
  /** The log file of the database, to flush it. */
  #logFd: number | undefined

  private constructor(database: DatabaseSync, directory: string) {
    this.#database = database
    this.#log = join(directory, 'queue.db-wal')
    // A checkpoint flushes still.
    database.exec('PRAGMA synchronous = NORMAL')
    this.#begin = database.prepare('BEGIN IMMEDIATE')
    this.#commit = database.prepare('COMMIT')
    this.#insertMail = database.prepare('INSERT INTO message VALUES (?, ?, ?, ?, ?, 0, ?, 0, ?, ?, 0, ?)')
    this.#insertRecipient = database.prepare(
      "INSERT INTO recipient VALUES (?, ?, ?, '', 0, 0, ?, NULL, NULL, NULL)",
    )
    this.#insertContent = database.prepare('INSERT INTO content VALUES (?, ?)')
    this.#deleteRecipient = database.prepare('DELETE FROM recipient WHERE id = ?')
    this.#deleteMail = database.prepare('DELETE FROM message WHERE id = ?')
    this.#deleteContent = database.prepare('DELETE FROM content WHERE id = ?')
    const last = this.#get(
      `SELECT max(coalesce((SELECT max(id) FROM recipient), 0),
                  coalesce((SELECT id + recipients FROM message ORDER BY id DESC LIMIT 1), 0)) AS id`,
    )
    this.#nextId = Number(last?.id) + 1
  }

  /** @throws QueueVersionError, or the system's error when the directory or file cannot be opened. */
  static open(directory: string, options: OpenOptions): QueueStore {
    return new QueueStore(openQueueDatabase(directory, options), directory)
  }

  get isOpen(): boolean {
    return !this.#closed
  }

  /** Ends the use of the file. Further calls throw. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#statements.clear()
    this.#database.close()
    if (this.#logFd !== undefined) closeSync(this.#logFd)
  }

  /** Settles when all that was committed is on stable storage. Rejects with the system's error. */
  flush(): Promise<void> {
    return new Promise((resolve, reject) => {
      fdatasync(this.#openLog(), (error) => (error === null ? resolve() : reject(error)))
    })
  }

  /** The same at once. */
  flushNow(): void {
    fdatasyncSync(this.#openLog())
  }

  #openLog(): number {
    this.#logFd ??= openSync(this.#log, 'r+')
    return this.#logFd
  }

  /** Runs `work` as one transaction. When it throws nothing was changed. `flush` puts it on stable storage. */
  transaction<T>(work: () => T): T {
    this.#begin.run()
    try {
      const result = work()
      this.#commit.run()
      return result
    } catch (error) {
      // A full disk rolls back by itself, other failures do not.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  /** The highest id so far: what comes later is above it. */
  get lastId(): number {
    return this.#nextId - 1
  }

  /** Adds a mail; returns its id. Fails as `duplicate`, without effect, when the queue id is there already. */
  insert(mail: NewMail, file?: string): number {
    const id = this.#nextId
    const { envelope, content } = mail
    const { recipients } = envelope
    this.#nextId += recipients.length
    this.#insertMail.run(
      id,
      mail.queueId,
      Math.floor(mail.arrivedAt),
      'bytes' in content ? content.bytes.length : content.size,
      envelope.sender,
      recipients.length,
      JSON.stringify({
        client: mail.client,
        envid: envelope.envid,
        ret: envelope.ret,
        body: envelope.body,
        smtputf8: envelope.smtputf8,
        requiretls: envelope.requiretls,
        trace: envelope.trace,
      }),
      file ?? null,
      'bytes' in content ? crc32(content.bytes) : (content.crc ?? null),
    )
    for (let index = 0; index < recipients.length; index++) {
      const { address, origTo, orcpt, notify } = recipients[index]!
      const detail =
        origTo === undefined && orcpt === undefined && notify === undefined
          ? null
          : JSON.stringify({ origTo, orcpt, notify })
      this.#insertRecipient.run(id + index, id, address, detail)
    }
    if ('bytes' in content) this.#insertContent.run(id, content.bytes)
    return id
  }

  /** The recipient is done, and nobody has to be told. */
  removeRecipient(id: number): void {
    this.#deleteRecipient.run(id)
  }

  /** The recipient is done; `outcome` waits for the notice at the end of the pass. */
  recordOutcome(id: number, outcome: Outcome): void {
    // Due at once: after a crash the mail is loaded again and the notice is sent. Unless it is on hold.
    this.#run(
      `UPDATE recipient SET outcome = ?,
              next_attempt = CASE WHEN next_attempt = ${parked} THEN ${parked} ELSE 1 END WHERE id = ?`,
      JSON.stringify(outcome),
      id,
    )
  }

  defer(id: number, nextAttempt: number, site: string, reason: string, tried: Tried): void {
    // A mail put on hold meanwhile stays parked.
    this.#run(
      `UPDATE recipient SET next_attempt = CASE WHEN next_attempt = ${parked} THEN ${parked} ELSE ? END,
              attempts = attempts + 1, site = ?, reason = ?, tried = ? WHERE id = ?`,
      Math.floor(nextAttempt),
      site,
      reason,
      JSON.stringify(tried),
      id,
    )
  }

  /** Removes a mail, its content and what is left of its recipients. False: it was gone already. */
  removeMail(mail: Pick<StoredMail, 'id' | 'recipients' | 'file'>): boolean {
    if (mail.recipients === 1) this.#deleteRecipient.run(mail.id)
    else this.#run('DELETE FROM recipient WHERE id >= ? AND id < ?', mail.id, mail.id + mail.recipients)
    if (mail.file === undefined) this.#deleteContent.run(mail.id)
    return Number(this.#deleteMail.run(mail.id).changes) > 0
  }

  /** Where the mail stands, for listings and counts; for `hold` and `corrupt` its recipients are parked. */
  setState(mail: Pick<StoredMail, 'id' | 'recipients'>, state: MailState): void {
    this.#run('UPDATE message SET state = ? WHERE id = ?', stateNumbers[state], mail.id)
    if (state === 'hold' || state === 'corrupt') this.#reschedule(mail, parked)
  }

  /** All recipients of the mail become due at `time`; takes them out of parking too. */
  setDue(mail: Pick<StoredMail, 'id' | 'recipients'>, time: number): void {
    this.#reschedule(mail, time)
  }

  #reschedule(mail: Pick<StoredMail, 'id' | 'recipients'>, time: number): void {
    this.#run(
      'UPDATE recipient SET next_attempt = ? WHERE id >= ? AND id < ?',
      time,
      mail.id,
      mail.id + mail.recipients,
    )
  }

  setWarned(id: number): void {
    this.#run('UPDATE message SET warned = 1 WHERE id = ?', id)
  }

  /** The next attempt returns the mail. */
  setExpire(id: number): void {
    this.#run('UPDATE message SET expire = 1 WHERE id = ?', id)
  }

  /** `damaged`: it is there, and what is stored of it cannot be understood. */
  mail(id: number): StoredMail | 'damaged' | undefined {
    const row = this.#get('SELECT * FROM message WHERE id = ?', id)
    return row === undefined ? undefined : readable(row)
  }

  /** Sets a mail aside that cannot be understood; returns its queue id and the state it had. */
  parkDamaged(id: number): { readonly queueId: string; readonly state: MailState } | undefined {
    const row = this.#get('SELECT queue_id, state, recipients FROM message WHERE id = ?', id)
    if (row === undefined) return undefined
    this.transaction(() => this.setState({ id, recipients: Number(row.recipients) }, 'corrupt'))
    return { queueId: String(row.queue_id), state: stateNames[Number(row.state)] ?? 'corrupt' }
  }

  mailByQueueId(queueId: string): StoredMail | undefined {
    const row = this.#get('SELECT * FROM message WHERE queue_id = ?', queueId)
    return row === undefined ? undefined : shown(row)
  }

  /** Mails in order of arrival, beginning after a queue id; `until`: the last that is wanted. */
  mailsAfter(queueId: string, limit: number, until = '~'): readonly StoredMail[] {
    return this.#all(
      'SELECT * FROM message WHERE queue_id > ? AND queue_id <= ? ORDER BY queue_id LIMIT ?',
      queueId,
      until,
      limit,
    ).map(shown)
  }

  /** The queue id of the mail that came last; '' when there is none. */
  get lastQueueId(): string {
    return String(this.#get('SELECT max(queue_id) AS last FROM message')?.last ?? '')
  }

  /** Content that is in the database; undefined when it is missing or not what was stored. */
  content(mail: Pick<StoredMail, 'id' | 'crc'>): Uint8Array | undefined {
    const bytes = this.#get('SELECT bytes FROM content WHERE id = ?', mail.id)?.bytes
    if (!(bytes instanceof Uint8Array)) return undefined
    return mail.crc === undefined || crc32(bytes) === mail.crc ? bytes : undefined
  }

  /** Recipients of a mail that are not done. */
  recipientsOf(
    mail: Pick<StoredMail, 'id' | 'recipients'>,
    limit = mail.recipients,
  ): readonly StoredRecipient[] {
    return this.#all(
      'SELECT * FROM recipient WHERE id >= ? AND id < ? ORDER BY id LIMIT ?',
      mail.id,
      mail.id + mail.recipients,
      limit,
    ).map(toRecipient)
  }

  /** Recipients of a mail that are done but not told. */
  endedOf(mail: Pick<StoredMail, 'id' | 'recipients'>): readonly StoredRecipient[] {
    return this.#all(
      'SELECT * FROM recipient WHERE id >= ? AND id < ? AND outcome IS NOT NULL ORDER BY id',
      mail.id,
      mail.id + mail.recipients,
    ).map(toRecipient)
  }

  /** Whether a recipient of the mail waits for its first attempt or is due. */
  hasDue(mail: Pick<StoredMail, 'id' | 'recipients'>, now: number): boolean {
    return (
      this.#get(
        'SELECT 1 AS found FROM recipient WHERE id >= ? AND id < ? AND next_attempt BETWEEN 0 AND ? AND outcome IS NULL LIMIT 1',
        mail.id,
        mail.id + mail.recipients,
        now,
      ) !== undefined
    )
  }

  hasRecipients(mail: Pick<StoredMail, 'id' | 'recipients'>): boolean {
    return (
      this.#get(
        'SELECT 1 AS found FROM recipient WHERE id >= ? AND id < ? LIMIT 1',
        mail.id,
        mail.id + mail.recipients,
      ) !== undefined
    )
  }

  /** Recipients never tried with `after < id <= until`, oldest first. */
  incoming(after: number, until: number, limit: number): readonly StoredRecipient[] {
    return this.#all(
      'SELECT * FROM recipient WHERE id > ? AND id <= ? AND next_attempt = 0 ORDER BY id LIMIT ?',
      after,
      until,
      limit,
    ).map(toRecipient)
  }

  /** Recipients whose time has come, in that order, beginning after `cursor`. */
  due(cursor: DueCursor, now: number, limit: number): readonly StoredRecipient[] {
    return this.#all(
      `SELECT * FROM recipient WHERE next_attempt > 0 AND (next_attempt, id) > (?, ?) AND next_attempt <= ?
       ORDER BY next_attempt, id LIMIT ?`,
      cursor.time,
      cursor.id,
      now,
      limit,
    ).map(toRecipient)
  }

  /** When the first recipient after `cursor` becomes due; undefined: none waits. */
  nextDue(cursor: DueCursor): number | undefined {
    const row = this.#get(
      `SELECT next_attempt AS time FROM recipient WHERE next_attempt > 0 AND (next_attempt, id) > (?, ?)
       ORDER BY next_attempt, id LIMIT 1`,
      cursor.time,
      cursor.id,
    )
    return row === undefined ? undefined : Number(row.time)
  }

  /** How many recipients wait for a time after `now`, of one next hop or domain or (empty) of all. */
  countWaiting(now: number, site: string): number {
    const row = this.#get(
      `SELECT count(*) AS count FROM recipient WHERE next_attempt > ?1 AND next_attempt > 0 AND ${isForSite}`,
      now,
      site,
    )
    return Number(row?.count)
  }

  /** Destinations at which those recipients were tried. */
  waitingSites(now: number, site: string): readonly string[] {
    const rows = this.#all(
      `SELECT DISTINCT site FROM recipient WHERE next_attempt > ?1 AND next_attempt > 0 AND ${isForSite}`,
      now,
      site,
    )
    return rows.map((row) => String(row.site))
  }

  /** Makes up to `limit` of those due at `now`, the ones that wait longest last; returns how many. */
  bringForward(now: number, site: string, limit: number): number {
    const { changes } = this.#run(
      `UPDATE recipient SET next_attempt = ?1 WHERE id IN (
         SELECT id FROM recipient WHERE next_attempt > ?1 AND next_attempt > 0 AND ${isForSite}
         ORDER BY next_attempt LIMIT ?3)`,
      now,
      site,
      limit,
    )
    return Number(changes)
  }

  /** Number of mails in each state. For the start: reads two indexes. */
  countStates(): Record<MailState, number> {
    const counts = { active: 0, deferred: 0, hold: 0, corrupt: 0 }
    let others = 0
    for (const row of this.#all(
      'SELECT state, count(*) AS count FROM message WHERE state <> 1 GROUP BY state',
    )) {
      counts[stateNames[Number(row.state)] ?? 'corrupt'] += Number(row.count)
      others += Number(row.count)
    }
    counts.deferred = Number(this.#get('SELECT count(*) AS count FROM message')?.count) - others
    return counts
  }

  /** Notes which process uses the queue from now on; returns the one before. */
  exchangeWriter(process: string): string | undefined {
    const before = this.#get('SELECT process FROM writer')?.process
    if (before === process) return process
    this.transaction(() => {
      this.#run('DELETE FROM writer')
      this.#run('INSERT INTO writer VALUES (?)', process)
    })
    return typeof before === 'string' ? before : undefined
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  #get(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined
  }

  #all(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[]
  }

  #run(sql: string, ...values: SQLInputValue[]): { changes: number | bigint } {
    return this.#statement(sql).run(...values)
  }
}

function readable(row: Row): StoredMail | 'damaged' {
  try {
    return toMail(row)
  } catch (error) {
    if (error instanceof SyntaxError) return 'damaged'
    throw error
  }
}

/** For operators: of a damaged mail what can be read. */
function shown(row: Row): StoredMail {
  const mail = readable(row)
  return mail === 'damaged'
    ? toMail({ ...row, envelope: '{"client":{"address":"","port":0,"protocol":""}}' })
    : mail
}
