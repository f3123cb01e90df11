/** UIDLs that clients saw before, and those they will see: what `mailbox import` compares and keeps. */
import type { Account } from '../../auth/contract.ts'
import type { Config } from '../../config/settings.ts'
import { baseOf } from '../../mailbox/contract.ts'
import { MailboxError } from '../../mailbox/errors.ts'
import { courierUidls, type FormerUidls, mboxIdentities } from '../../mailbox/former-uidls.ts'
import type { Mailbox } from '../../mailbox/mailbox.ts'
import { uidBytes } from '../../mailbox/snapshot.ts'
import { MailList } from '../../protocols/pop3/mail-list.ts'
import { MailScan, noFindings } from '../../protocols/pop3/mail-scan.ts'
import { Maildrop, type MaildropOptions } from '../../protocols/pop3/maildrop.ts'
import { compileUidlFormat } from '../../protocols/pop3/uidl-format.ts'

export const formerServers = ['dovecot', 'courier', 'mbox'] as const
export type FormerServer = (typeof formerServers)[number]

/** How the former server made UIDLs. */
export interface Former {
  readonly server: FormerServer
  readonly uidlFormat: string
  readonly reuseXuidl: boolean
  readonly renameDuplicates: boolean
}

/** One mailbox with its mails as POP3 shows them. */
export interface Drop {
  readonly maildrop: Maildrop
  readonly bases: readonly string[]
}

/** @throws MailboxError */
export async function openDrop(mailbox: Mailbox, account: Account, options: MaildropOptions): Promise<Drop> {
  const snapshot = await mailbox.open({ keepNew: true, deletedFlag: '' })
  const list = new MailList({ ...snapshot, pages: [] })
  while (!list.isComplete) list.addPages(mailbox.pages(snapshot.generation, list.pageCount, true) ?? [])
  const names = Array.from({ length: list.count }, (_, i) => baseOf(list.file(i)!.name))
  const maildrop = new Maildrop(list, options)
  if (options.reuse_xuidl) readXuidls(maildrop, account)
  return { maildrop, bases: names }
}

function readXuidls(maildrop: Maildrop, { maildir }: Account): void {
  // Sizes do not matter here, so none is read for.
  maildrop.sizes.fill(0)
  const scan = new MailScan(maildrop, { maildir, fast: true, buffer: Buffer.alloc(64 * 1024) }, noFindings())
  for (let progress = scan.work(); progress !== 'done'; progress = scan.work()) {
    if (progress === 'more') continue
    throw new MailboxError('MA_MAILBOX_IO', 'a mail cannot be read, or vanished meanwhile', { path: maildir })
  }
}

/** UIDLs by base name. */
export function uidlsOf({ maildrop, bases }: Drop): Map<string, string> {
  return new Map(bases.map((base, i) => [base, maildrop.uidl(i)!]))
}

/** What the former server told clients, for mails it knew; undefined: it has left nothing. */
export async function formerUidls(
  mailbox: Mailbox,
  account: Account,
  former: Former,
): Promise<FormerUidls | undefined> {
  const options: MaildropOptions = {
    uidl_format: former.uidlFormat,
    uidl_duplicates: former.renameDuplicates ? 'rename' : 'allow',
    no_flag_updates: true,
    reuse_xuidl: former.reuseXuidl,
    save_uidl: false,
  }
  if (former.server === 'courier') return courierUidls(account.maildir)
  if (former.server === 'dovecot') return uidlsOf(await openDrop(mailbox, account, options))
  const identities = await mboxIdentities(account.maildir)
  const xuidls = former.reuseXuidl ? xuidlsOf(await openDrop(mailbox, account, options)) : new Map()
  if (identities.size === 0 && xuidls.size === 0) return undefined
  const format = compileUidlFormat(former.uidlFormat)
  const made = [...identities].map(
    ([base, identity]) => [base, format({ ...identity, fileName: base, guid: base })] as const,
  )
  return new Map([...made, ...xuidls])
}

const xuidlsOf = ({ maildrop, bases }: Drop): Map<string, string> =>
  new Map(bases.flatMap((base, i) => (maildrop.xuidl(i) === '' ? [] : [[base, maildrop.xuidl(i)] as const])))

export interface Comparison {
  readonly messages: number
  /** Mails that the former server knew and that would be shown with another UIDL, by UID. */
  readonly changed: readonly { readonly uid: number; readonly before: string; readonly now: string }[]
}

export function compareUidls(now: Drop, before: FormerUidls): Comparison {
  const changed = now.bases.flatMap((base, i) => {
    const former = before.get(base)
    const shown = now.maildrop.uidl(i)!
    return former === undefined || former === shown
      ? []
      : [{ uid: now.maildrop.uid(i), before: former, now: shown }]
  })
  return { messages: now.bases.length, changed }
}

/** Has the mailbox keep the former UIDLs for good. @throws MailboxError */
export async function keepUidls(mailbox: Mailbox, { changed }: Comparison): Promise<void> {
  const { uidValidity } = await mailbox.open({ keepNew: true, deletedFlag: '' })
  const uidls = {
    uids: uidBytes(changed.map(({ uid }) => uid)),
    values: changed.map(({ before }) => `${before}\n`).join(''),
  }
  await mailbox.update({ uidValidity, uidls })
  if (!mailbox.listIsBehind) return
  throw new MailboxError('MA_MAILBOX_IO', 'the uid list is locked by another program, or cannot be written')
}

export const maildropOptions = (config: Config): MaildropOptions => config.pop3
