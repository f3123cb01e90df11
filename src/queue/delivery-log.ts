/** The lines of the log that follow a mail: one per recipient and attempt, and one at its end. */
import type { Logger } from '../actors/index.ts'
import { deliveryDelays } from './delays.ts'
import type { JudgedAttempt, MailChange } from './results.ts'

/** `delivery`, once per recipient. Recipients of one delivery share their times. */
export function logDeliveries(log: Logger, { attempt, statuses }: JudgedAttempt): void {
  if (!log.isLevelEnabled('info')) return
  const { mail, recipients, results, connUse, startedAt, setupAt, doneAt, tls } = attempt
  const { queueId, arrivedAt } = mail.stored
  const times = deliveryDelays({ arrivedAt, activeAt: mail.activeAt, startedAt, setupAt, doneAt })
  for (let index = 0; index < recipients.length; index++) {
    const { address, origTo } = recipients[index]!
    const { relay, dsn, reply } = results[index]!
    const original = origTo !== undefined && origTo.toLowerCase() !== address.toLowerCase()
    log.info(
      {
        event: 'delivery',
        queueId,
        to: address,
        ...(original ? { origTo } : {}),
        relay,
        ...times,
        dsn,
        status: statuses[index],
        reply,
        ...(connUse > 1 ? { connUse } : {}),
        ...(tls === undefined ? {} : { tls }),
      },
      'delivery',
    )
  }
}

/** `notice.queued` for each notice, and `mail.removed` when the mail is gone. */
export function logChange(log: Logger, { mail, notices, end }: MailChange): void {
  const { queueId } = mail.stored
  for (const { notice } of notices) {
    log.info(
      {
        event: 'notice.queued',
        queueId,
        noticeId: notice.mail.queueId,
        kind: notice.kind,
        to: notice.mail.envelope.recipients[0]?.address,
      },
      'notice queued',
    )
  }
  if (end === 'removed') log.info({ event: 'mail.removed', queueId }, 'mail removed from the queue')
}
