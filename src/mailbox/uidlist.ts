/**
 * The text of `dovecot-uidlist`, which keeps the UIDs of a Maildir for us and for a Dovecot that shares it:
 *
 *     3 V<uid validity> N<next uid> G<guid> …            header; unknown keys are kept
 *     <uid> [<KEY><value> …] :<base name>                one line a mail, uids ascending
 *
 * Keys are capital letters: S size on disk, W virtual size, P POP3 UIDL (empty: the base name), O POP3 order,
 * G guid. Version 1 (`1 <validity> <next uid>`, then `<uid> <name>`) is read, never written. Lines of mails that
 * are gone may stay: they cost nothing and are dropped at the next rewrite.
 */
import { MailboxError } from './errors.ts'
import { baseOf } from './maildir-name.ts'
import { atOnce, type Steps, stepLength } from './turns.ts'

export interface UidListRecord {
  readonly uid: number
  /** Base name: without `:2,` and flags. */
  readonly base: string
  /** Keys as they stand in the line, in order, separated by one space. */
  readonly keys: string
}

export interface UidList {
  readonly version: 1 | 3
  readonly uidValidity: number
  readonly nextUid: number
  /** 32 hexadecimal digits; empty when it has none (version 1). */
  readonly guid: string
  /** Header keys we do not know, separated by one space. */
  readonly otherKeys: string
  readonly records: readonly UidListRecord[]
}

const maxUid = 0xffff_fffe

/**
 * Reads a whole list. The last line counts even without its line end only in the header.
 * @throws MailboxError `MA_MAILBOX_CORRUPT`, its message naming the line; the list is then rebuilt.
 */
export const parseUidList = (text: string): UidList => atOnce(parseInSteps(text))

/** The same, for lists that may be long. `salvage`: lines that make no sense are left out, if the header does. */
export function* parseInSteps(text: string, salvage = false): Steps<UidList> {
  // Carried here by way of another system, it may have CRs: no name has one.
  const lines = text.includes('\r') ? text.replaceAll('\r\n', '\n').split('\n') : text.split('\n')
  const header = parseHeader(lines[0] ?? '')
  const parse = header.version === 3 ? parseRecord : parseOldRecord
  const records: UidListRecord[] = []
  let last = 0
  let highest = 0
  // What follows the last LF is an append that a crash cut off: nobody has seen that UID.
  for (let i = 1; i < lines.length - 1; i++) {
    if (i % stepLength === 0) yield
    const line = lines[i]!
    // No UID that may have been given is given again.
    if (salvage) highest = Math.max(highest, uint32(/^[0-9]{1,10}(?= )/.exec(line)?.[0] ?? ''))
    try {
      const record = parse(line, i + 1)
      if (record.uid <= last) throw corrupt('uids are not in ascending order', i + 1)
      if (record.uid > maxUid) throw corrupt('uid is too large', i + 1)
      if (header.version === 1 && record.uid >= header.nextUid) {
        throw corrupt('uid is not below the next uid', i + 1)
      }
      last = record.uid
      records.push(record)
    } catch (error) {
      if (!salvage || !(error instanceof MailboxError)) throw error
    }
  }
  return {
    ...header,
    nextUid: Math.max(header.nextUid, last + 1, highest < maxUid ? highest + 1 : 0),
    records,
  }
}

/**
 * Lines that were added to a list of version 3 whose last UID was below `nextUid`; undefined: they are no such lines.
 */
export function parseAdded(text: string, nextUid: number): UidListRecord[] | undefined {
  if (!text.endsWith('\n')) return undefined
  const records: UidListRecord[] = []
  let last = nextUid - 1
  try {
    for (const line of text.slice(0, -1).split('\n')) {
      const record = parseRecord(line, 0)
      if (record.uid <= last || record.uid > maxUid) return undefined
      last = record.uid
      records.push(record)
    }
  } catch (error) {
    if (!(error instanceof MailboxError)) throw error
    return undefined
  }
  return records
}

