/** A thread that has nothing to do gives back what it does not need. */
import { afterEach, expect, test } from 'vitest'
import { ActorSystem } from '../../src/index.ts'
import { until } from '../support/until.ts'
import { waster } from './fixtures/waste.ts'

let system: ActorSystem | undefined
afterEach(() => system?.stop())

const MIB = 2 ** 20

test('memory that an idle thread let go is collected though nothing more is asked for', async () => {
  system = await ActorSystem.start({ pools: { a: {} } })
  const heap = async (): Promise<number> => (await system!.threads())[1]!.heapBytes / MIB
  const ref = system.spawn(waster, undefined, { placement: { pool: 'a' } })
  expect(await ref.ask('drop')).toBe(0)
  const before = await heap()
  await ref.ask('take', 160 * MIB)
  expect(await heap()).toBeGreaterThan(before + 60)
  expect(await ref.ask('drop')).toBe(2)
  await until('the heap to be small again', async () => (await heap()) < before + 20, { everyMs: 100 })
  expect(await ref.ask('drop')).toBe(0)
})
