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

test('asked for again and again before the new threads run, it is done once', async () => {
  system = await ActorSystem.start({ pools: { a: { minThreads: 2, maxThreads: 2 } } })
  let started = 0
  system.events.on('thread.started', () => started++)
  const recycled = await Promise.all(Array.from({ length: 5 }, () => system.pools.recycle('a')))
  await Promise.all(recycled.map(({ drained }) => drained))
  expect(new Set(recycled.map(({ threads }) => threads.join())).size).toBe(1)
  expect(started).toBe(2)
  // Afterwards it is another one.
  const { threads } = await system.pools.recycle('a')
  expect(threads).not.toEqual(recycled[0]!.threads)
}, 30_000)

test('threads that are used up while they are recycled are replaced once', async () => {
  system = await ActorSystem.start({ pools: { a: { minThreads: 1, maxThreads: 1, maxUse: 1 } } })
  for (let round = 0; round < 6; round++) {
    const ref = system.spawn(counter, undefined, { placement: { pool: 'a' } })
    await ref.ask('use')
    system.kill(ref)
    await system.pools.recycle('a')
  }
  expect(system.pools.list()[0]).toMatchObject({ threads: 1 })
}, 30_000)

test('a worker that cannot load is told, also when the pool keeps no spare', async () => {
  const entry = new URL('./fixtures/no-entry.ts', import.meta.url).href
  await expect(
    ActorSystem.start({ entry, pools: { a: { minThreads: 1, spareThreads: 0 } } }),
  ).rejects.toMatchObject({ code: 'MA_START', message: expect.stringContaining('no entry') })
}, 30_000)
