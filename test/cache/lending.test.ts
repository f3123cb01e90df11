/** What is lent too late is nobody's: it is closed. */
import { expect, test } from 'vitest'
import type { ActorRef } from '../../src/actors/index.ts'
import type { KeeperContract, Lease } from '../../src/cache/contract.ts'
import { lentInTime } from '../../src/cache/lending.ts'

function lease(): { readonly lease: Lease; readonly closed: number[] } {
  const closed: number[] = []
  const keeper = {
    tell: (_type: string, connection: number) => closed.push(connection),
  } as unknown as ActorRef<KeeperContract>
  return { lease: { keeper, connection: 7, endpoint: 'e', setupMs: 1 }, closed }
}

test('in time', async () => {
  const { lease: lent, closed } = lease()
  expect(await lentInTime(Promise.resolve(lent), 60_000)).toBe(lent)
  expect(await lentInTime(Promise.resolve(null), 60_000)).toBeNull()
  expect(closed).toEqual([])
})

test('no answer at all, and no cache', async () => {
  expect(await lentInTime(new Promise(() => {}), 1)).toBeNull()
  expect(await lentInTime(Promise.reject(new Error('no actor')), 60_000)).toBeNull()
})

test('too late', async () => {
  const { lease: lent, closed } = lease()
  const { promise, resolve } = Promise.withResolvers<Lease | null>()
  expect(await lentInTime(promise, 1)).toBeNull()
  resolve(lent)
  await promise
  await Promise.resolve()
  expect(closed).toEqual([7])
})
