/** The lines of the log that follow a mail: one per recipient and attempt, and one at its end. */
import type { Logger } from '../actors/index.ts'
import { deliveryDelays } from './delays.ts'
import type { Notice } from './notices/compose.ts'
import type { JudgedAttempt } from './results.ts'

export interface LogOptions {
  /** Of the delays. */
  readonly decimals: number
  /** Whether the address before rewriting is named. */
  readonly namesOriginals: boolean
}

/** `delivery`, once per recipient. Recipients that were done by the same event share their times. */
export function logDeliveries(
  log: Logger,
  { attempt, statuses }: JudgedAttempt,
  { decimals, namesOriginals }: LogOptions,
): void {
  if (!log.isLevelEnabled('info')) return
  const { mail, recipients, results, site, connUse, startedAt, setupAt, doneAt, tls } = attempt
  const { queueId, arrivedAt } = mail.stored
  const { activeAt } = mail
  for (let index = 0; index < recipients.length; index++) {
    const { address, origTo } = recipients[index]!
    const result = results[index]!
    const { relay, dsn, reply } = result
    const own = result.times ?? { setupAt, doneAt, connUse, ...(tls === undefined ? {} : { tls }) }
    const stamps = { arrivedAt, activeAt, startedAt, setupAt: own.setupAt, doneAt: own.doneAt }
    const original = namesOriginals && origTo !== undefined && origTo.toLowerCase() !== address.toLowerCase()
    log.info(
      {
        event: 'delivery',
        queueId,
        to: address,
        ...(original ? { origTo } : {}),
        transport: site.split(':', 1)[0],
        relay,
        ...deliveryDelays(stamps, decimals),
        dsn,
        status:
          result.softBounced === true && statuses[index] === 'deferred' ? 'SOFTBOUNCE' : statuses[index],
        reply,
        ...(own.connUse > 1 ? { connUse: own.connUse } : {}),
        ...(own.tls === undefined ? {} : { tls: own.tls }),
      },
      'delivery',
    )
  }
}

/** `mail.accepted` for a notice, as for any mail, and `notice.queued`, which says what it is about. */
export function logNotice(
  log: Logger,
  queueId: string,
  { kind, mail }: Pick<Notice, 'mail'> & { readonly kind: Notice['kind'] | 'transcript' },
): void {
  const { envelope, content } = mail
  const to = envelope.recipients[0]?.address
  const octets = 'bytes' in content ? content.bytes.length : content.size
  log.info(
    {
      event: 'mail.accepted',
      queueId: mail.queueId,
      from: envelope.sender,
      recipients: [to],
      octets,
      client: 'local',
    },
    'mail accepted',
  )
  log.info({ event: 'notice.queued', queueId, noticeId: mail.queueId, kind, to }, 'notice queued')
}

/** `mail.removed`: the last recipient is done. */
export function logRemoved(log: Logger, queueId: string): void {
  log.info({ event: 'mail.removed', queueId }, 'mail removed from the queue')
}
