/** From the configuration to what the parts of the queue need. */
import { readFileSync } from 'node:fs'
import { errorReason, type Logger } from '../actors/index.ts'
import type { Table } from '../config/schema.ts'
import type { Config } from '../config/settings.ts'
import { isInList, type Tables } from '../tables/contract.ts'
import type { ActiveLimits } from './active.ts'
import {
  dsnSettings,
  notifySettings,
  type QueueConfig,
  queueKeyOf,
  queueSettings,
  type TransportProtocol,
  type TransportTuning,
  transportProtocols,
} from './config.ts'
import type { NoticeSettings } from './notices/compose.ts'
import { builtInTemplates, parseTemplates, TemplateError, type Templates } from './notices/template.ts'
import type { RoutingSettings } from './routing.ts'
import type { TransportSettings } from './transport.ts'
import { parseFeedback } from './window.ts'

/** What the queue reads of the configuration. */
export type QueueSources = Pick<
  Config,
  | 'hostname'
  | 'data_dir'
  | 'cache'
  | 'mail'
  | 'auth'
  | 'queue'
  | 'service'
  | 'dsn'
  | 'notify'
  | 'smtp'
  | 'lmtp'
> &
  Pick<Config, 'transport' | 'transports' | 'log'>

/** What a transport speaks; undefined: there is no such transport. */
export function protocolOf(config: QueueSources, transport: string): TransportProtocol | undefined {
  const own = config.transports[transport]?.protocol
  if (own !== undefined) return own
  if (transport === 'relay') return 'smtp'
  return transportProtocols.find((protocol) => protocol === transport)
}

/** The limits of a transport: its own, else those of its protocol, else those of `[queue]`. */
export function transportSettings(
  config: QueueSources,
  transport: string,
  tables: Tables,
): TransportSettings {
  const { queue } = config
  const protocol = protocolOf(config, transport)
  const own: Partial<TransportTuning> = config.transports[transport] ?? {}
  const ofProtocol: Partial<TransportTuning> =
    protocol === 'smtp' || protocol === 'lmtp' ? config[protocol] : {}
  const tuned = <K extends keyof TransportTuning>(key: K): TransportTuning[K] =>
    own[key] ?? ofProtocol[key] ?? (queue[queueKeyOf(key) as keyof QueueConfig] as TransportTuning[K])
  const paced = tuned('destination_rate_delay') > 0
  return {
    window: {
      initial: paced ? 1 : tuned('initial_destination_concurrency'),
      limit: paced ? 1 : tuned('destination_concurrency_limit'),
      // The loader has checked them.
      positive: parseFeedback(tuned('destination_concurrency_positive_feedback')) ?? (() => 1),
      negative: parseFeedback(tuned('destination_concurrency_negative_feedback')) ?? (() => 1),
      failedCohortLimit: tuned('destination_concurrency_failed_cohort_limit'),
    },
    processLimit: tuned('process_limit'),
    recipientLimit: tuned('destination_recipient_limit'),
    destinationRateDelay: tuned('destination_rate_delay'),
    transportRateDelay: tuned('transport_rate_delay'),
    slotCost: tuned('delivery_slot_cost'),
    slotLoan: tuned('delivery_slot_loan'),
    slotDiscount: tuned('delivery_slot_discount'),
    minimumSlots: tuned('minimum_delivery_slots'),
    memoryLimit: tuned('recipient_limit'),
    extraMemory: tuned('extra_recipient_limit'),
    refillLimit: tuned('recipient_refill_limit'),
    refillDelay: tuned('recipient_refill_delay'),
    alwaysCaches: (nexthop) =>
      isInList(cacheSettings(config, transport)?.destinations ?? [], siteName(nexthop), tables),
  }
}

/** How a transport uses the connection cache; undefined: it has no connections. */
export function cacheSettings(
  config: QueueSources,
  transport: string,
):
  | { readonly destinations: readonly string[]; readonly onDemand: boolean; readonly bySender: boolean }
  | undefined {
  const protocol = protocolOf(config, transport)
  if (protocol !== 'smtp' && protocol !== 'lmtp') return undefined
  const table = { ...config[protocol], ...config.transports[transport]?.[protocol] }
  return {
    destinations: table.connection_cache_destinations,
    onDemand: table.connection_cache_on_demand,
    bySender: table.sasl_auth_enable && table.sender_dependent_authentication,
  }
}

/** What lists call a next hop: the domain or host without brackets and port, of a list the first; the path of a socket. */
function siteName(nexthop: string): string {
  if (nexthop.startsWith('unix:')) return nexthop.slice('unix:'.length)
  const [first = ''] = nexthop.replace(/^inet:/, '').split(/[\s,]+/)
  return first.replace(/^\[(?:ipv6:)?([^\]]*)\].*$/i, '$1').replace(/^([^:]*):[^:]*$/, '$1')
}

export const routingSettings = (config: QueueSources): RoutingSettings => ({
  hostname: config.hostname,
  localDomains: config.mail.local_domains,
  transport: config.transport,
  relayhost: config.smtp.relayhost,
  hasText: (transport) => ['error', 'retry', 'discard'].includes(protocolOf(config, transport) ?? ''),
})

export const activeLimits = ({ queue }: QueueSources): ActiveLimits => ({
  mails: queue.qmgr_message_active_limit,
  recipients: queue.qmgr_message_recipient_limit,
  minimum: queue.qmgr_message_recipient_minimum,
  content: queue.active_content_limit,
})

/** A template that cannot be used is no reason to keep mail: the log says why, and the built-in texts do. */
export function noticeSettings(config: QueueSources, log: Logger): NoticeSettings {
  const { hostname, queue, dsn, notify } = config
  return { hostname, queue, dsn, notify, templates: templatesOf(config, log) }
}

function templatesOf(config: QueueSources, log: Logger): Templates {
  const { hostname, dsn } = config
  const file = dsn.bounce_template_file
  if (file === '') return builtInTemplates(hostname)
  try {
    return parseTemplates(file, readTemplate(file), hostname, (name) => postfixSetting(config, name))
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error
    log.error(
      { event: 'queue.bad-template', error: error.message },
      'the file with the texts of notices cannot be used: the built-in ones are',
    )
    return builtInTemplates(hostname)
  }
}

function readTemplate(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new TemplateError(`${file}: cannot be read: ${errorReason(error).message}`, { file })
  }
}

/** What `$name` stands for in a template: the setting that Postfix calls so. */
function postfixSetting(config: QueueSources, name: string): string | { readonly ms: number } | undefined {
  const named: Readonly<Record<string, string>> = {
    myhostname: config.hostname,
    myorigin: config.hostname,
    mydomain: config.hostname.slice(config.hostname.indexOf('.') + 1),
    mail_name: 'mailactors',
    notify_classes: config.notify.classes.join(', '),
  }
  if (Object.hasOwn(named, name)) return named[name]
  const tables = [
    [queueSettings, config.queue],
    [dsnSettings, config.dsn],
    [notifySettings, config.notify],
  ] as const
  const key = name === 'queue_run_delay' ? 'run_delay' : name
  for (const [table, values] of tables) {
    if (!Object.hasOwn(table, key)) continue
    const value: unknown = (values as Record<string, unknown>)[key]
    const { type } = (table as Table)[key]!
    return type === 'duration' ? { ms: Number(value) } : String(value)
  }
  return undefined
}
