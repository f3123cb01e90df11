/**
 * The passwd-file on disk. Writers hold `FILE.lock`, change a copy and rename it over the file, so that a reader
 * sees the old file or the new one, and lines that are not theirs stay as they are, comments too.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { PasswdFileError } from './errors.ts'
import { formatPasswdLine, type PasswdEntry, parsePasswdLine } from './passwd-entry.ts'

export interface BadLine {
  /** Counted from 1. */
  readonly line: number
  readonly problem: string
}

export interface PasswdContent {
  readonly entries: readonly PasswdEntry[]
  readonly badLines: readonly BadLine[]
}

/** Splits a passwd-file; a line that is wrong is named and skipped, of two lines for one user the first counts. */
export function parsePasswd(text: string): PasswdContent {
  const entries: PasswdEntry[] = []
  const badLines: BadLine[] = []
  const seen = new Set<string>()
  text.split('\n').forEach((written, index) => {
    const parsed = parsePasswdLine(written.replace(/\r$/, ''))
    if (parsed === undefined) return
    if ('problem' in parsed) badLines.push({ line: index + 1, problem: parsed.problem })
    else if (seen.has(parsed.entry.user.toLowerCase()))
      badLines.push({ line: index + 1, problem: `user ${parsed.entry.user} is there already` })
    else {
      seen.add(parsed.entry.user.toLowerCase())
      entries.push(parsed.entry)
    }
  })
  return { entries, badLines }
}

/**
 * Reads a passwd-file; undefined when there is none.
 *
 * @throws PasswdFileError when it cannot be read.
 */
export function readPasswd(path: string): PasswdContent | undefined {
  const text = readText(path)
  return text === undefined ? undefined : parsePasswd(text)
}

/** Changes one user's line, adds it, or (`undefined`) removes it. The caller holds the lock. Mode 0600. */
export function replaceEntry(path: string, user: string, entry: PasswdEntry | undefined): void {
  const lines = (readText(path) ?? '').split('\n')
  if (lines.at(-1) === '') lines.pop()
  const kept: string[] = []
  let isDone = entry === undefined
  for (const line of lines) {
    const parsed = parsePasswdLine(line.replace(/\r$/, ''))
    const isTheirs = parsed !== undefined && 'entry' in parsed && sameUser(parsed.entry.user, user)
    if (!isTheirs) kept.push(line)
    else if (!isDone && entry !== undefined) {
      kept.push(formatPasswdLine(entry))
      isDone = true
    }
  }
  if (!isDone && entry !== undefined) kept.push(formatPasswdLine(entry))
  writeText(path, kept.map((line) => `${line}\n`).join(''))
}

/** User names are the same in whatever case they are written. */
export function sameUser(one: string, other: string): boolean {
  return one.toLowerCase() === other.toLowerCase()
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new PasswdFileError(`cannot read ${path}: ${message}`, { path, errno: code }, { cause: error })
  }
}

function writeText(path: string, text: string): void {
  const temporary = `${path}.new`
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    const file = openSync(temporary, 'w', 0o600)
    try {
      writeFileSync(file, text)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
    syncFolder(dirname(path))
  } catch (error) {
    rmSync(temporary, { force: true })
    const { code, message } = error as NodeJS.ErrnoException
    throw new PasswdFileError(`cannot write ${path}: ${message}`, { path, errno: code }, { cause: error })
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}
