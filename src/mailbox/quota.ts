/** Whether one more mail fits into a mailbox. */
import type { QuotaSettings } from './config.ts'
import { MailboxError } from './errors.ts'
import { type QuotaLimits, readQuota } from './quota-file.ts'

/** Limits of one mailbox, and what its last mail may exceed them by. */
export interface DeliveryQuota {
  /** Folder of `maildirsize`; undefined: the Maildir. */
  readonly control?: string | undefined
  /** Undefined: those in its `maildirsize`, if it has one. */
  readonly limits: QuotaLimits | undefined
  readonly grace: number
  readonly ignoreNames: boolean
}

/** Limits of the user come first. None at all: what another program set counts. */
export function deliveryQuota(
  {
    quota,
    maildir,
  }: { readonly quota: QuotaSettings; readonly maildir: { readonly broken_filename_sizes: boolean } },
  { control, quota: own }: { readonly control?: string; readonly quota?: Partial<QuotaLimits> },
): DeliveryQuota {
  const octets = own?.octets ?? quota.storage_size
  const mails = own?.mails ?? quota.message_count
  const isLimited = octets !== 0 || mails !== 0
  return {
    control,
    limits: isLimited || own !== undefined ? { octets, mails } : undefined,
    grace: quota.storage_grace,
    ignoreNames: maildir.broken_filename_sizes,
  }
}

/**
 * Exactly as much as the limit is allowed. With more than that, the last mail still fits when the mailbox is not
 * full yet and the grace is enough.
 * @throws MailboxError `MA_MAILBOX_QUOTA`
 */
export async function checkQuota(maildir: string, octets: number, quota: DeliveryQuota): Promise<void> {
  const usage = await readQuota({ maildir, control: quota.control }, quota.limits, {
    ignoreNames: quota.ignoreNames,
  })
  if (usage === undefined) return
  const tooMany = usage.mails !== 0 && usage.usedMails + 1 > usage.mails
  const after = usage.usedOctets + octets
  const tooMuch =
    usage.octets !== 0 &&
    after > usage.octets &&
    (usage.usedOctets >= usage.octets || after > usage.octets + quota.grace)
  if (!tooMany && !tooMuch) return
  throw new MailboxError('MA_MAILBOX_QUOTA', 'the mailbox is full', {
    path: maildir,
    usedOctets: usage.usedOctets,
    usedMails: usage.usedMails,
    octets,
  })
}
