import { afterEach, expect, test } from 'vitest'
import { ActorSystem } from '../../src/index.ts'
import { echo } from './fixtures/actors.ts'

let system: ActorSystem

afterEach(() => system?.stop())

const restarted = (): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>()
  system.events.once('actor.restarted', () => resolve())
  return promise
}

test('a spare thread takes over, again and again, and hosts no actor before', async () => {
  system = await ActorSystem.start({
    pools: { a: { minThreads: 1, spareThreads: 1 } },
    intensity: 10,
    children: [{ id: 'e', actor: echo, placement: { pool: 'a' }, registerAs: 'e' }],
  })
  for (let round = 0; round < 3; round++) {
    const { thread } = system.whereis('e')!
    expect((await system.threads()).length).toBe(2)
    const back = restarted()
    system.killThread(thread)
    await back
    const successor = system.whereis('e')!
    expect(successor.thread).not.toBe(thread)
    expect(await successor.ask('where')).toBe(successor.thread)
  }
})

test.each([-1, 1.5, 'one'])('a pool cannot have %s spare threads', async (spareThreads) => {
  await expect(
    ActorSystem.start({ pools: { a: { spareThreads: spareThreads as number } } }),
  ).rejects.toMatchObject({ code: 'MA_START', cause: { code: 'MA_USAGE' } })
})
