/**
 * `dovecot-keywords`: which keyword each of the flag letters `a` to `z` stands for, one line each:
 *
 *     <0 to 25> <name>
 *
 * Written by whoever holds the lock of the uid list, by way of `dovecot-keywords.lock`. More than 26 keywords do
 * not fit into file names; further ones are kept in our index only.
 */
import { closeSync, fsyncSync, openSync, renameSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, MailboxError } from './errors.ts'
import { readText } from './open-file.ts'
import { inheritFrom } from './ownership.ts'

/** Names by number; holes where a number is free. */
export type Keywords = readonly (string | undefined)[]

const letters = 26
/** Age at which the lock file counts as left behind: it is made with the uid list locked, and lasts for a few lines. */
const lockStaleMs = 10_000

const pathOf = (folder: string): string => join(folder, 'dovecot-keywords')

/** Lines that make no sense are skipped: their letters stay on the files and mean nothing. */
export function readKeywords(folder: string): Keywords {
  let text: string
  try {
    text = readText(pathOf(folder))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
  const names: (string | undefined)[] = []
  for (const line of text.split('\n')) {
    const match = /^([0-9]{1,2}) (\S+)\r?$/.exec(line)
    if (match !== null && Number(match[1]) < letters) names[Number(match[1])] = match[2]
  }
  return names
}

/** The letter of a keyword, whose case does not matter; undefined: it has none. */
export function letterOf(keywords: Keywords, name: string): string | undefined {
  const wanted = name.toLowerCase()
  const number = keywords.findIndex((one) => one?.toLowerCase() === wanted)
  return number === -1 ? undefined : String.fromCharCode(97 + number)
}

/**
 * The letter of a keyword, which is added if it is new; undefined: all letters are taken. Call it with the uid list
 * locked.
 * @throws the file system's errors; MailboxError when another program keeps the lock of the file.
 */
export function addKeyword(folder: string, name: string): string | undefined {
  const keywords = [...readKeywords(folder)]
  const known = letterOf(keywords, name)
  if (known !== undefined) return known
  let number = 0
  while (keywords[number] !== undefined) number++
  if (number >= letters) return undefined
  keywords[number] = name
  writeKeywords(folder, keywords)
  return String.fromCharCode(97 + number)
}

/** Those of the letters that have no name. */
export const unnamedLetters = (keywords: Keywords, used: Iterable<string>): string[] =>
  [...used].filter((letter) => keywords[numberOf(letter)] === undefined)

/**
 * Gives letters that files have names of their own, the same as Dovecot's, so that no keyword that is added later gets
 * them and is on these mails all at once. Call it with the uid list locked.
 * @throws as `addKeyword`
 */
export function nameLetters(folder: string, used: Iterable<string>): void {
  const keywords = [...readKeywords(folder)]
  const unnamed = unnamedLetters(keywords, used)
  if (unnamed.length === 0) return
  for (const letter of unnamed) keywords[numberOf(letter)] = `unknown-${numberOf(letter)}`
  writeKeywords(folder, keywords)
}

const numberOf = (letter: string): number => letter.charCodeAt(0) - 97

function writeKeywords(folder: string, keywords: Keywords): void {
  const lock = `${pathOf(folder)}.lock`
  const fd = openLock(folder, lock)
  try {
    let text = ''
    keywords.forEach((one, i) => {
      if (one !== undefined) text += `${i} ${one}\n`
    })
    writeSync(fd, text, null, 'latin1')
    fsyncSync(fd)
  } catch (error) {
    unlinkSync(lock)
    throw error
  } finally {
    closeSync(fd)
  }
  renameSync(lock, pathOf(folder))
}

/** The lock is the new file. It lasts for as long as a few lines take to write. */
function openLock(folder: string, lock: string): number {
  for (let attempt = 0; ; attempt++) {
    try {
      const fd = openSync(lock, 'wx', 0o600)
      inheritFrom(folder, fd)
      return fd
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error
    }
    const stat = statSync(lock, { throwIfNoEntry: false })
    if (stat === undefined) continue
    if (attempt > 0 || Date.now() - stat.ctimeMs < lockStaleMs) {
      throw new MailboxError('MA_MAILBOX_IO', 'another program keeps dovecot-keywords.lock', {
        path: folder,
      })
    }
    unlinkSync(lock)
  }
}
