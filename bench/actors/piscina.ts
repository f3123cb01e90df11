import { Piscina } from 'piscina'
import { body, type Contestant, pipelined, roundTrips } from './workload.ts'

async function withPool<T>(run: (pool: Piscina) => Promise<T>, concurrentTasksPerWorker = 1): Promise<T> {
  const pool = new Piscina({
    filename: new URL('./piscina-task.ts', import.meta.url).href,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker,
  })
  await pool.run(body())
  try {
    return await run(pool)
  } finally {
    await pool.destroy()
  }
}

/** It knows tasks only: 64 of them under way are its one way. */
export const contestant: Contestant = {
  oneWay: (ms) => withPool((pool) => pipelined(ms, 64, () => pool.run(body())), 64),
  pingPong: (ms) => withPool((pool) => roundTrips(ms, () => pool.run(body()))),
  ask: (ms) =>
    withPool(
      async (pool) => ({
        p50: (await roundTrips(ms / 2, () => pool.run(body()))).p50 ?? Number.NaN,
        rate: (await pipelined(ms / 2, 64, () => pool.run(body()))).rate ?? Number.NaN,
      }),
      64,
    ),
  recovery: () =>
    withPool(async (pool) => {
      const times: number[] = []
      for (let i = 0; i < 3; i++) {
        const start = performance.now()
        await pool.run(['exit']).catch(() => {})
        await pool.run(body())
        times.push(performance.now() - start)
      }
      return { ms: times.sort((a, b) => a - b)[1] ?? Number.NaN }
    }),
}
