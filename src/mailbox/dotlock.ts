/**
 * `dovecot-uidlist.lock`: the lock that all programs take that assign UIDs in a Maildir. A file created with
 * O_EXCL, its content `pid:hostname`; whoever creates it has the lock.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, linkSync, openSync, statSync, unlinkSync, utimesSync, writeSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join } from 'node:path'
import { kill } from 'node:process'
import { errnoOf } from './errors.ts'
import { readText } from './open-file.ts'
import { inheritFrom } from './ownership.ts'

/** The system's name for itself: what other programs compare it with, whatever the service is called. */
const host = hostname()

export interface DotlockOptions {
  readonly pid: number
  /** How long to wait for another program, in milliseconds. */
  readonly waitMs: number
  /** A lock that did not change for so long was left behind. */
  readonly staleMs: number
  /** `false`: a file of another name gets a link of this one, for file systems where O_EXCL is not to be trusted. */
  readonly exclusive: boolean
  /** Other programs lock the file without writing into it. */
  readonly mayBeEmpty?: boolean
}

/** A lock that is held. Release it once. */
export interface Dotlock {
  /** Shows others that it is in use; false: it is not ours any more. */
  touch(): boolean
  release(): void
}

/**
 * Takes the lock; undefined when somebody else kept it for `waitMs`. Inside this service the mailbox actor is
 * the only one that asks, so our own pid in the file means that a former process had it.
 * @throws the file system's error when the file cannot be created at all.
 */
export async function takeDotlock(path: string, options: DotlockOptions): Promise<Dotlock | undefined> {
  const deadline = performance.now() + options.waitMs
  let pauseMs = 10
  let seen = ''
  let seenSince = 0
  for (;;) {
    const lock = tryLock(path, options)
    if (lock !== undefined) return lock
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) continue
    const now = performance.now()
    const identity = `${stat.ino} ${stat.size} ${stat.mtimeMs}`
    if (identity !== seen) {
      seen = identity
      seenSince = now
    }
    const unchangedMs = Math.max(now - seenSince, Date.now() - stat.mtimeMs)
    if (unchangedMs > options.staleMs || ownerIsDead(path, options, Date.now() - stat.mtimeMs)) {
      removeIfSame(path, stat.ino)
      continue
    }
    if (now >= deadline) return undefined
    await new Promise((resolve) => setTimeout(resolve, Math.min(pauseMs, deadline - now)))
    pauseMs = Math.min(pauseMs * 1.5, 1_000)
  }
}

function tryLock(path: string, options: DotlockOptions): Dotlock | undefined {
  const inode = options.exclusive ? create(path, options) : createByLink(path, options)
  if (inode === undefined) return undefined
  return { touch: () => touchIfSame(path, inode), release: () => removeIfSame(path, inode) }
}

/** The inode of the file; undefined: there is one. */
function create(path: string, { pid }: DotlockOptions): number | undefined {
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return undefined
    throw error
  }
  try {
    // For who serves the mailbox as another user of the system.
    inheritFrom(dirname(path), fd)
    writeSync(fd, `${pid}:${host}`)
    return statSync(path).ino
  } catch (error) {
    removeIfSame(path, undefined)
    throw error
  } finally {
    closeSync(fd)
  }
}

/** The same by way of a file that nobody else makes. A link that is made never replaces what is there. */
function createByLink(path: string, options: DotlockOptions): number | undefined {
  const random = randomBytes(8).toString('hex')
  const name = `.temp.${host.replaceAll('/', '_')}.${options.pid}.${random}`
  const temporary = join(dirname(path), name)
  const inode = create(temporary, options)
  if (inode === undefined) return undefined
  try {
    linkSync(temporary, path)
    return inode
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return undefined
    throw error
  } finally {
    removeIfSame(temporary, undefined)
  }
}

/** Age at which a lock without content was left behind. */
const emptyStaleMs = 10_000

/** A lock of this host whose process is gone. One that is younger than 2 s may not have its content yet. */
function ownerIsDead(path: string, { pid, mayBeEmpty }: DotlockOptions, ageMs: number): boolean {
  if (ageMs < 2_000) return false
  let content: string
  try {
    content = readText(path)
  } catch {
    return false
  }
  // Whoever makes it writes into it at once: this one died in between.
  if (content === '') return mayBeEmpty !== true && ageMs > emptyStaleMs
  const match = /^([0-9]{1,9}):(.*)$/.exec(content)
  if (match === null || match[2] !== host) return false
  const owner = Number(match[1])
  if (owner === pid) return true
  try {
    kill(owner, 0)
    return false
  } catch (error) {
    return errnoOf(error) === 'ESRCH'
  }
}

function touchIfSame(path: string, inode: number): boolean {
  try {
    if (statSync(path).ino !== inode) return false
    const now = new Date()
    utimesSync(path, now, now)
    return true
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

function removeIfSame(path: string, inode: number | undefined): void {
  try {
    if (inode === undefined || statSync(path).ino === inode) unlinkSync(path)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
  }
}
