import type { SessionTotals } from '../accounting/contract.ts'
import type { CacheReport } from '../cache/contract.ts'
import type { ListenerInfo } from '../listeners/contract.ts'
import type { CountedFact } from '../protocols/smtp/client/tls/contract.ts'
import type { QueueCounts, QueueStatistics } from '../queue/contract.ts'
import type { Administered, PoolRow, ThreadRow } from './contract.ts'

/** One screen about the running service: `mailactors status`, and the admin page. */
export interface Status {
  readonly hostname: string
  readonly version: string
  readonly pid: number
  readonly startedAt: number
  readonly uptimeMs: number
  readonly listeners: readonly ListenerInfo[]
  /** Logged-in sessions by service. */
  readonly sessions: Readonly<Record<string, number>>
  /** What POP3 sessions that have ended did since the start. */
  readonly pop3: SessionTotals
  readonly queue: QueueCounts
  /** What the queue did since it started. */
  readonly delivery: QueueStatistics
  readonly cache: CacheReport
  /** How TLS went with other servers. */
  readonly deliveryTls: readonly CountedFact[]
  readonly threads: readonly ThreadRow[]
  readonly pools: readonly PoolRow[]
  /** Resident memory of the process, in octets. */
  readonly rssBytes: number
}

/** @throws AskError when a part of the service does not answer in time. */
export async function readStatus(service: Administered): Promise<Status> {
  const [listeners, sessions, pop3, queue, delivery, cache, deliveryTls, threads] = await Promise.all([
    service.listeners(),
    service.accounting().ask('sessions'),
    service.accounting().ask('totals'),
    service.queue().ask('counts'),
    service.queue().ask('stats'),
    service.cache().ask('stats'),
    service.tlsStore().ask('tallied'),
    service.threads(),
  ])
  const byService: Record<string, number> = {}
  for (const session of sessions)
    if (session.user !== '') byService[session.service] = (byService[session.service] ?? 0) + 1
  return {
    hostname: service.hostname,
    version: service.version,
    pid: process.pid,
    startedAt: service.startedAt,
    uptimeMs: Date.now() - service.startedAt,
    listeners,
    sessions: byService,
    pop3,
    queue,
    delivery,
    cache,
    deliveryTls,
    threads,
    pools: service.pools(),
    rssBytes: process.memoryUsage.rss(),
  }
}
