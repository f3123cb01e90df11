/** Prometheus metrics, read from the parts of the service when they are asked for: nothing is counted twice. */
import { Counter, Gauge, Registry } from 'prom-client'
import type { Administered, TreeNode } from './contract.ts'
import { readStatus, type Status } from './status.ts'

interface Metric {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
  readonly read: (status: Measured) => readonly (readonly [labels: Record<string, string>, value: number])[]
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
    name: 'pop3_logins_total',
    help: 'POP3 logins that worked, and those that did not, of sessions that have ended',
    labels: ['result'],
    read: ({ pop3 }) => [
      [{ result: 'ok' }, pop3.logins],
      [{ result: 'failed' }, pop3.failedLogins],
    ],
  },
  {
    name: 'pop3_fetched_messages_total',
    help: 'Mails fetched with RETR by sessions that have ended',
    read: ({ pop3 }) => one(pop3.fetchedMails),
  },
  {
    name: 'pop3_fetched_bytes_total',
    help: 'Octets of mails fetched with RETR',
    read: ({ pop3 }) => one(pop3.fetchedOctets),
  },
  {
    name: 'pop3_removed_messages_total',
    help: 'Mails removed at QUIT',
    read: ({ pop3 }) => one(pop3.removedMails),
  },
  {
    name: 'pop3_traffic_bytes_total',
    help: 'Octets from and to POP3 clients',
    labels: ['direction'],
    read: ({ pop3 }) => [
      [{ direction: 'in' }, pop3.input],
      [{ direction: 'out' }, pop3.output],
    ],
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
    name: 'queue_accepted_total',
    help: 'Mails the queue has taken since it started',
    read: (s) => one(s.delivery.accepted),
  },
  {
    name: 'queue_refused_total',
    help: 'Mails the queue has refused since it started, for want of room or as malformed',
    read: (s) => one(s.delivery.refused),
  },
  {
    name: 'queue_results_total',
    help: 'Recipients by what an attempt made of them since the queue started',
    labels: ['status'],
    read: (s) => Object.entries(s.delivery.results).map(([status, count]) => [{ status }, count] as const),
  },
  {
    name: 'queue_notices_total',
    help: 'Notices to senders and the postmaster since the queue started',
    labels: ['kind'],
    read: (s) => Object.entries(s.delivery.notices).map(([kind, count]) => [{ kind }, count] as const),
  },
  {
    name: 'queue_commits_total',
    help: 'Commits of the queue since it started',
    read: (s) => one(s.delivery.commits),
  },
  {
    name: 'queue_recipients',
    help: 'Recipients of the queue in memory: those that are being delivered, and those that wait for their turn',
    labels: ['state'],
    read: (s) => [
      [{ state: 'waiting' }, s.delivery.waiting],
      [{ state: 'other' }, s.delivery.recipientsInMemory - s.delivery.waiting],
    ],
  },
  { name: 'queue_deliveries', help: 'Deliveries that run', read: (s) => one(s.delivery.running) },
  {
    name: 'queue_destinations',
    help: 'Destinations the queue knows of: those that are tried, and those that are left alone for now',
    labels: ['state'],
    read: (s) => [
      [{ state: 'alive' }, s.delivery.sites - s.delivery.deadSites],
      [{ state: 'dead' }, s.delivery.deadSites],
    ],
  },
  {
    name: 'queue_held_up_answers',
    help: 'New mails whose acknowledgement waits because more comes in than goes out (in_flow_delay)',
    read: (s) => one(s.delivery.heldUp),
  },
  {
    name: 'cache_hits_total',
    help: 'Lookups in the connection cache that found a connection',
    labels: ['by'],
    read: (s) => [
      [{ by: 'destination' }, s.cache.total.destinationHits],
      [{ by: 'endpoint' }, s.cache.total.endpointHits],
    ],
  },
  {
    name: 'cache_misses_total',
    help: 'Lookups in the connection cache that found none',
    labels: ['by'],
    read: (s) => [
      [{ by: 'destination' }, s.cache.total.destinationMisses],
      [{ by: 'endpoint' }, s.cache.total.endpointMisses],
    ],
  },
  {
    name: 'cache_saved_total',
    help: 'Connections that were kept after a delivery',
    read: (s) => one(s.cache.connections.saved),
  },
  {
    name: 'cache_left_total',
    help: 'Kept connections that are idle no more: lent to a delivery, expired, retired because their server ended them, evicted for newer ones, flushed, lost with their thread',
    labels: ['how'],
    read: ({ cache: { connections } }) =>
      (['lent', 'expired', 'retired', 'evicted', 'flushed', 'lost'] as const).map(
        (how) => [{ how }, connections[how]] as const,
      ),
  },
  {
    name: 'cache_connections',
    help: 'Idle connections',
    read: (s) => one(s.cache.connections.held),
  },
  {
    name: 'cache_handshakes_spared',
    help: 'Connections that need not be made, since the cache started',
    labels: [],
    read: (s) => [[{}, s.cache.savings.handshakesSpared]],
  },
  {
    name: 'cache_spared_seconds',
    help: 'Time that making those connections would have taken',
    labels: [],
    read: (s) => [[{}, s.cache.savings.msSpared / 1_000]],
  },
  {
    name: 'cache_destination_handshakes_spared',
    help: 'Connections that need not be made, for the destinations that gained most',
    labels: ['destination'],
    read: (s) =>
      s.cache.savings.destinations.map(
        ({ destination, handshakesSpared }) => [{ destination }, handshakesSpared] as const,
      ),
  },
  {
    name: 'delivery_tls_sessions_total',
    help: 'Sessions with other servers that have TLS',
    labels: ['level', 'protocol', 'cipher', 'class', 'resumed'],
    read: (s) =>
      s.deliveryTls.flatMap((fact) => {
        if (fact.kind !== 'secured') return []
        const { kind, count, resumed, ...labels } = fact
        return [[{ ...labels, resumed: resumed ? 'yes' : 'no' }, count] as const]
      }),
  },
  {
    name: 'delivery_tls_missed_total',
    help: 'Sessions with other servers in which TLS was wanted and did not come about, or was not what it had to be',
    labels: ['level', 'reason'],
    read: (s) =>
      s.deliveryTls.flatMap((fact) => {
        if (fact.kind !== 'missed') return []
        return [[{ level: fact.level, reason: fact.reason }, fact.count] as const]
      }),
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
    name: 'pool_threads',
    help: 'Threads of a pool: those that take actors (or jobs), and those that drain',
    labels: ['pool', 'state'],
    read: (s) =>
      s.pools.flatMap((p) => [
        [{ pool: p.name, state: 'active' }, p.threads] as const,
        [{ pool: p.name, state: 'draining' }, p.draining] as const,
      ]),
  },
  {
    name: 'pool_threads_limit',
    help: 'Most threads of a pool',
    labels: ['pool'],
    read: (s) => s.pools.map((p) => [{ pool: p.name }, p.maxThreads] as const),
  },
  {
    name: 'pool_recycled_total',
    help: 'Threads of a pool that were replaced',
    labels: ['pool'],
    read: (s) => s.pools.map((p) => [{ pool: p.name }, p.recycled] as const),
  },
  {
    name: 'pool_crashes_total',
    help: 'Threads of a pool that died',
    labels: ['pool'],
    read: (s) => s.pools.map((p) => [{ pool: p.name }, p.crashes] as const),
  },
  {
    name: 'pool_stalls_total',
    help: 'Times a handler blocked a thread of a pool for long',
    labels: ['pool'],
    read: (s) => s.pools.map((p) => [{ pool: p.name }, p.stalls] as const),
  },
  {
    name: 'pool_quarantine_seconds',
    help: 'Time until a pool starts threads again after one died before its first job',
    labels: ['pool'],
    read: (s) => s.pools.map((p) => [{ pool: p.name }, p.quarantinedMs / 1000] as const),
  },
  {
    name: 'actors',
    help: 'Living actors by kind',
    labels: ['kind'],
    read: (s) => [...kinds(s.tree)].map(([kind, k]) => [{ kind }, k.actors] as const),
  },
  {
    name: 'actor_queue_messages',
    help: 'Messages that wait for actors of a kind',
    labels: ['kind'],
    read: (s) => [...kinds(s.tree)].map(([kind, k]) => [{ kind }, k.waiting] as const),
  },
  {
    name: 'actor_restarts',
    help: 'Restarts that living actors of a kind have behind them',
    labels: ['kind'],
    read: (s) => [...kinds(s.tree)].map(([kind, k]) => [{ kind }, k.restarts] as const),
  },
  {
    name: 'thread_stalls_total',
    help: 'Times something blocked a thread for long',
    labels: ['pool', 'thread'],
    read: (s) => s.threads.map((t) => [{ pool: t.pool, thread: String(t.thread) }, t.stalls ?? 0] as const),
  },
  {
    name: 'thread_heap_bytes',
    help: 'JavaScript heap in use by a thread',
    labels: ['pool', 'thread'],
    read: (s) => s.threads.map((t) => [{ pool: t.pool, thread: String(t.thread) }, t.heapBytes] as const),
  },
]

