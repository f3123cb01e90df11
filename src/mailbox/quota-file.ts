/**
 * `maildirsize` of Maildir++: how much mail a user has, all folders together, kept by everybody who delivers or
 * removes.
 *
 *     <octets>S,<mails>C          limits; 0S: none
 *     <octets> <mails>            the sum when the file was written
 *     <octets> <mails>            what came (or went, negative) since, one line each
 *
 * Lines are added without a lock. When the file makes no sense any more, is long, or says that a mailbox is full and
 * is not quite new, everything is counted again.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdir,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { errnoOf } from './errors.ts'
import { mailPath, sizeInName } from './maildir-name.ts'
import { openRegular, openToRead, readText } from './open-file.ts'
import { inheritFrom } from './ownership.ts'
import type { MailboxPlace } from './place.ts'
import { uniqueName } from './unique-name.ts'

/** 0: no limit. */
export interface QuotaLimits {
  readonly octets: number
  readonly mails: number
}

export interface QuotaUsage extends QuotaLimits {
  readonly usedOctets: number
  readonly usedMails: number
}

export interface CountOptions {
  /** Ask the disk instead of believing the sizes in names. */
  readonly ignoreNames?: boolean
}

const readdirAsync = promisify(readdir)
const fileName = 'maildirsize'
/** Longer files are written anew, as all programs of Maildir++ do. */
const maxOctets = 5120
/** A full mailbox is counted again when the file is older. */
const staleMs = 15 * 60_000

const pathOf = ({ maildir, control = maildir }: MailboxPlace): string => join(control, fileName)

/** Whether somebody counts there. */
export const hasQuotaFile = (place: MailboxPlace): boolean =>
  statSync(pathOf(place), { throwIfNoEntry: false }) !== undefined

/**
 * What is used. `limits` undefined: those of the file count. Undefined: nobody counts, and there is no limit.
 * @throws the file system's errors
 */
export async function readQuota(
  place: MailboxPlace,
  limits: QuotaLimits | undefined,
  options: CountOptions = {},
): Promise<QuotaUsage | undefined> {
  const file = readFile(place)
  if (file === undefined) {
    if (limits === undefined || (limits.octets === 0 && limits.mails === 0)) return undefined
    return recount(place, limits, options)
  }
  const wanted = limits ?? file.limits
  if (file.isSound && sameLimits(wanted, file.limits) && !(isOver(file, wanted) && file.isDoubtful)) {
    return { ...wanted, usedOctets: file.octets, usedMails: file.mails }
  }
  return recount(place, wanted, options)
}

/** What the file says, whether or not that is believed; undefined: it is not there. */
export function readQuotaFile(place: MailboxPlace): QuotaUsage | undefined {
  const file = readFile(place)
  return file && { ...file.limits, usedOctets: file.octets, usedMails: file.mails }
}

/** Adds what came, or went; where nobody counts nothing happens. A file that makes no sense is made anew. */
export async function addToQuota(
  place: MailboxPlace,
  octets: number,
  mails: number,
  options: CountOptions = {},
): Promise<void> {
  if (octets === 0 && mails === 0) return
  const file = readFile(place)
  if (file === undefined) return
  if (!file.isSound) {
    await recount(place, file.limits, options)
    return
  }
  let fd: number
  try {
    // Not created: it is being made anew if it is gone now.
    fd = openRegular(pathOf(place), constants.O_WRONLY | constants.O_APPEND).fd
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return
    throw error
  }
  try {
    writeSync(fd, `${octets} ${mails}\n`)
  } finally {
    closeSync(fd)
  }
}

interface QuotaFile {
  readonly isSound: boolean
  /** More than the first sum, or not new: what it says of a full mailbox is not believed. */
  readonly isDoubtful: boolean
  readonly limits: QuotaLimits
  readonly octets: number
  readonly mails: number
}

