/** What `queue list` and `queue show` see. */
import type { ActiveSet } from './active.ts'
import type { QueueListing } from './contract.ts'
import type { QueueStore, StoredMail } from './store.ts'

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
  const isActive = sources.active.mail(mail.id) !== undefined
  const recipients = sources.store.recipientsOf(mail).filter(({ outcome }) => outcome === undefined)
  return {
    queueId: mail.queueId,
    queueName: isActive ? 'active' : mail.state === 'active' ? 'incoming' : mail.state,
    arrivedAt: mail.arrivedAt,
    size: mail.size,
    sender: mail.sender,
    recipients: recipients.map(({ address, site, attempts, nextAttempt, reason }) => ({
      address,
      destination: site === '' ? sources.destination(address) : site,
      attempts,
      nextAttempt: Math.max(0, nextAttempt),
      reason: reason ?? null,
    })),
  }
}
