/** Looks at a Maildir and its files without changing anything: for the commands of operators. */
import { closeSync, fstatSync, readSync } from 'node:fs'
import { errnoOf, MailboxError } from './errors.ts'
import { Folders } from './folders.ts'
import type { StoredIndex } from './index-store.ts'
import { readKeywords } from './keywords.ts'
import { countBareLf } from './line-ends.ts'
import { MailTable } from './mail-table.ts'
import { mailNames } from './maildir.ts'
import { baseOf, flagsOf, mailPath, sizeInName } from './maildir-name.ts'
import { openToRead } from './open-file.ts'
import type { MailboxPlace } from './place.ts'
import type { QuotaUsage } from './quota-file.ts'
import { readQuotaFile } from './quota-file.ts'
import { atOnce } from './turns.ts'
import { type ReadUidList, readUidList } from './uidlist-file.ts'

export interface MaildirReport {
  readonly mails: number
  /** Of these, still in `new/`. */
  readonly fresh: number
  /** Octets, as far as names and the uid list say them. */
  readonly octets: number
  /** Mails whose size nobody knows: the next session reads them. */
  readonly unsized: number
  /** Mails that have no UID yet: the next session gives them one. */
  readonly unlisted: number
  readonly uidValidity: number | null
  readonly nextUid: number | null
  readonly keywords: readonly string[]
  readonly quota: QuotaUsage | null
  /** What is wrong, one sentence each. */
  readonly problems: readonly string[]
}

export interface InspectOptions {
  /** What the index has; null: nothing. Undefined: not compared. */
  readonly index?: StoredIndex | null
  /** Read every mail and compare its size with what names and list say. */
  readonly readMails?: boolean
}

/** @throws the file system's errors: a Maildir that is not there, or cannot be read. */
export async function inspectMaildir(
  place: MailboxPlace,
  options: InspectOptions = {},
): Promise<MaildirReport> {
  const folders = new Folders(place)
  const problems: string[] = []
  const fresh = await mailNames(folders.fresh)
  const known = await mailNames(folders.cur)
  for (const { name, isFolder } of [...fresh.strange, ...known.strange]) {
    problems.push(
      isFolder ? `a folder among the mails: ${printable(name)}` : `not a mail name: ${printable(name)}`,
    )
  }
  const files = new Map<string, { name: string; inNew: boolean }>()
  for (const name of fresh.names) files.set(baseOf(name), { name, inNew: true })
  for (const name of known.names) {
    const before = files.get(baseOf(name))
    if (before !== undefined && !before.inNew) problems.push(`two files with one name: ${printable(name)}`)
    files.set(baseOf(name), { name, inNew: false })
  }
  const list = readList(folders.lists, problems)
  const sizes = new Map<string, number>()
  for (const { base, keys } of list?.records ?? []) {
    const size = /(?:^| )W([0-9]{1,15})(?: |$)/.exec(keys)
    if (size !== null) sizes.set(base, Number(size[1]))
  }
  const listed = new Set((list?.records ?? []).map(({ base }) => base))
  const keywords = readKeywords(folders.lists)
  const letters = new Set<string>()
  let octets = 0
  let unsized = 0
  let unlisted = 0
  for (const [base, { name, inNew }] of files) {
    const named = sizeInName(base, 'W')
    const size = named === -1 ? (sizes.get(base) ?? -1) : named
    if (size === -1) unsized++
    else octets += size
    if (!listed.has(base)) unlisted++
    for (const letter of flagsOf(name)) if (letter >= 'a' && letter <= 'z') letters.add(letter)
    if (options.readMails === true)
      problems.push(...sizeProblems(inNew ? folders.fresh : folders.cur, name, size))
  }
  for (const letter of [...letters].sort()) {
    if (keywords[letter.charCodeAt(0) - 97] === undefined)
      problems.push(`keyword ${letter} has no name in dovecot-keywords`)
  }
  if (options.index !== undefined && options.index !== null) {
    problems.push(...indexProblems(options.index, list))
  }
  return {
    mails: files.size,
    fresh: [...files.values()].filter(({ inNew }) => inNew).length,
    octets,
    unsized,
    unlisted,
    uidValidity: list?.uidValidity ?? null,
    nextUid: list?.nextUid ?? null,
    keywords: keywords.filter((name) => name !== undefined),
    quota: readQuotaFile(folders) ?? null,
    problems,
  }
}

type List = ReadUidList['list']

function readList(control: string, problems: string[]): List | undefined {
  try {
    const read = atOnce(readUidList(control))
    if (read === undefined) problems.push('there is no dovecot-uidlist: UIDs will be new ones')
    return read?.list
  } catch (error) {
    if (!(error instanceof MailboxError)) throw error
    problems.push(error.message)
    return undefined
  }
}

/** The index follows the list; a UID that differs is one that clients would not know. */
function indexProblems(index: StoredIndex, list: List | undefined): string[] {
  const table = new MailTable()
  if (!table.load(index.pages)) return ['the index is damaged; mailbox rebuild makes it anew']
  if (list === undefined) return []
  let uidValidity = 0
  try {
    uidValidity = Number((JSON.parse(index.state) as { uidValidity?: unknown }).uidValidity)
  } catch {
    return ['the index is damaged; mailbox rebuild makes it anew']
  }
  if (uidValidity !== list.uidValidity) return ['the index is of another uid validity than dovecot-uidlist']
  const uids = new Map(list.records.map(({ base, uid }) => [base, uid]))
  let differ = 0
  for (const mail of table.mails()) if ((uids.get(mail.base) ?? mail.uid) !== mail.uid) differ++
  return differ === 0 ? [] : [`${differ} mails have another UID in the index than in dovecot-uidlist`]
}

function sizeProblems(folder: string, name: string, virtual: number): string[] {
  const found = sizesOf(mailPath(folder, name))
  if (found === undefined) return []
  const problems: string[] = []
  const named = sizeInName(name, 'S')
  if (named !== -1 && named !== found.physical) {
    problems.push(`${printable(name)}: S=${named}, but it has ${found.physical} octets`)
  }
  if (virtual !== -1 && virtual !== found.virtual) {
    problems.push(`${printable(name)}: W=${virtual}, but it has ${found.virtual} octets with CRLF`)
  }
  return problems
}

const pieceOctets = 256 * 1024

function sizesOf(path: string | Buffer): { readonly physical: number; readonly virtual: number } | undefined {
  let fd: number
  try {
    fd = openToRead(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const buffer = Buffer.allocUnsafe(Math.max(1, Math.min(pieceOctets, fstatSync(fd).size)))
    let physical = 0
    let extra = 0
    let last = 0
    for (let count = -1; count !== 0; physical += count) {
      count = readSync(fd, buffer, 0, buffer.length, physical)
      extra += countBareLf(buffer.subarray(0, count), last)
      last = count > 0 ? buffer[count - 1]! : last
    }
    return { physical, virtual: physical + extra }
  } finally {
    closeSync(fd)
  }
}

const printable = (name: string): string => name.slice(0, 200).replaceAll(/[^\x20-\x7e]/g, '?')
