/** What main says of its threads and pools: to the threads, and when it is asked. */
import { performance } from 'node:perf_hooks'
import { type ActorThread, isActive } from './actor-thread.ts'
import type { LoadTable } from './load-table.ts'
import type { Pool } from './pool.ts'
import type { PoolStatistics, ThreadStatistics } from './pool-events.ts'
import type { ThreadPlace, Topology } from './topology.ts'

/** `answer`: what the thread says of itself; a busy one does not. */
export function threadStatistics(
  { thread, slot, pool, state, pulse, startedAt }: ActorThread,
  answer: { readonly actors: number; readonly heapBytes: number } | undefined,
  load: LoadTable,
): ThreadStatistics {
  const now = performance.now()
  return {
    pool: pool.name,
    thread,
    state,
    actors: answer?.actors ?? load.actors(slot),
    started: load.started(slot),
    utilization: load.utilisation(slot),
    heapBytes: answer?.heapBytes ?? load.heapBytes(slot),
    uptimeMs: Math.round(now - startedAt),
    stalls: pulse.stalls,
    stalledMs: pulse.isStalled ? Math.round(pulse.silentMs(now)) : 0,
  }
}

/** `threads`: those of all pools. */
export function poolStatistics(pool: Pool, threads: readonly ActorThread[], load: LoadTable): PoolStatistics {
  const all = threads.filter((one) => one.pool === pool)
  const active = all.filter(isActive).length
  const { minThreads, maxThreads, actorsPerThread } = pool.limits
  return {
    name: pool.name,
    kind: 'actors',
    minThreads,
    maxThreads,
    actorsPerThread,
    threads: active,
    draining: all.length - active,
    actors: all.reduce((sum, { slot }) => sum + load.actors(slot), 0),
    recycled: pool.recycled,
    stalls: pool.stalls,
    crashes: pool.crashes,
    quarantinedMs: Math.max(0, pool.quarantinedUntil - Date.now()),
  }
}

export function topologyOf(pools: Iterable<Pool>, threads: Iterable<ActorThread>): Topology {
  const slots: ThreadPlace[] = [{ thread: 0, slot: 0 }]
  const places: Record<string, Topology['pools'][string] & { threads: ThreadPlace[] }> = {}
  for (const { name, index, limits, quarantinedUntil } of pools) {
    const { actorsPerThread, maxThreads } = limits
    places[name] = { index, threads: [], actorsPerThread, maxThreads, quarantinedUntil }
  }
  for (const { thread, slot, pool, state } of threads) {
    slots.push({ thread, slot })
    if (state !== 'draining' && state !== 'resting') places[pool.name]?.threads.push({ thread, slot })
  }
  return { slots, pools: places }
}
