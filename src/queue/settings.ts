/** From the configuration to what the parts of the queue need. */
import type { Config } from '../config/settings.ts'
import type { ActiveLimits } from './active.ts'
import type { NoticeSettings } from './notices/compose.ts'
import type { Route, RoutingSettings } from './routing.ts'
import type { SchedulerSettings } from './scheduler.ts'
import { parseFeedback } from './window.ts'

/** What the queue reads of the configuration. */
export type QueueSources = Pick<
  Config,
  'hostname' | 'data_dir' | 'mail' | 'queue' | 'dsn' | 'notify' | 'smtp' | 'lmtp' | 'transport'
>

export const schedulerSettings = (config: QueueSources): SchedulerSettings => {
  const { queue } = config
  return {
    window: {
      initial: queue.initial_destination_concurrency,
      limit: queue.default_destination_concurrency_limit,
      // The loader has checked them.
      positive: parseFeedback(queue.default_destination_concurrency_positive_feedback) ?? (() => 1),
      negative: parseFeedback(queue.default_destination_concurrency_negative_feedback) ?? (() => 1),
      failedCohortLimit: queue.default_destination_concurrency_failed_cohort_limit,
    },
    processLimit: queue.default_process_limit,
    recipientLimit: queue.default_destination_recipient_limit,
    alwaysCaches: (route) => isListed(route, cacheSettings(config, route.transport)?.destinations ?? []),
  }
}

/** How a transport uses the connection cache; undefined: it has no connections. */
export function cacheSettings(
  config: QueueSources,
  transport: string,
): { readonly destinations: readonly string[]; readonly onDemand: boolean } | undefined {
  if (transport !== 'smtp' && transport !== 'lmtp') return undefined
  const table = config[transport]
  return {
    destinations: table.connection_cache_destinations,
    onDemand: table.connection_cache_on_demand,
  }
}

/** Lists name domains without brackets and port, or the path of a socket. */
function isListed({ nexthop }: Route, destinations: readonly string[]): boolean {
  if (destinations.length === 0) return false
  const domain = nexthop.startsWith('unix:')
    ? nexthop.slice('unix:'.length)
    : nexthop.replace(/:[^:\]]*$/, '').replace(/^\[(.*)\]$/, '$1')
  return destinations.some((listed) => listed.toLowerCase() === domain || listed === nexthop)
}

export const routingSettings = (config: QueueSources): RoutingSettings => ({
  hostname: config.hostname,
  localDomains: config.mail.local_domains,
  transport: config.transport,
  relayhost: config.smtp.relayhost,
})

export const activeLimits = ({ queue }: QueueSources): ActiveLimits => ({
  mails: queue.qmgr_message_active_limit,
  recipients: queue.qmgr_message_recipient_limit,
  content: queue.active_content_limit,
})

export const noticeSettings = ({ hostname, queue, dsn, notify }: QueueSources): NoticeSettings => ({
  hostname,
  queue,
  dsn,
  notify,
})
