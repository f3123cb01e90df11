import { MailactorsError } from '../actors/index.ts'

/** The queue database was written by a later version; nothing was touched. */
export class QueueVersionError extends MailactorsError {
  readonly code = 'MA_QUEUE_VERSION'

  constructor(...error: ConstructorParameters<typeof MailactorsError>) {
    super(...error)
    withoutStack(this)
  }
}

/** The queue database is damaged and was set aside; opening the queue again starts an empty one. */
export class QueueDamagedError extends MailactorsError {
  readonly code = 'MA_QUEUE_DAMAGED'
}

/** For what the machine refuses: its words say it all, and where in the program it was found helps nobody. */
export function withoutStack<E extends Error>(error: E): E {
  delete error.stack
  return error
}

/** What a failure of the database means for the work at hand. */
export type StoreFailure =
  /** No room, or the disk failed: nothing was stored, the same may work later. */
  | 'full'
  | 'io'
  /** The file is not what it should be. */
  | 'damaged'
  /** Two mails with one queue id. */
  | 'duplicate'

/** Tells failures of SQLite apart by its result codes; undefined: not an error of SQLite, or a mistake of ours. */
export function storeFailure(error: unknown): StoreFailure | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode
  if (typeof code !== 'number') return undefined
  // The low octet of an extended code is the primary code.
  switch (code & 0xff) {
    case 13: // SQLITE_FULL
      return 'full'
    case 5: // SQLITE_BUSY: another program holds the file
    case 7: // SQLITE_NOMEM
    case 8: // SQLITE_READONLY: remounted after a disk error
    case 10: // SQLITE_IOERR
    case 14: // SQLITE_CANTOPEN: out of file descriptors
      return 'io'
    case 11: // SQLITE_CORRUPT
    case 26: // SQLITE_NOTADB
      return 'damaged'
    case 19: // SQLITE_CONSTRAINT
      return 'duplicate'
    default:
      return undefined
  }
}