interface Measured extends Status {
  readonly tree: TreeNode | undefined
}

interface Kind {
  actors: number
  waiting: number
  restarts: number
}

const seen = new WeakMap<TreeNode, ReadonlyMap<string, Kind>>()

/** The actors of the tree, counted by kind. */
function kinds(tree: TreeNode | undefined): ReadonlyMap<string, Kind> {
  if (tree === undefined) return new Map()
  const known = seen.get(tree)
  if (known !== undefined) return known
  const found = new Map<string, Kind>()
  const add = (node: TreeNode): void => {
    const name = node.kind ?? node.name
    const kind = found.get(name) ?? { actors: 0, waiting: 0, restarts: 0 }
    found.set(name, kind)
    kind.actors++
    kind.waiting += node.queueLength
    kind.restarts += node.restarts
    node.children.forEach(add)
  }
  add(tree)
  seen.set(tree, found)
  return found
}

/** With more actors than this the tree is not asked for at each scrape. */
const maxActors = 10_000

/** The metrics as Prometheus text. */
export async function metricsText(service: Administered): Promise<string> {
  const status = await readStatus(service)
  const actors = status.threads.reduce((sum, thread) => sum + thread.actors, 0)
  const measured = { ...status, tree: actors > maxActors ? undefined : await service.tree() }
  const registry = new Registry()
  for (const metric of metrics) {
    const options = {
      name: `mailactors_${metric.name}`,
      help: metric.help,
      labelNames: metric.labels ?? [],
      registers: [registry],
    }
    // What only grows is a counter: `rate()` then knows that a smaller value means a restart.
    if (metric.name.endsWith('_total')) {
      const counter = new Counter(options)
      for (const [labels, value] of metric.read(measured)) counter.inc(labels, value)
    } else {
      const gauge = new Gauge(options)
      for (const [labels, value] of metric.read(measured)) gauge.set(labels, value)
    }
  }
  return await registry.metrics()
}
