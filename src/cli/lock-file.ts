/**
 * Lock files: one process per lock, and a lock whose process is gone is recognised and taken over. A lock names
 * its process by pid and start time, because a pid alone is soon somebody else's.
 *
 * The file appears whole, by `link`: a lock that can be seen can be read.
 */
import { randomBytes } from 'node:crypto'
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface LockHolder {
  readonly pid: number
  /** When the process started, as the system counts it; empty where it does not say. */
  readonly started: string
  /** When the lock was taken, ISO 8601. */
  readonly since: string
}

export type LockResult =
  | { readonly lock: Lock }
  /** Somebody else has it. */
  | { readonly holder: LockHolder }

export class Lock {
  readonly #path: string
  readonly #content: string

  constructor(path: string, content: string) {
    this.#path = path
    this.#content = content
  }

  /** Gives the lock back. Does nothing when it is no longer ours. */
  release(): void {
    if (readOrUndefined(this.#path) === this.#content) rmSync(this.#path, { force: true })
  }
}

/** Each round removes one stale lock, or loses to another process: a few are plenty. */
const maxRounds = 20

/** Takes the lock, or names who has it. Throws the system's error when the folder cannot be written. */
export function takeLock(path: string): LockResult {
  const holder: LockHolder = {
    pid: process.pid,
    started: processStart(process.pid) ?? '',
    since: new Date().toISOString(),
  }
  const content = `${JSON.stringify(holder)}\n`
  const mine = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`
  writeFileSync(mine, content, { mode: 0o600, flag: 'wx' })
  try {
    for (let round = 0; round < maxRounds; round++) {
      if (link(mine, path)) return { lock: new Lock(path, content) }
      const found = readOrUndefined(path)
      if (found === undefined) continue
      const other = parseHolder(found)
      if (other !== undefined && isAlive(other)) return { holder: other }
      removeStale(path, found, `${mine}.stale`)
    }
    return { holder: parseHolder(readOrUndefined(path) ?? '') ?? { pid: 0, started: '', since: '' } }
  } finally {
    unlinkSync(mine)
  }
}

/** Takes the lock, waiting up to `waitMs` for whoever has it. */
export async function waitForLock(path: string, waitMs: number): Promise<LockResult> {
  const deadline = performance.now() + waitMs
  for (;;) {
    const result = takeLock(path)
    if ('lock' in result || performance.now() >= deadline) return result
    await sleep(20)
  }
}

/** Who has the lock, if it is a process that lives. */
export function lockHolder(path: string): LockHolder | undefined {
  const holder = parseHolder(readOrUndefined(path) ?? '')
  return holder !== undefined && isAlive(holder) ? holder : undefined
}

function link(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/**
 * Moves the stale lock away, then looks whether it was the stale one: another process may have removed it and
 * taken the lock between our reading and our moving. Then its lock is put back.
 */
function removeStale(path: string, stale: string, aside: string): void {
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  if (readFileSync(aside, 'utf8') !== stale) link(aside, path)
  unlinkSync(aside)
}

function parseHolder(text: string): LockHolder | undefined {
  try {
    const { pid, started, since } = JSON.parse(text) as Partial<LockHolder>
    if (!Number.isSafeInteger(pid) || (pid ?? 0) <= 0) return undefined
    return { pid: pid ?? 0, started: String(started ?? ''), since: String(since ?? '') }
  } catch {
    return undefined
  }
}

function isAlive({ pid, started }: LockHolder): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: it lives, and is somebody else's.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  const now = processStart(pid)
  return now === undefined || started === '' || now === started
}

/** Boot and start time of a process where the system has /proc; undefined elsewhere, or when it is gone or a zombie. */
function processStart(pid: number): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    // The name in brackets may contain blanks: fields are counted from behind it. Start time is field 22.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A zombie holds nothing any more; its parent has only not looked yet.
    return fields[0] === 'Z' ? 'gone' : `${boot} ${fields[19] ?? ''}`
  } catch {
    return undefined
  }
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
