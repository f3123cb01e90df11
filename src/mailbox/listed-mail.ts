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
  // The size has a place of its own. Only among others it is kept, to be written where it stood.
  const others = withoutKey(keys, 'W')
  mail.keys = [...(others === '' ? [] : [keys]), ...own].join(' ')
}

/** The line of a mail. A size that its name has is not repeated. */
export function recordOf(mail: StoredMail): UidListRecord {
  let keys = publicKeys(mail.keys)
  if (mail.virtual === -1 || mail.virtual === sizeInName(mail.base, 'W')) keys = withoutKey(keys, 'W')
  else if (keyOf(keys, 'W') !== String(mail.virtual)) keys = withKey(keys, 'W', String(mail.virtual))
  return { uid: mail.uid, base: mail.base, keys }
}