function parseHeader(line: string): Omit<UidList, 'records'> {
  const words = line.split(' ')
  const version = words[0]
  if (version === '1') {
    const uidValidity = uint32(words[1] ?? '')
    const nextUid = uint32(words[2] ?? '')
    if (uidValidity === 0 || nextUid === 0) throw corrupt('bad version 1 header', 1)
    return { version: 1, uidValidity, nextUid, guid: '', otherKeys: '' }
  }
  if (version !== '3') throw corrupt(`unknown version '${(version ?? '').slice(0, 20)}'`, 1)
  let uidValidity = 0
  let nextUid = 0
  let guid = ''
  const other: string[] = []
  for (const word of words.slice(1)) {
    if (word === '') continue
    const value = word.slice(1)
    if (word[0] === 'V') uidValidity = uint32(value)
    else if (word[0] === 'N') nextUid = uint32(value)
    else if (word[0] === 'G' && /^[0-9a-f]{32}$/.test(value)) guid = value
    else if (word[0] !== 'G') other.push(word)
  }
  if (uidValidity === 0 || nextUid === 0) throw corrupt('header without uid validity or next uid', 1)
  return { version: 3, uidValidity, nextUid, guid, otherKeys: other.join(' ') }
}

function parseRecord(line: string, number: number): UidListRecord {
  const space = line.indexOf(' ')
  const uid = space === -1 ? 0 : uint32(line.slice(0, space))
  if (uid === 0) throw corrupt('line does not begin with a uid', number)
  // Without keys the colon follows at once, which is nearly every line.
  const colon = line[space + 1] === ':' ? space + 1 : line.indexOf(' :', space) + 1
  if (colon === 0) throw corrupt('line without a file name', number)
  const base = baseOf(line.slice(colon + 1))
  if (base === '' || base.includes('/')) throw corrupt('bad file name', number)
  let keys = ''
  if (colon > space + 1) {
    const words = line.slice(space + 1, colon - 1).split(' ')
    keys = words.filter((word) => /^[A-Z]/.test(word)).join(' ')
  }
  return { uid, base, keys }
}

function parseOldRecord(line: string, number: number): UidListRecord {
  const match = /^([0-9]+) (.+)$/.exec(line)
  const uid = match === null ? 0 : uint32(match[1]!)
  const base = match === null ? '' : baseOf(match[2]!)
  if (uid === 0 || base === '' || base.includes('/')) throw corrupt('bad line', number)
  return { uid, base, keys: '' }
}

/** 0 for anything that is no number from 1 to 2^32-1. */
function uint32(digits: string): number {
  if (!/^[0-9]{1,10}$/.test(digits)) return 0
  const value = Number(digits)
  return value <= 0xffff_ffff ? value : 0
}

function corrupt(what: string, line: number): MailboxError {
  return new MailboxError('MA_MAILBOX_CORRUPT', `dovecot-uidlist line ${line}: ${what}`, { line })
}

/** The header line with its line end. */
export function formatHeader(list: Omit<UidList, 'records' | 'version'>): string {
  const other = list.otherKeys === '' ? '' : ` ${list.otherKeys}`
  return `3 V${list.uidValidity} N${list.nextUid} G${list.guid}${other}\n`
}

/** One line with its line end. */
export function formatRecord(record: UidListRecord): string {
  return `${record.uid} ${record.keys === '' ? '' : `${record.keys} `}:${record.base}\n`
}

/** The value of one key of a record, or undefined; an empty value is ''. */
export function keyOf(keys: string, key: string): string | undefined {
  if (keys === '') return undefined
  for (const word of keys.split(' ')) if (word[0] === key) return word.slice(1)
  return undefined
}

/** `keys` without one of them. */
export function withoutKey(keys: string, key: string): string {
  if (keyOf(keys, key) === undefined) return keys
  return keys
    .split(' ')
    .filter((word) => word[0] !== key)
    .join(' ')
}

/** `keys` with one more or a changed value, which goes to the end as Dovecot has it. */
export function withKey(keys: string, key: string, value: string): string {
  const others = withoutKey(keys, key)
  return others === '' ? `${key}${value}` : `${others} ${key}${value}`
}

/** Those that stand in the list: capital letters. Others are only in our index. */
export const publicKeys = (keys: string): string =>
  /(^| )[^A-Z]/.test(keys)
    ? keys
        .split(' ')
        .filter((word) => /^[A-Z]/.test(word))
        .join(' ')
    : keys
