/** A thread that was recycled is gone, with all that its modules held in memory. */
import { afterEach, expect, test } from 'vitest'
import { ActorSystem } from '../../src/index.ts'
import { counter } from './fixtures/counter.ts'

let system: ActorSystem

afterEach(() => system?.stop())

test('a recycled thread is not used again', async () => {
  system = await ActorSystem.start({ pools: { a: { minThreads: 1, spareThreads: 1 } } })
  const workers = new Set<number>()
  for (let round = 0; round < 4; round++) {
    const ref = system.spawn(counter, undefined, { placement: { pool: 'a' } })
    const { uses, worker } = await ref.ask('use')
    expect(uses).toBe(1)
    workers.add(worker)
    const { drained } = await system.pools.recycle('a')
    system.kill(ref)
    await drained
  }
  expect(workers.size).toBe(4)
}, 30_000)

test('a worker that cannot load is told, also when the pool keeps no spare', async () => {
  const entry = new URL('./fixtures/no-entry.ts', import.meta.url).href
  await expect(
    ActorSystem.start({ entry, pools: { a: { minThreads: 1, spareThreads: 0 } } }),
  ).rejects.toMatchObject({ code: 'MA_START', message: expect.stringContaining('no entry') })
}, 30_000)
