/**
 * Sizes in file names that are not those of the file: the mail gets a name with the right ones. It stays the same
 * mail, with its UID, its UIDL and its GUID, although its base name, which mostly says which mail it is, is another.
 */
import { errnoOf } from './errors.ts'
import type { FilesByBase } from './files-by-base.ts'
import type { Folders } from './folders.ts'
import { sizeInName } from './maildir-name.ts'
import type { StoredMail } from './page.ts'
import { addToQuota } from './quota-file.ts'
import type { Register } from './register.ts'
import { inTurns } from './turns.ts'
import { keyOf, withKey } from './uidlist.ts'

/** What two names of a mail have in common when one of them has a wrong size. */
export const withoutSizes = (base: string): string => base.replaceAll(/,[SW]=[0-9]+(?=,|$)/g, '')

/** `virtual` -1: not known, so the name does not say it either. */
function withSizes(base: string, octets: number, virtual: number): string {
  const sized = base.replace(/,S=[0-9]+(?=,|$)/, `,S=${octets}`)
  return sized.replace(/,W=[0-9]+(?=,|$)/, virtual === -1 ? '' : `,W=${virtual}`)
}

/** Keys of a mail that had `base` before: what they say by saying nothing must be said now. */
export function keysAfterRename(keys: string, base: string): string {
  if (!/^[\x21-\x7e]+$/.test(base)) return keys
  const pinned = keyOf(keys, 'P') === '' ? withKey(keys, 'P', base) : keys
  return keyOf(pinned, 'G') === undefined ? withKey(pinned, 'G', base) : pinned
}

/**
 * Renames the files of these mails. With the uid list locked from the first rename to the list that has the new
 * names; what a crash in between leaves is recognised by `renamedMails`. A failure leaves a mail as it is.
 */
export async function giveRightNames(
  mails: readonly StoredMail[],
  folders: Folders,
  register: Register,
): Promise<void> {
  await register.locked(async () => {
    await register.refresh()
    const wanted = new Map<string, StoredMail>()
    const sizes = new Map<StoredMail, number>()
    for (const { uid } of mails) {
      const mail = register.mails.find(uid)
      const octets = mail === undefined ? -1 : folders.octetsOf(mail)
      if (mail === undefined || octets === -1) continue
      const base = withSizes(mail.base, octets, mail.virtual)
      if (base !== mail.base) wanted.set(base, mail)
      sizes.set(mail, octets)
    }
    if (wanted.size === 0) return
    // A name that another mail has is not taken from it.
    await inTurns(register.mails.each(({ base }) => wanted.delete(base)))
    let added = 0
    for (const [base, { uid }] of wanted) {
      const mail = register.mails.find(uid)!
      const named = sizeInName(mail.base, 'S')
      const name = `${base}${mail.name.slice(mail.base.length)}`
      if (!rename(folders, mail, name)) continue
      register.renamed(mail, base, { name, inNew: mail.inNew })
      if (named !== -1) added += sizeInName(base, 'S') - named
    }
    register.curTime = ''
    register.newTime = ''
    await register.rewrite()
    await addToQuota(folders, added, 0)
  }, true)
}

function rename(folders: Folders, mail: StoredMail, name: string): boolean {
  const folder = folders.of(mail)
  try {
    if (folders.octetsOf({ ...mail, name }) !== -1) return false
    return folders.files.rename(folder, mail.name, folder, name)
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    return false
  }
}

/**
 * Mails that are gone under the name that is known, and are there under one that differs in its sizes: those were
 * being put right when the service stopped. Taken out of `unknown`; returns the mails that are really gone.
 */
export function renamedMails(
  gone: readonly StoredMail[],
  unknown: FilesByBase,
  folders: Folders,
  register: Register,
): StoredMail[] {
  const left = new Set(gone)
  const lost = new Map<string, StoredMail>()
  for (const mail of gone) {
    const stem = withoutSizes(mail.base)
    if (stem !== mail.base) lost.set(stem, mail)
  }
  if (lost.size === 0) return [...left]
  for (const base of unknown.bases) {
    const file = unknown.get(base)!
    const former = lost.get(withoutSizes(base))
    const octets = sizeInName(base, 'S')
    if (former === undefined || base === withoutSizes(base)) continue
    if (octets !== -1 && folders.octetsOf({ ...former, ...file }) !== octets) continue
    unknown.delete(base)
    left.delete(former)
    // Not the one that was looked at: the table forgets those.
    const mail = register.mails.find(former.uid)
    if (mail !== undefined) register.renamed(mail, base, file)
  }
  return [...left]
}
