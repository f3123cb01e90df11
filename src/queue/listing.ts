/** What `queue list` and `queue show` see. */
import type { ActiveSet } from './active.ts'
import type { ListedRecipient, QueueListing } from './contract.ts'
import type { Outcome, QueueStore, StoredMail, StoredRecipient } from './store.ts'

/** Recipients in one answer: bounds what crosses the thread. A single mail with more is listed alone. */
const recipientsPerPage = 5_000

export interface ListingSources {
  readonly store: QueueStore
  readonly active: ActiveSet
  /** `transport:nexthop` of an address that was not tried yet. */
  destination(address: string): string
}

/** A page in order of arrival. May be shorter than `limit` with more to come; an empty one is the end. */
export function listPage(after: string, limit: number, sources: ListingSources): readonly QueueListing[] {
  const page: QueueListing[] = []
  let recipients = 0
  for (const mail of sources.store.mailsAfter(after, Math.max(1, Math.min(limit, 1000)))) {
    const listing = listMail(mail, sources)
    recipients += listing.recipients.length
    if (recipients > recipientsPerPage && page.length > 0) break
    page.push(listing)
  }
  return page
}

export function listMail(mail: StoredMail, sources: ListingSources): QueueListing {
  const recipients = sources.store.recipientsOf(mail).filter(isListed)
  return {
    ...listEnvelope(mail, sources),
    recipients: recipients.map((row) => listRecipient(row, (address) => sources.destination(address))),
  }
}

/** The same without its recipients. */
export function listEnvelope(mail: StoredMail, sources: Pick<ListingSources, 'active'>): QueueListing {
  const isActive = sources.active.mail(mail.id) !== undefined
  return {
    queueId: mail.queueId,
    queueName: isActive ? 'active' : mail.state === 'active' ? 'incoming' : mail.state,
    arrivedAt: mail.arrivedAt,
    size: mail.size,
    sender: mail.sender,
    forcedExpire: mail.expire,
    recipients: [],
  }
}

/** Not those that are done well, of whom only a notice is due. */
export const isListed = ({ outcome }: StoredRecipient): boolean => outcome === undefined || isFailure(outcome)

const isFailure = ({ status }: Outcome): boolean => status === 'bounced' || status === 'expired'

/** @param destination `transport:nexthop` of an address that was not tried yet. */
export function listRecipient(
  { address, origTo, site, attempts, nextAttempt, reason, outcome }: StoredRecipient,
  destination: (address: string) => string,
): ListedRecipient {
  return {
    address,
    ...(origTo === undefined ? {} : { origTo }),
    destination: site === '' ? destination(address) : site,
    attempts,
    nextAttempt: Math.max(0, nextAttempt),
    reason: outcome === undefined ? (reason ?? null) : null,
    bounceReason: outcome === undefined || !isFailure(outcome) ? null : `${outcome.dsn} ${outcome.reply}`,
  }
}
