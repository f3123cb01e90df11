/**
 * Things in a Maildir that should not be there: folders among the mails, names without a base, two files with the
 * same one. What is a mail is kept, under a name that it can have; nothing with content is removed.
 */
import { renameSync, rmdirSync, statSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '../actors/index.ts'
import { errnoOf } from './errors.ts'
import type { Folders } from './folders.ts'
import type { StrangeEntry } from './maildir.ts'
import { mailPath, sizeInName } from './maildir-name.ts'
import type { MailFile } from './register.ts'
import { uniqueName } from './unique-name.ts'

/** Two names of one file that did not change for so long are no program's rename under way. */
const linkedMs = 30_000

/** Whether something was changed. Failures are left as they are. */
export function mendStrange(
  folders: Folders,
  folder: string,
  { name, isFolder }: StrangeEntry,
  hostname: string,
  log: Logger,
): boolean {
  const facts = { event: 'mailbox.mended', path: folder, name: printable(name) }
  const path = mailPath(folder, name)
  return attempt(() => {
    if (isFolder) {
      try {
        rmdirSync(path)
      } catch (error) {
        if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error
        renameSync(path, mailPath(folders.maildir, `extra-${name}`))
      }
      log.warn(facts, 'a folder among the mails was moved out of the way')
      return true
    }
    if (name.startsWith(':') && !/[\r\n]/.test(name)) {
      renameSync(path, join(folders.fresh, uniqueName(hostname)))
      log.warn(facts, 'a mail without a name got one')
      return true
    }
    log.warn(facts, 'a file whose name has a line end is not served')
    return false
  })
}

/** `first` in `cur/` has the same base: `second` is a leftover link, or another mail that gets a name of its own. */
export function mendDuplicate(
  folders: Folders,
  first: string,
  second: MailFile,
  hostname: string,
  log: Logger,
): boolean {
  const facts = { event: 'mailbox.mended', path: folders.of(second), name: printable(second.name) }
  const path = mailPath(folders.of(second), second.name)
  return attempt(() => {
    const a = statSync(mailPath(folders.cur, first), { throwIfNoEntry: false })
    const b = statSync(path, { throwIfNoEntry: false })
    if (a === undefined || b === undefined) return false
    if (a.ino === b.ino && a.dev === b.dev) {
      if (b.nlink < 2 || a.ctimeMs !== b.ctimeMs || Date.now() - b.ctimeMs < linkedMs) return false
      unlinkSync(path)
      log.warn(facts, 'a second name of a mail was removed')
      return true
    }
    let name = uniqueName(hostname)
    for (const key of ['S', 'W'] as const) {
      const size = sizeInName(second.name, key)
      if (size !== -1) name += `,${key}=${size}`
    }
    renameSync(path, join(folders.fresh, name))
    log.warn(facts, 'a mail with the name of another one got its own')
    return true
  })
}

function attempt(action: () => boolean): boolean {
  try {
    return action()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

const printable = (name: string): string => name.slice(0, 200).replaceAll(/[^\x20-\x7e]/g, '?')
