/** What became of recipients: from the report of a delivery, or decided by the queue itself. */
import type { ActiveMail, ActiveRecipient } from './active.ts'
import type { DeliveryReport, RecipientResult } from './contract.ts'

/** Results that wait to be committed. */
export interface Attempt {
  readonly mail: ActiveMail
  readonly recipients: readonly ActiveRecipient[]
  /** One per recipient, in the same order. */
  readonly results: readonly RecipientResult[]
  /** `transport:nexthop`. */
  readonly site: string
  readonly connUse: number
  /** Milliseconds since the epoch; 0: never. */
  readonly startedAt: number
  readonly setupAt: number
  readonly doneAt: number
  readonly tls?: string
}

/** Results without a delivery: each recipient gets the same, `relay=none`. */
export function ownAttempt(
  mail: ActiveMail,
  recipients: readonly ActiveRecipient[],
  site: string,
  result: Pick<RecipientResult, 'status' | 'dsn' | 'reply'>,
  now: number,
): Attempt {
  return {
    mail,
    recipients,
    results: recipients.map(({ id }) => ({ id, relay: 'none', ...result })),
    site,
    connUse: 0,
    startedAt: 0,
    setupAt: 0,
    doneAt: now,
  }
}

/** The results of a report in the order of the recipients; one that the delivery forgot is tried again. */
export function reportedAttempt(
  mail: ActiveMail,
  recipients: readonly ActiveRecipient[],
  site: string,
  report: DeliveryReport,
  now: number,
): Attempt {
  const byId =
    recipients.length > 1 ? new Map(report.results.map((result) => [result.id, result])) : undefined
  const results = recipients.map(({ id }) => {
    const result = byId === undefined ? report.results[0] : byId.get(id)
    return result?.id === id ? saneResult(result) : forgotten(id)
  })
  const { connUse, startedAt, setupAt, tls } = report
  return {
    mail,
    recipients,
    results,
    site,
    connUse,
    startedAt,
    setupAt,
    doneAt: now,
    ...(tls === undefined ? {} : { tls }),
  }
}

const forgotten = (id: number): RecipientResult => ({
  id,
  status: 'deferred',
  dsn: '4.3.0',
  reply: 'the delivery ended without a result for this recipient',
  relay: 'none',
})

const classes = {
  sent: '2',
  deliverable: '2',
  deferred: '4',
  bounced: '5',
  undeliverable: undefined,
} as const

/** A status code whose class does not say what the status says is replaced by the general one. */
function saneResult(result: RecipientResult): RecipientResult {
  const expected = classes[result.status]
  return expected === undefined || result.dsn[0] === expected ? result : { ...result, dsn: `${expected}.0.0` }
}
