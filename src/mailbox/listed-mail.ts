/** A mail and its line in the uid list. */
import { sizeInName } from './maildir-name.ts'
import type { StoredMail } from './page.ts'
import type { MailFile } from './register.ts'
import { keyOf, publicKeys, type UidListRecord, withKey, withoutKey } from './uidlist.ts'

export function* newMails(records: readonly UidListRecord[]): Generator<StoredMail, void, void> {
  for (const { uid, base, keys } of records) yield newMail(uid, base, keys)
}

/** A mail that has just got its UID, its size as far as the name or the list says it. */
export function newMail(
  uid: number,
  base: string,
  keys: string,
  { name, inNew }: MailFile = { name: base, inNew: false },
): StoredMail {
  const mail = { uid, base, name, inNew, virtual: sizeInName(base, 'W'), keys: '' }
  if (keys !== '') fromKeys(mail, keys)
  return mail
}

/** Takes the keys of a list line; what is known only here stays. */
export function fromKeys(mail: StoredMail, keys: string): void {
  const own = mail.keys.split(' ').filter((word) => /^[a-z]/.test(word))
  const size = keyOf(keys, 'W')
  // Beside a size in the name it is there because that one is wrong. What was learned since is not in the list yet.
  const isLearned = mail.virtual !== -1 && mail.virtual !== sizeInName(mail.base, 'W')
  if (!isLearned && size !== undefined && /^[0-9]{1,15}$/.test(size)) mail.virtual = Number(size)
  // The size has a place of its own. Among others, or beside the same one in the name, it is kept as it stood.
  const isAlone = withoutKey(keys, 'W') === '' && size !== `${sizeInName(mail.base, 'W')}`
  mail.keys = [...(isAlone ? [] : [keys]), ...own].join(' ')
}

/** The keys of a mail with its size among them, unless its name says it. */
export function keysWithSize({ keys, base, virtual }: StoredMail): string {
  if (keyOf(keys, 'W') === String(virtual)) return keys
  const isNamed = virtual === -1 || virtual === sizeInName(base, 'W')
  return isNamed ? withoutKey(keys, 'W') : withKey(keys, 'W', String(virtual))
}

/** The line of a mail. */
export const recordOf = (mail: StoredMail): UidListRecord => ({
  uid: mail.uid,
  base: mail.base,
  keys: publicKeys(keysWithSize(mail)),
})
