/**
 * `dovecot-uidlist.lock`: the lock that all programs take that assign UIDs in a Maildir. A file created with
 * O_EXCL, its content `pid:hostname`; whoever creates it has the lock.
 */
import { closeSync, openSync, readFileSync, statSync, unlinkSync, utimesSync, writeSync } from 'node:fs'
import { kill } from 'node:process'
import { errnoOf } from './errors.ts'

export interface DotlockOptions {
  readonly hostname: string
  readonly pid: number
  /** How long to wait for another program, in milliseconds. */
  readonly waitMs: number
  /** A lock that did not change for so long was left behind. */
  readonly staleMs: number
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

function tryLock(path: string, { hostname, pid }: DotlockOptions): Dotlock | undefined {
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return undefined
    throw error
  }
  let inode: number
  try {
    writeSync(fd, `${pid}:${hostname}`)
    inode = statSync(path).ino
  } catch (error) {
    removeIfSame(path, undefined)
    throw error
  } finally {
    closeSync(fd)
  }
  return { touch: () => touchIfSame(path, inode), release: () => removeIfSame(path, inode) }
}

/** Age at which a lock without content was left behind. */
const emptyStaleMs = 10_000

/** A lock of this host whose process is gone. One that is younger than 2 s may not have its content yet. */
function ownerIsDead(path: string, { hostname, pid }: DotlockOptions, ageMs: number): boolean {
  if (ageMs < 2_000) return false
  let content: string
  try {
    content = readFileSync(path, 'latin1')
  } catch {
    return false
  }
  // Whoever makes it writes into it at once: this one died in between.
  if (content === '') return ageMs > emptyStaleMs
  const match = /^([0-9]{1,9}):(.*)$/.exec(content)
  if (match === null || match[2] !== hostname) return false
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
