/** `dovecot-uidlist` on the disk: read it, add lines to it, write it anew. Writers hold the dotlock. */
import {
  type BigIntStats,
  closeSync,
  constants,
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
import { createTemporary, openRegular, openToRead } from './open-file.ts'
import { inheritFrom } from './ownership.ts'
import type { Steps } from './turns.ts'
import {
  formatHeader,
  formatRecord,
  parseAdded,
  parseInSteps,
  type UidList,
  type UidListRecord,
} from './uidlist.ts'

// Not fsyncSync: the storage thread has others to serve while the disk works.
const flushed = promisify(fsync)

/** Tells one state of the file from another; empty: there is no file. */
export type ListIdentity = string

/** A file that takes the place of another often gets its inode, but not its birth. */
const identityOf = ({ ino, size, mtimeNs, birthtimeNs }: BigIntStats): ListIdentity =>
  `${ino} ${size} ${mtimeNs} ${birthtimeNs}`

const fileName = 'dovecot-uidlist'

/** `folder` here and below: the control folder of a Maildir, mostly the Maildir itself. */
export const uidListPath = (folder: string): string => join(folder, fileName)

/** Which file is there now. */
export function listIdentity(folder: string): ListIdentity {
  const stat = statSync(uidListPath(folder), { throwIfNoEntry: false, bigint: true })
  return stat === undefined ? '' : identityOf(stat)
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
export function* readUidList(folder: string, salvage = false): Steps<ReadUidList | undefined> {
  let fd: number
  try {
    fd = openToRead(uidListPath(folder))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const stat = fstatSync(fd, { bigint: true })
    const text = readFileSync(fd, 'latin1')
    return {
      list: yield* parseInSteps(text, salvage),
      identity: identityOf(stat),
      complete: text.endsWith('\n'),
    }
  } finally {
    closeSync(fd)
  }
}

/** More than this was added: a list that is read anew costs no more. */
const maxAddedOctets = 64 * 1024

/**
 * The lines that were added to the list since it was `known`; undefined when it is another file, has become shorter,
 * or has other lines than that.
 */
export function readAdded(
  folder: string,
  known: ListIdentity,
  nextUid: number,
): { readonly records: readonly UidListRecord[]; readonly identity: ListIdentity } | undefined {
  const [inode, size, , birth] = known.split(' ')
  // Not every file system knows it.
  if (birth === '0') return undefined
  let fd: number
  try {
    fd = openToRead(uidListPath(folder))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const stat = fstatSync(fd, { bigint: true })
    const added = Number(stat.size) - Number(size)
    if (`${stat.ino}` !== inode || `${stat.birthtimeNs}` !== birth) return undefined
    if (added <= 0 || added > maxAddedOctets) return undefined
    const bytes = Buffer.alloc(added + 1)
    // From the end of the line that was the last one.
    if (readSync(fd, bytes, 0, bytes.length, Number(size) - 1) < bytes.length || bytes[0] !== 10)
      return undefined
    const records = parseAdded(bytes.toString('latin1', 1), nextUid)
    return records && { records, identity: identityOf(stat) }
  } finally {
    closeSync(fd)
  }
}

/** Longer lists are not read only for a warning. */
const maxSearchedOctets = 1024 * 1024

/** Those of the base names that have a line already; none when the list is long. */
export function listedAmong(folder: string, bases: readonly string[]): string[] {
  const { fd, octets } = openRegular(uidListPath(folder))
  try {
    if (octets > maxSearchedOctets) return []
    const text = readFileSync(fd)
    return bases.filter((base) => text.includes(`:${base}\n`, 0, 'latin1'))
  } finally {
    closeSync(fd)
  }
}

/** Adds lines and flushes them: what they say may be shown to clients when this returns. */
export async function appendRecords(
  folder: string,
  records: readonly UidListRecord[],
  flush: boolean,
): Promise<ListIdentity> {
  const fd = openRegular(uidListPath(folder), constants.O_RDWR | constants.O_APPEND | constants.O_CREAT).fd
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
        path: folder,
      })
    }
    return identityOf(stat)
  } finally {
    closeSync(fd)
  }
}

/** Writes the list anew beside the old one and puts it in its place, flushed. */
export async function writeUidList(
  folder: string,
  header: Omit<UidList, 'records' | 'version'>,
  records: Iterable<UidListRecord>,
  flush: boolean,
): Promise<ListIdentity> {
  const path = uidListPath(folder)
  const temporary = `${path}.tmp`
  const fd = createTemporary(temporary)
  try {
    inheritFrom(folder, fd)
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
  if (flush) await flushFolder(folder)
  return listIdentity(folder)
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
