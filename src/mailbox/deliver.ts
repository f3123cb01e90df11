/**
 * Delivery into a Maildir: `tmp/` → write → fsync → rename into `new/` → fsync of `new/`, and only then the
 * promise is fulfilled. It needs no lock, no index and no actor; any thread may do it.
 *
 * File names are `SECONDS.MmicrosecondsPpidTthreadQn.host,S=octets,W=octets`: `S` the size on disk, `W` the size
 * with CRLF line ends, which saves readers from opening the mail to learn it.
 */
import {
  close,
  closeSync,
  fsync,
  fsyncSync,
  linkSync,
  mkdirSync,
  open,
  openSync,
  read,
  renameSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { crc32 } from 'node:zlib'
import type { Content, ContentFile } from '../queue/contract.ts'
import { errnoOf, MailboxError, mailboxError } from './errors.ts'
import { AsIsWriter, LfWriter } from './line-ends.ts'
import { areAlike, inheritFrom, ownAs } from './ownership.ts'
import { listFolder, type MailboxPlace } from './place.ts'
import { checkQuota, type DeliveryQuota } from './quota.ts'
import { addToQuota } from './quota-file.ts'
import { uniqueName } from './unique-name.ts'

export interface DeliverOptions {
  /** Part of the file name, as the Maildir convention wants it. */
  readonly hostname: string
  /** Goes in front of the content: Return-Path, Delivered-To, Received. Lines end in CRLF. */
  readonly prefix?: Uint8Array
  /** Stores CRLF line ends as they came instead of LF. */
  readonly saveCrlf?: boolean
  /** How much mail there may be. */
  readonly quota?: DeliveryQuota
  /** `false`: not flushed to the disk; a crash of the machine may lose the mail. */
  readonly fsync?: boolean
  /** The same mail, prefix included, as it was stored for somebody else: gets one more name, if that can be. */
  readonly twin?: Delivered
}

export interface Delivered {
  readonly maildir: string
  /** Path of the file in `new/`. Another program may have moved it by the time you look. */
  readonly file: string
  /** Octets on disk. */
  readonly size: number
}

/** A piece that is handled at once: small enough not to keep other sessions of the thread waiting. */
const pieceOctets = 256 * 1024

const fsyncAsync = promisify(fsync)
const openAsync = promisify(open)
const closeAsync = promisify(close)
const readAsync = promisify(read)

/**
 * Stores one mail. When it is fulfilled the mail is on stable storage; when it is rejected nothing was stored,
 * and nothing is left in `tmp/`. Creates the Maildir (mode 0700) when it is missing.
 * @throws MailboxError: `MA_MAILBOX_CONTENT`, `MA_MAILBOX_FULL`, `MA_MAILBOX_QUOTA`, `MA_MAILBOX_PERMISSION`, `MA_MAILBOX_IO`.
 */
export async function deliver(
  maildir: string,
  content: Content,
  options: DeliverOptions,
): Promise<Delivered> {
  const name = uniqueName(options.hostname)
  const temporary = join(maildir, 'tmp', name)
  let fd = -1
  let placed: string | undefined
  try {
    if (options.twin !== undefined) {
      const linked = await linkTwin(maildir, options.twin, options)
      if (linked !== undefined) return linked
    }
    fd = openNew(maildir, temporary)
    inheritFrom(maildir, fd)
    const writer = options.saveCrlf === true ? new AsIsWriter() : new LfWriter()
    const { prefix } = options
    if (prefix !== undefined && 'bytes' in content && content.bytes.length + prefix.length <= pieceOctets) {
      // One write instead of two, and one conversion.
      writeAll(fd, writer.push(Buffer.concat([prefix, content.bytes])))
    } else {
      if (prefix !== undefined) writeAll(fd, writer.push(prefix))
      if ('bytes' in content) await writeBytes(fd, writer, content.bytes)
      else await copyFile(fd, writer, content)
    }
    writeAll(fd, writer.end())
    if (options.quota !== undefined) await checkQuota(maildir, writer.physical, options.quota)
    // Other sessions of this thread go on while the disk works: only the flushes are worth a thread switch,
    // the other calls touch the page cache and cost microseconds.
    if (options.fsync !== false) await fsyncAsync(fd)
    closeSync(fd)
    fd = -1
    const file = join(maildir, 'new', `${name},S=${writer.physical},W=${writer.virtual}`)
    renameSync(temporary, file)
    placed = file
    if (options.fsync !== false) await syncFolder(join(maildir, 'new'))
    if (options.quota !== undefined) await count({ maildir, control: options.quota.control }, writer.physical)
    return { maildir, file, size: writer.physical }
  } catch (error) {
    if (fd !== -1) closeSync(fd)
    remove(placed ?? temporary)
    throw mailboxError(error, 'storing a mail', maildir)
  }
}

/** One more name for a file that is stored; undefined: it needs one of its own. */
async function linkTwin(
  maildir: string,
  twin: Delivered,
  { quota, fsync: isFlushed }: DeliverOptions,
): Promise<Delivered | undefined> {
  if (quota !== undefined) await checkQuota(maildir, twin.size, quota)
  const folder = join(maildir, 'new')
  const file = join(folder, basename(twin.file))
  try {
    if (!areAlike(twin.maildir, maildir)) return undefined
    linkSync(twin.file, file)
  } catch (error) {
    // Moved meanwhile, another file system, too many links, or a Maildir that has to be made first.
    if (errnoOf(error) === undefined) throw error
    return undefined
  }
  try {
    if (isFlushed !== false) await syncFolder(folder)
    if (quota !== undefined) await count({ maildir, control: quota.control }, twin.size)
  } catch (error) {
    remove(file)
    throw error
  }
  return { maildir, file, size: twin.size }
}

/** The mail is stored: a file that cannot be written now is made anew when the sum is wanted next. */
async function count(place: MailboxPlace, octets: number): Promise<void> {
  try {
    await addToQuota(place, octets, 1)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}

function openNew(maildir: string, path: string): number {
  try {
    return openSync(path, 'wx', 0o600)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    createMaildir(maildir)
    return openSync(path, 'wx', 0o600)
  }
}

/**
 * Makes `cur/`, `new/` and `tmp/` where they are missing, and the folders above; durable when it returns. They belong
 * to the owner of the folder above.
 */
export function createMaildir(maildir: string): void {
  const created: string[] = []
  let top: string | undefined
  for (const folder of ['cur', 'new', 'tmp']) {
    const path = join(maildir, folder)
    const first = mkdirSync(path, { recursive: true, mode: 0o700 })
    if (first === undefined) continue
    top ??= first
    for (let made = path; made.length >= first.length; made = dirname(made)) created.push(made)
  }
  if (top === undefined) return
  for (const path of created) ownAs(dirname(top), path)
  flushUpTo(maildir, top)
}

/** A folder survives a crash once the folder above it is flushed: from `folder` up to what was there before `top`. */
function flushUpTo(folder: string, top: string): void {
  for (let path = folder; ; path = dirname(path)) {
    const fd = openSync(path, 'r')
    try {
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    if (path === dirname(top) || path === dirname(path) || !path.startsWith(dirname(top))) return
  }
}

/** Makes the folder of the uid list where that is not the Maildir; it belongs to whom the Maildir belongs. */
export function createControl(place: MailboxPlace): void {
  const folder = listFolder(place)
  const top = mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (top === undefined) return
  for (let made = folder; made.length >= top.length; made = dirname(made)) ownAs(place.maildir, made)
  flushUpTo(folder, top)
}

function writeAll(fd: number, bytes: Uint8Array): void {
  let written = 0
  while (written < bytes.length) written += writeSync(fd, bytes, written)
}

/** Lets other sessions of the thread run between the pieces of a large mail. */
const breathe = () => new Promise<void>((resolve) => setImmediate(resolve))

async function writeBytes(fd: number, writer: LfWriter | AsIsWriter, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += pieceOctets) {
    if (at > 0) await breathe()
    writeAll(fd, writer.push(bytes.subarray(at, at + pieceOctets)))
  }
}

async function copyFile(
  fd: number,
  writer: LfWriter | AsIsWriter,
  { file, size, crc: expected }: ContentFile,
): Promise<void> {
  const source = await openAsync(file, 'r')
  try {
    const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(size, pieceOctets)))
    let copied = 0
    let crc = 0
    while (copied < size) {
      const { bytesRead } = await readAsync(source, buffer, 0, Math.min(buffer.length, size - copied), copied)
      if (bytesRead === 0) {
        throw new MailboxError('MA_MAILBOX_CONTENT', `${file} is shorter than it was`)
      }
      const piece = buffer.subarray(0, bytesRead)
      if (expected !== undefined) crc = crc32(piece, crc)
      writeAll(fd, writer.push(piece))
      copied += bytesRead
    }
    if (expected !== undefined && crc !== expected) {
      throw new MailboxError('MA_MAILBOX_CONTENT', `the checksum of ${file} is not what it was`)
    }
  } finally {
    await closeAsync(source)
  }
}

async function syncFolder(folder: string): Promise<void> {
  const fd = openSync(folder, 'r')
  try {
    await fsyncAsync(fd)
  } finally {
    closeSync(fd)
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    // Was never created, or its folder cannot be written any more: the scan of tmp/ takes it after 36 hours.
    if (errnoOf(error) === undefined) throw error
  }
}
