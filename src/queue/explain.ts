/** Why a mail is still here: what each recipient waits for, and when it goes back to its sender. */
import type { ActiveSet } from './active.ts'
import { expiresAt, nextAttempt } from './backoff.ts'
import type { ExplainedRecipient, QueueExplanation, WaitsFor } from './contract.ts'
import type { Courier } from './courier.ts'
import { isListed, listEnvelope, listRecipient } from './listing.ts'
import type { QueueSources } from './settings.ts'
import type { Site } from './site.ts'
import type { QueueStore, StoredMail, StoredRecipient } from './store.ts'

export interface ExplainSources {
  readonly store: QueueStore
  readonly active: ActiveSet
  readonly courier: Courier
  readonly config: QueueSources
  readonly isHeldUp: boolean
  readonly isDraining: boolean
  /** Milliseconds since the epoch, and of the clock that never jumps. */
  readonly now: number
  readonly monotonic: number
}

/** Recipients that are explained one by one; a mail may have a hundred thousand. */
const explainedRecipients = 1_000

export function explain(queueId: string, sources: ExplainSources): QueueExplanation | null {
  const mail = sources.store.mailByQueueId(queueId)
  if (mail === undefined) return null
  const destination = (address: string): string => sources.courier.admission.destination(address)
  return {
    ...listEnvelope(mail, sources),
    isHeldUp: sources.isHeldUp,
    recipients: sources.store
      .recipientsOf(mail, explainedRecipients)
      .filter(isListed)
      .map((row) => {
        const listed = listRecipient(row, destination)
        const waitsFor = waiting(mail, row, sources)
        return {
          ...listed,
          waitsFor,
          last:
            row.tried === undefined
              ? null
              : {
                  at: row.tried.at,
                  relay: row.tried.relay,
                  reply: row.reason ?? '',
                  ...(row.tried.remoteMta === undefined ? {} : { remoteMta: row.tried.remoteMta }),
                },
          returnedAt: returnedAt(mail, row, waitsFor, sources),
        } satisfies ExplainedRecipient
      }),
  }
}

function waiting(mail: StoredMail, row: StoredRecipient, sources: ExplainSources): WaitsFor {
  const { active, courier, now } = sources
  if (row.outcome !== undefined) return { kind: 'notice' }
  const running = courier.dispatcher.runningOf(row.id)
  // Given ahead of time to a delivery that is at work with another one, it waits for its turn as before.
  if (running !== undefined) {
    const { since, site } = running
    if (since === undefined) return inMemory(site, sources)
    return { kind: 'delivery', since: now - (sources.monotonic - since) }
  }
  if (mail.state === 'hold' || mail.state === 'corrupt') return { kind: mail.state }
  if (active.hasRecipient(row.id)) {
    const place = courier.scheduler.find(active.mail(mail.id), row.id)
    return place === undefined ? { kind: 'commit' } : inMemory(place, sources)
  }
  if (row.nextAttempt > now) return resting(row, sources)
  if (sources.isDraining) return { kind: 'stop' }
  const { size: mails, recipients, limits } = active
  return {
    kind: 'memory',
    mails,
    mailLimit: limits.mails,
    recipients,
    recipientLimit: limits.recipients,
  }
}

/** It may start as soon as its site, its transport and those before it let it. */
function inMemory(site: Site, { courier, isDraining, now, monotonic }: ExplainSources): WaitsFor {
  const { transport } = site
  if (isDraining) return { kind: 'stop' }
  if (site.isPaused) return { kind: 'destination-pause', until: now + site.pausedUntil - monotonic }
  if (site.busy >= site.window.width) return { kind: 'window', running: site.busy, width: site.window.width }
  if (transport.pausedUntil > monotonic) {
    return { kind: 'transport-pause', until: now + transport.pausedUntil - monotonic }
  }
  const { processLimit } = transport.settings
  if (transport.running >= processLimit) {
    return { kind: 'processes', running: transport.running, limit: processLimit }
  }
  return { kind: 'turn', ahead: courier.scheduler.waiting }
}

/** It waits on disk for its time: for its own backoff, or because nothing goes there anyway. */
function resting(row: StoredRecipient, { courier, config, now }: ExplainSources): WaitsFor {
  const until = row.nextAttempt
  const [transport = ''] = row.site.split(':', 1)
  if (config.queue.defer_transports.includes(transport)) return { kind: 'defer-transports', until, transport }
  const known = courier.scheduler.transports.get(transport)
  const dead = known?.troubleAt(now)
  if (dead !== undefined) {
    return { kind: 'dead-transport', until: Math.max(until, dead.until), reason: dead.why.reason }
  }
  const site = known?.sites.get(row.site)
  const trouble = site?.troubleAt(now)
  if (site !== undefined && trouble !== undefined) {
    return { kind: 'dead-site', until: Math.max(until, site.deadUntil), reason: trouble.reason }
  }
  return { kind: 'backoff', until }
}

/** The end of the first attempt at which it is too old, if all attempts fail at once. */
function returnedAt(
  mail: StoredMail,
  row: StoredRecipient,
  waitsFor: WaitsFor,
  { config, now }: ExplainSources,
): number | null {
  if (waitsFor.kind === 'hold' || waitsFor.kind === 'corrupt') return null
  let attempt = Math.max(now, row.nextAttempt)
  if (mail.expire || row.outcome !== undefined) return attempt
  const end = expiresAt(mail.sender, mail.arrivedAt, config.queue)
  // The wait is at most maximal_backoff_time: some thousands of steps in the longest lifetime.
  for (let step = 0; attempt < end && step < 100_000; step++) {
    attempt = nextAttempt(attempt, mail.arrivedAt, config.queue)
  }
  return attempt
}
