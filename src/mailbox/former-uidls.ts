/**
 * UIDLs that clients have from a server before us, by base name of the mail:
 *
 * - Courier: `courierpop3dsizelist`, `/3 <next> <validity>`, then `<file> <octets> <n>:<validity>[:<utf8>]` a line.
 *   The UIDL is `UIDn-validity`, or the file name for mails from before its version 2 (`n` 0).
 * - Header fields of mails that came from an mbox: `X-UID`, and `X-IMAPbase` or `X-IMAP` with the validity.
 */
import { closeSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf, MailboxError } from './errors.ts'
import { headerOf } from './line-ends.ts'
import { mailNames } from './maildir.ts'
import { baseOf, mailPath } from './maildir-name.ts'
import { openToRead, readText } from './open-file.ts'

export type FormerUidls = ReadonlyMap<string, string>

/** Undefined: Courier's POP3 server has never served it. @throws MailboxError, file system errors */
export function courierUidls(maildir: string): FormerUidls | undefined {
  let text: string
  try {
    text = readText(join(maildir, 'courierpop3dsizelist'))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
  const [head = '', ...lines] = text.split('\n')
  if (!/^\/[23] [0-9]+/.test(head)) {
    throw new MailboxError('MA_MAILBOX_CORRUPT', 'courierpop3dsizelist is of no version that is known', {
      path: maildir,
    })
  }
  const uidls = new Map<string, string>()
  for (const line of lines) {
    const match = /^(.+) [0-9]+ ([0-9]+):([0-9]+)(?::[0-9]+)?$/.exec(line)
    if (match === null) continue
    const [, file = '', number = '', validity = ''] = match
    const base = baseOf(file)
    if (number === '0') uidls.set(base, base.replace(/[^\x21-\x7e]|['"+]/g, escaped))
    else uidls.set(base, validity === '0' ? `UID${number}` : `UID${number}-${validity}`)
  }
  return uidls
}

const escaped = (octet: string): string =>
  `+${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`

/** What a mail was in its mbox. */
export interface MboxIdentity {
  readonly uid: number
  readonly uidValidity: number
}

/** No header is read further. */
const headerOctets = 64 * 1024

/** By base name; empty when no mail has the fields. */
export async function mboxIdentities(maildir: string): Promise<ReadonlyMap<string, MboxIdentity>> {
  const uids = new Map<string, number>()
  let uidValidity = 0
  const buffer = Buffer.alloc(headerOctets)
  for (const folder of ['cur', 'new']) {
    const path = join(maildir, folder)
    for (const name of (await mailNames(path)).names) {
      const header = readHeader(mailPath(path, name), buffer)
      const uid = /^X-UID:[ \t]*([0-9]{1,10})[ \t]*\r?$/im.exec(header)
      if (uid !== null) uids.set(baseOf(name), Number(uid[1]))
      const base = /^X-IMAP(?:base)?:[ \t]*([0-9]{1,10})[ \t]/im.exec(header)
      if (base !== null) uidValidity = Number(base[1])
    }
  }
  if (uidValidity === 0) return new Map()
  return new Map([...uids].map(([base, uid]) => [base, { uid, uidValidity }]))
}

function readHeader(path: string | Buffer, buffer: Buffer): string {
  let fd: number
  try {
    fd = openToRead(path)
  } catch (error) {
    // Moved or removed meanwhile.
    if (errnoOf(error) === 'ENOENT') return ''
    throw error
  }
  try {
    return headerOf(buffer.toString('latin1', 0, readSync(fd, buffer, 0, buffer.length, 0)))
  } finally {
    closeSync(fd)
  }
}
