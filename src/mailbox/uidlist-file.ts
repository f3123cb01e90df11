/** `dovecot-uidlist` on the disk: read it, add lines to it, write it anew. Writers hold the dotlock. */
import {
  closeSync,
  fstatSync,
  fsync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { errnoOf, MailboxError } from './errors.ts'
import { inheritFrom } from './ownership.ts'
import type { Steps } from './turns.ts'
import { formatHeader, formatRecord, parseInSteps, type UidList, type UidListRecord } from './uidlist.ts'

// Not fsyncSync: the storage thread has others to serve while the disk works.
const flushed = promisify(fsync)

/** Tells one state of the file from another; empty: there is no file. */
export type ListIdentity = string

const fileName = 'dovecot-uidlist'

export const uidListPath = (maildir: string): string => join(maildir, fileName)

/** Which file is there now. */
export function listIdentity(maildir: string): ListIdentity {
  const stat = statSync(uidListPath(maildir), { throwIfNoEntry: false, bigint: true })
  return stat === undefined ? '' : `${stat.ino} ${stat.size} ${stat.mtimeNs}`
}

export interface ReadUidList {
  readonly list: UidList
  readonly identity: ListIdentity
  /** The last line has its end, so that lines can be added behind it. */
  readonly complete: boolean
}

/**
 * Reads the list; undefined: there is none.
 * @throws MailboxError `MA_MAILBOX_CORRUPT`; file system errors as they are.
 */
export function* readUidList(maildir: string, salvage = false): Steps<ReadUidList | undefined> {
  let fd: number
  try {
    fd = openSync(uidListPath(maildir), 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const stat = fstatSync(fd, { bigint: true })
    const text = readFileSync(fd, 'latin1')
    return {
      list: yield* parseInSteps(text, salvage),
      identity: `${stat.ino} ${stat.size} ${stat.mtimeNs}`,
      complete: text.endsWith('\n'),
    }
  } finally {
    closeSync(fd)
  }
}

/** Adds lines and flushes them: what they say may be shown to clients when this returns. */
export async function appendRecords(
  maildir: string,
  records: readonly UidListRecord[],
  flush: boolean,
): Promise<ListIdentity> {
  const fd = openSync(uidListPath(maildir), 'a+')
  try {
    const before = fstatSync(fd).size
    const text = Buffer.from(records.map(formatRecord).join(''), 'latin1')
    writeAll(fd, text)
    if (flush) await flushed(fd)
    const stat = fstatSync(fd, { bigint: true })
    const last = Buffer.alloc(1)
    readSync(fd, last, 0, 1, before + text.length - 1)
    if (Number(stat.size) !== before + text.length || last[0] !== 10) {
      throw new MailboxError('MA_MAILBOX_IO', 'another program wrote dovecot-uidlist without the lock', {
        path: maildir,
      })
    }
    return `${stat.ino} ${stat.size} ${stat.mtimeNs}`
  } finally {
    closeSync(fd)
  }
}

/** Writes the list anew beside the old one and puts it in its place, flushed. */
export async function writeUidList(
  maildir: string,
  header: Omit<UidList, 'records' | 'version'>,
  records: Iterable<UidListRecord>,
  flush: boolean,
): Promise<ListIdentity> {
  const path = uidListPath(maildir)
  const temporary = `${path}.tmp`
  const fd = openSync(temporary, 'w', 0o600)
  try {
    inheritFrom(maildir, fd)
    let text = formatHeader(header)
    for (const record of records) {
      text += formatRecord(record)
      if (text.length > 1 << 18) {
        writeAll(fd, Buffer.from(text, 'latin1'))
        text = ''
        await new Promise<void>((resolve) => setImmediate(resolve))
      }
    }
    writeAll(fd, Buffer.from(text, 'latin1'))
    if (flush) await flushed(fd)
  } catch (error) {
    unlinkSync(temporary)
    throw error
  } finally {
    closeSync(fd)
  }
  renameSync(temporary, path)
  if (flush) await flushFolder(maildir)
  return listIdentity(maildir)
}

/** Makes renames and removals in a folder survive a crash of the machine. */
export async function flushFolder(folder: string): Promise<void> {
  const fd = openSync(folder, 'r')
  try {
    await flushed(fd)
  } finally {
    closeSync(fd)
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let written = 0
  while (written < bytes.length) written += writeSync(fd, bytes, written)
}

/**
 * A UID validity that this Maildir never had: the time, and more than the last one that is on record in
 * `dovecot-uidvalidity` (eight hexadecimal digits, with an empty file of the same name and number beside it).
 */
export function newUidValidity(maildir: string, nowSeconds: number): number {
  const path = join(maildir, 'dovecot-uidvalidity')
  let last = 0
  try {
    last = Number.parseInt(readFileSync(path, 'latin1'), 16) || 0
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
  const next = Math.max(nowSeconds, last + 1)
  const hex = next.toString(16).padStart(8, '0')
  try {
    const marker = openSync(`${path}.${hex}`, 'w', 0o444)
    inheritFrom(maildir, marker)
    closeSync(marker)
    if (last !== 0) removeIfThere(`${path}.${last.toString(16).padStart(8, '0')}`)
    const temporary = `${path}.tmp`
    const fd = openSync(temporary, 'w', 0o600)
    try {
      inheritFrom(maildir, fd)
      writeSync(fd, hex)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } catch (error) {
    // Only a record against repeating a number; the uid list itself is what must be written.
    if (errnoOf(error) === undefined) throw error
  }
  return next
}

function removeIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}
