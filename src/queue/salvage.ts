/**
 * Takes over what can be read of a damaged queue database. Damage of a page hides the rows on it and no others: the
 * reader steps over what fails and goes on behind it. Mail whose content or recipients are gone is kept as corrupt.
 */
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { storeFailure } from './errors.ts'
import { stateNumbers } from './rows.ts'

export interface Salvaged {
  /** Mails that were taken over, those that are corrupt among them. */
  readonly mails: number
  readonly corrupt: number
}

type Row = Record<string, SQLInputValue>

const batch = 500
/** Ids are counted up by one for each recipient ever queued. */
const farAway = 2 ** 50
/** Recipients that one mail may have at most. */
const mostRecipients = 1_000_000
/** After so much damage in one table the rest is given up: each costs a search. */
const mostGaps = 10_000

const messageColumns = [
  'id',
  'queue_id',
  'arrived',
  'size',
  'sender',
  'state',
  'recipients',
  'warned',
  'envelope',
  'file',
  'expire',
  'crc',
]
const recipientColumns = [
  'id',
  'mail',
  'address',
  'site',
  'next_attempt',
  'attempts',
  'detail',
  'reason',
  'outcome',
  'tried',
]

/** @param path The damaged file; nothing is written to it. @param into An empty queue database. */
export function salvage(path: string, into: DatabaseSync): Salvaged {
  let from: DatabaseSync
  try {
    from = new DatabaseSync(path, { readOnly: true })
  } catch (error) {
    if (storeFailure(error) === undefined) throw error
    return { mails: 0, corrupt: 0 }
  }
  try {
    return copyMails(from, into)
  } finally {
    from.close()
  }
}

function copyMails(from: DatabaseSync, into: DatabaseSync): Salvaged {
  const insertMail = insert(into, 'message', messageColumns)
  const insertRecipient = insert(into, 'recipient', recipientColumns)
  const insertContent = insert(into, 'content', ['id', 'bytes'])
  let mails = 0
  let corrupt = 0
  into.exec('BEGIN IMMEDIATE')
  for (const mail of rows(from, 'message')) {
    const recipients = within(from, 'recipient', Number(mail.id), Number(mail.recipients)).filter(
      (recipient) => recipient.mail === mail.id,
    )
    const [content] = mail.file === null ? within(from, 'content', Number(mail.id), 1) : []
    // The count may be damaged itself: it must not reach into the recipients of others.
    mail.recipients = Math.max(1, Number(recipients.at(-1)?.id ?? mail.id) - Number(mail.id) + 1)
    const isWhole = recipients.length > 0 && (mail.file !== null || content !== undefined)
    if (!isWhole) mail.state = stateNumbers.corrupt
    if (!insertMail(mail)) continue
    if (content !== undefined) insertContent(content)
    for (const recipient of recipients) {
      insertRecipient(isWhole ? recipient : { ...recipient, next_attempt: -1 })
    }
    mails += 1
    if (!isWhole) corrupt += 1
    if (mails % 5_000 === 0) into.exec('COMMIT; BEGIN IMMEDIATE')
  }
  into.exec('COMMIT')
  return { mails, corrupt }
}

/** Inserts a row by its columns; what it lacks is what an older layout had. False: it is not one. */
function insert(into: DatabaseSync, table: string, columns: readonly string[]): (row: Row) => boolean {
  const statement = into.prepare(
    `INSERT OR IGNORE INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
  )
  return (row) => {
    try {
      const values = columns.map((column) => row[column] ?? (column === 'expire' ? 0 : null))
      return Number(statement.run(...values).changes) > 0
    } catch (error) {
      // A column that must have a value has none, or one of another type.
      if (storeFailure(error) !== 'duplicate') throw error
      return false
    }
  }
}

/** The rows with ids from `first` on, as far as they can be read. */
function within(from: DatabaseSync, table: string, first: number, count: number): readonly Row[] {
  return [...rows(from, table, first - 1, first + Math.min(count, mostRecipients) - 1)]
}

/** All readable rows with `after < id <= until`, in order. */
function* rows(from: DatabaseSync, table: string, after = -1, until = farAway): Generator<Row, void, void> {
  let last = after
  let gaps = 0
  while (last < until && gaps < mostGaps) {
    const found = read(from, table, last, until, batch) ?? read(from, table, last, until, 1)
    if (found === undefined) {
      gaps += 1
      const next = behind(from, table, last, until)
      if (next === undefined) return
      last = next - 1
      continue
    }
    if (found.length === 0) return
    yield* found
    last = Number(found.at(-1)!.id)
  }
}

/** Undefined: a page on the way is damaged. */
function read(
  from: DatabaseSync,
  table: string,
  after: number,
  until: number,
  limit: number,
): readonly Row[] | undefined {
  try {
    const found = from
      .prepare(`SELECT * FROM ${table} WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`)
      .all(after, until, limit) as Row[]
    // A damaged tree may lead back to where we were.
    return found.every((row, at) => Number(row.id) > Number(at === 0 ? after : found[at - 1]!.id))
      ? found
      : undefined
  } catch (error) {
    if (storeFailure(error) === undefined && !(error instanceof RangeError)) throw error
    return undefined
  }
}

/** The first id behind the damage that follows `last`: doubles the step until something can be read, then halves it. */
function behind(from: DatabaseSync, table: string, last: number, until: number): number | undefined {
  let step = 1
  while (read(from, table, last + step, until, 1) === undefined) {
    step *= 2
    if (last + step >= until) return undefined
  }
  let bad = last + Math.floor(step / 2)
  let good = last + step
  while (good - bad > 1) {
    const middle = Math.floor((good + bad) / 2)
    if (read(from, table, middle, until, 1) === undefined) bad = middle
    else good = middle
  }
  return good + 1
}
