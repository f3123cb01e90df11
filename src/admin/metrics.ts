/** Prometheus metrics, read from the parts of the service when they are asked for: nothing is counted twice. */
import { Gauge, Registry } from 'prom-client'
import type { Administered } from './contract.ts'
import { readStatus, type Status } from './status.ts'

interface Metric {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
  readonly read: (status: Status) => readonly (readonly [labels: Record<string, string>, value: number])[]
}

const one = (value: number) => [[{}, value]] as const

const metrics: readonly Metric[] = [
  { name: 'uptime_seconds', help: 'Time since the service started', read: (s) => one(s.uptimeMs / 1000) },
  { name: 'resident_memory_bytes', help: 'Resident memory of the process', read: (s) => one(s.rssBytes) },
  {
    name: 'sessions',
    help: 'Logged-in sessions',
    labels: ['service'],
    read: (s) => Object.entries(s.sessions).map(([service, count]) => [{ service }, count] as const),
  },
  {
    name: 'connections_accepted_total',
    help: 'Connections accepted since the start',
    labels: ['service', 'address'],
    read: (s) => s.listeners.map((l) => [{ service: l.service, address: l.address }, l.accepted] as const),
  },
  {
    name: 'connections_refused_total',
    help: 'Connections turned away because a limit was reached',
    labels: ['service', 'address'],
    read: (s) => s.listeners.map((l) => [{ service: l.service, address: l.address }, l.refused] as const),
  },
  {
    name: 'queue_messages',
    help: 'Mails in the outbound queue',
    labels: ['queue'],
    read: (s) => Object.entries(s.queue).map(([queue, count]) => [{ queue }, count] as const),
  },
  {
    name: 'cache_hits',
    help: 'Connection cache hits since the last cache.statistics',
    labels: ['by'],
    read: (s) => [
      [{ by: 'destination' }, s.cache.destinationHits],
      [{ by: 'endpoint' }, s.cache.endpointHits],
    ],
  },
  {
    name: 'cache_misses',
    help: 'Connection cache misses since the last cache.statistics',
    labels: ['by'],
    read: (s) => [
      [{ by: 'destination' }, s.cache.destinationMisses],
      [{ by: 'endpoint' }, s.cache.endpointMisses],
    ],
  },
  {
    name: 'thread_actors',
    help: 'Actors living on a thread',
    labels: ['pool', 'thread'],
    read: (s) => s.threads.map((t) => [{ pool: t.pool, thread: String(t.thread) }, t.actors] as const),
  },
  {
    name: 'thread_utilization_ratio',
    help: 'Share of time the event loop of a thread was busy',
    labels: ['pool', 'thread'],
    read: (s) => s.threads.map((t) => [{ pool: t.pool, thread: String(t.thread) }, t.utilization] as const),
  },
  {
    name: 'thread_heap_bytes',
    help: 'JavaScript heap in use by a thread',
    labels: ['pool', 'thread'],
    read: (s) => s.threads.map((t) => [{ pool: t.pool, thread: String(t.thread) }, t.heapBytes] as const),
  },
]

/** The metrics as Prometheus text. */
export async function metricsText(service: Administered): Promise<string> {
  const status = await readStatus(service)
  const registry = new Registry()
  for (const metric of metrics) {
    const gauge = new Gauge({
      name: `mailactors_${metric.name}`,
      help: metric.help,
      labelNames: metric.labels ?? [],
      registers: [registry],
    })
    for (const [labels, value] of metric.read(status)) gauge.set(labels, value)
  }
  return await registry.metrics()
}
