/** The pools of the mail system: from the configuration to the runtime, and what recycling means for the queue. */
import { availableParallelism } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { type ActorRef, AskError, type Logger, UsageError } from './actors/index.ts'
import type { PoolRow, PoolSizeRequest } from './admin/contract.ts'
import type { Config } from './config/settings.ts'
import type { QueueContract } from './queue/contract.ts'
import type { JobsOptions } from './runtime/jobs.ts'
import type { PoolOptions } from './runtime/pool-options.ts'
import type { ActorSystem } from './runtime/system.ts'

/** Its files have one writer: the actors of this one thread. */
const storage = 'storage'

/**
 * What sessions, deliveries and commits leave behind fills V8's young generation, 48 MiB a thread, before it is collected:
 * 130 MiB of a service that has relayed ten thousand mails. A small one costs nothing measurable, and makes an idle
 * session a third smaller.
 */
const threadLimits = { maxYoungGenerationSizeMb: 12 }

type PoolConfig = Config['pools'][keyof Config['pools']]

/** The pools of actors. That of jobs is another one, see `jobsOptions`. */
export function poolOptions({ pools }: Config): Record<string, PoolOptions> {
  const { jobs: _, ...actors } = pools
  return Object.fromEntries(
    Object.entries(actors).map(([name, pool]) => {
      const options = { ...optionsOf(pool), spareThreads: pool.spare_threads, resourceLimits: threadLimits }
      return [name, name === storage ? { ...options, minThreads: 1, maxThreads: 1 } : options]
    }),
  )
}

function optionsOf(pool: PoolConfig) {
  const { min_threads: minThreads, max_threads: most } = pool
  return {
    minThreads,
    maxThreads: Math.max(most === 'auto' ? availableParallelism() : most, minThreads),
    actorsPerThread: pool.actors_per_thread,
    maxUse: pool.max_use,
    maxIdleMs: pool.max_idle,
    maxHeapBytes: pool.max_heap,
    stallMs: pool.daemon_timeout,
    throttleMs: pool.service_throttle_time,
  }
}

/** Threads for stateless work; none is started before there is some. */
export function jobsOptions({ pools }: Config): JobsOptions {
  const { minThreads, maxThreads, maxUse, maxIdleMs } = optionsOf(pools.jobs)
  return { minThreads, maxThreads, maxUse, maxIdleMs }
}

/** Gives the running pools what changed in their tables. */
export async function changePools(
  system: ActorSystem,
  before: Config,
  after: Config,
  log: Logger,
): Promise<void> {
  for (const name of Object.keys(after.pools) as (keyof Config['pools'])[]) {
    if (isDeepStrictEqual(before.pools[name], after.pools[name])) continue
    const { minThreads, maxThreads, ...rest } = optionsOf(after.pools[name])
    const change = name === 'jobs' ? { minThreads, maxThreads } : { minThreads, maxThreads, ...rest }
    try {
      await system.pools.resize(name, change)
    } catch (error) {
      log.error({ event: 'pool.unchanged', pool: name, error: (error as Error).message }, 'pool not changed')
    }
  }
}

export async function resizePool(system: ActorSystem, name: string, size: PoolSizeRequest): Promise<PoolRow> {
  const { minThreads = 1, maxThreads = 1 } = size
  if (name === storage && (minThreads !== 1 || maxThreads !== 1)) {
    throw new UsageError('the pool storage is one thread: its files have one writer', { pool: name })
  }
  return await system.pools.resize(name, size)
}

/**
 * Sessions and deliveries finish on the old threads. The stores move: before that the deliveries under way report to the
 * queue that knows them, as far as they do it within `patienceMs`; others are tried again.
 */
export async function recyclePool(
  system: ActorSystem,
  name: string,
  patienceMs: number,
): Promise<readonly number[]> {
  const queue = name === storage ? system.whereis<QueueContract>('queue') : undefined
  if (queue !== undefined) await drained(queue, patienceMs)
  try {
    return (await system.pools.recycle(name)).threads
  } catch (error) {
    // It stays where it is, and has to deliver again.
    if (queue !== undefined) system.kill(queue)
    throw error
  }
}

async function drained(queue: ActorRef<QueueContract>, timeoutMs: number): Promise<void> {
  try {
    await queue.askWith({ timeoutMs }, 'drain')
  } catch (error) {
    if (!(error instanceof AskError)) throw error
  }
}