function readFile(place: MailboxPlace): QuotaFile | undefined {
  let text: string
  let changedAt: number
  let size: number
  try {
    const fd = openToRead(pathOf(place))
    try {
      const stat = fstatSync(fd)
      changedAt = stat.mtimeMs
      size = stat.size
      text = size > maxOctets ? '' : readFileSync(fd, 'latin1')
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  const [first = '', ...lines] = text.split('\n')
  const limits = parseLimits(size > maxOctets ? firstLine(place) : first)
  let octets = 0
  let mails = 0
  let isSound = text.endsWith('\n') && lines.length > 1 && limits !== undefined
  for (const line of lines.slice(0, -1)) {
    const match = /^\s*(-?[0-9]{1,15})\s+(-?[0-9]{1,15})\s*$/.exec(line)
    if (match === null) isSound = false
    octets += Number(match?.[1] ?? 0)
    mails += Number(match?.[2] ?? 0)
  }
  if (octets < 0 || mails < 0) isSound = false
  const isDoubtful = lines.length > 2 || Math.abs(Date.now() - changedAt) > staleMs
  return { isSound, isDoubtful, limits: limits ?? { octets: 0, mails: 0 }, octets, mails }
}

function firstLine(place: MailboxPlace): string {
  return readText(pathOf(place)).split('\n', 1)[0]!
}

/** `1048576S,100C`; undefined: not that. Kinds of limits that we do not know are passed over. */
function parseLimits(line: string): QuotaLimits | undefined {
  let octets = 0
  let mails = 0
  for (const part of line.split(',')) {
    const match = /^([0-9]{1,15})([A-Z])$/.exec(part)
    if (match === null) return undefined
    if (match[2] === 'S') octets = Number(match[1])
    if (match[2] === 'C') mails = Number(match[1])
  }
  return { octets, mails }
}

const formatLimits = ({ octets, mails }: QuotaLimits): string =>
  mails === 0 ? `${octets}S` : octets === 0 ? `${mails}C` : `${octets}S,${mails}C`

const sameLimits = (a: QuotaLimits, b: QuotaLimits): boolean => a.octets === b.octets && a.mails === b.mails

const isOver = (file: QuotaFile, limits: QuotaLimits): boolean =>
  (limits.octets !== 0 && file.octets > limits.octets) || (limits.mails !== 0 && file.mails > limits.mails)

/** Counts everything and writes the file, unless somebody changed a folder meanwhile: then it is left to the next one. */
async function recount(
  place: MailboxPlace,
  limits: QuotaLimits,
  { ignoreNames = false }: CountOptions,
): Promise<QuotaUsage> {
  const { maildir, control = maildir } = place
  const folders = await allFolders(maildir)
  const before = latestChange(folders)
  let usedOctets = 0
  let usedMails = 0
  for (const folder of folders) {
    for (const name of await namesIn(folder)) {
      if (name.startsWith('.')) continue
      const named = ignoreNames ? -1 : sizeInName(name, 'S')
      const size = named === -1 ? sizeOf(folder, name) : named
      if (size === -1) continue
      usedOctets += size
      usedMails++
    }
  }
  const path = pathOf(place)
  if (latestChange(folders) === before) {
    const temporary = join(control === maildir ? join(maildir, 'tmp') : control, uniqueName(fileName))
    const fd = openSync(temporary, 'wx', 0o600)
    try {
      inheritFrom(control, fd)
      writeSync(fd, `${formatLimits(limits)}\n${usedOctets} ${usedMails}\n`)
    } finally {
      closeSync(fd)
    }
    renameSync(temporary, path)
  } else {
    try {
      unlinkSync(path)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error
    }
  }
  return { ...limits, usedOctets, usedMails }
}

/** `cur/` and `new/` of the Maildir and of its folders, which are `.Name` beside them. */
async function allFolders(maildir: string): Promise<string[]> {
  const entries = await readdirAsync(maildir, { withFileTypes: true })
  const roots = entries.filter(
    (entry) => entry.isDirectory() && /^\.[^.]/.test(entry.name) && entry.name !== '.nfs',
  )
  return [maildir, ...roots.map(({ name }) => join(maildir, name))].flatMap((root) => [
    join(root, 'new'),
    join(root, 'cur'),
  ])
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdirAsync(folder, { encoding: 'latin1' })
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return []
    throw error
  }
}

function sizeOf(folder: string, name: string): number {
  const stat = statSync(mailPath(folder, name), { throwIfNoEntry: false })
  return stat?.isFile() === true ? stat.size : -1
}

const latestChange = (folders: readonly string[]): string =>
  folders.map((folder) => statSync(folder, { throwIfNoEntry: false, bigint: true })?.mtimeNs ?? 0n).join(' ')
