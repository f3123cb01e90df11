/** The folders of a Maildir: what is in them, and the few changes that are made there. */
import {
  accessSync,
  constants,
  type Dir,
  type Dirent,
  lstatSync,
  opendirSync,
  readdirSync,
  renameSync,
  statSync,
  unlinkSync,
} from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from './errors.ts'
import { isMailName, mailPath } from './maildir-name.ts'
import { inTurns, type Steps, stepLength } from './turns.ts'

/**
 * Folders this large are read in turns: 256 KiB of directory are some 3 000 mails, a few milliseconds. That takes half the
 * time of all names at once, too, whose memory outside the heap stays with the process.
 */
const largeFolderOctets = 256 * 1024

/** When a folder was last changed, in nanoseconds, as a string so that it can be stored; `octets` its own size. */
export interface FolderTime {
  readonly mtime: string
  readonly mtimeMs: number
  readonly octets: number
  /** It has no folders in it, as far as the file system counts their links. */
  readonly isFlat: boolean
}

export function folderTime(folder: string): FolderTime {
  const stat = statSync(folder, { bigint: true })
  return {
    mtime: String(stat.mtimeNs),
    mtimeMs: Number(stat.mtimeNs / 1_000_000n),
    octets: Number(stat.size),
    isFlat: stat.nlink === 2n,
  }
}

/** What a folder holds. Names are latin1. */
export interface FolderContent {
  readonly names: readonly string[]
  /** Entries that cannot be mails as they are: folders, and names that the uid list cannot have. */
  readonly strange: readonly StrangeEntry[]
}

export interface StrangeEntry {
  readonly name: string
  readonly isFolder: boolean
}

/** Reading a folder of which nothing is known. */
const unknownFolder = { octets: Number.POSITIVE_INFINITY, isFlat: false }

/** Dot files are nothing to anybody. */
export async function mailNames(
  folder: string,
  { octets, isFlat }: Pick<FolderTime, 'octets' | 'isFlat'> = unknownFolder,
): Promise<FolderContent> {
  const names: string[] = []
  const strange: StrangeEntry[] = []
  const take = (name: string, isFolder: boolean): void => {
    if (name.startsWith('.')) return
    if (isFolder || !isMailName(name)) strange.push({ name, isFolder })
    else names.push(name)
  }
  if (isFlat && octets <= largeFolderOctets) {
    for (const name of readdirSync(folder, 'latin1')) take(name, false)
    return { names, strange }
  }
  // Asking for types is cheaper than a `stat` each.
  await readFolder(folder, (entry) => take(entry.name, entry.isDirectory()))
  return { names, strange }
}

/** Names of mails in the order in which the system gives them; `readdir` sorts them. */
export async function namesInOrder(folder: string): Promise<string[]> {
  const names: string[] = []
  await readFolder(folder, ({ name }) => {
    if (isMailName(name)) names.push(name)
  })
  return names
}

async function readFolder(folder: string, take: (entry: Dirent) => void): Promise<void> {
  const opened = opendirSync(folder, { encoding: 'latin1', bufferSize: stepLength })
  try {
    await inTurns(readAll(opened, take))
  } finally {
    opened.closeSync()
  }
}

function* readAll(folder: Dir, take: (entry: Dirent) => void): Steps<void> {
  for (let i = 1; ; i++) {
    const entry = folder.readSync()
    if (entry === null) return
    take(entry)
    if (i % stepLength === 0) yield
  }
}

/** The file operations of an update, replaceable to show what a crash between any two of them leaves. */
export interface MaildirFiles {
  /** `false`: the file was not there. Other failures are thrown. */
  rename(fromFolder: string, from: string, toFolder: string, to: string): boolean
  unlink(folder: string, name: string): boolean
}

export const maildirFiles: MaildirFiles = {
  rename: (fromFolder, from, toFolder, to) =>
    unlessMissing(() => renameSync(mailPath(fromFolder, from), mailPath(toFolder, to))),
  unlink: (folder, name) => unlessMissing(() => unlinkSync(mailPath(folder, name))),
}

function unlessMissing(action: () => void): boolean {
  try {
    action()
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** Whether mail can be moved and removed there, and the uid list written. */
export function isWritable({ maildir, lists }: { maildir: string; lists: string }): boolean {
  try {
    accessSync(lists, constants.W_OK | constants.X_OK)
    accessSync(join(maildir, 'cur'), constants.W_OK | constants.X_OK)
    return true
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/** Files of deliveries that never ended. A delivery that takes a day and a half is dead. */
const leftoverMs = 36 * 3_600_000

/** Removes what crashes left in `tmp/`. Whatever fails is left for the next time. */
export function cleanTmp(maildir: string, nowMs: number): void {
  try {
    const tmp = join(maildir, 'tmp')
    for (const name of readdirSync(tmp, 'buffer')) {
      const path = Buffer.concat([Buffer.from(`${tmp}/`), name])
      const stat = lstatSync(path, { throwIfNoEntry: false })
      // The change time: unlike the modification time nobody can have set it to something old.
      if (stat?.isFile() && nowMs - stat.ctimeMs > leftoverMs) unlinkSync(path)
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}
