/** The supervisor of deliveries with real threads, one of which dies. */
import { afterEach, expect, test } from 'vitest'
import type { ActorRef } from '../../src/actors/index.ts'
import type { DeliveryRequest } from '../../src/queue/contract.ts'
import { type DeliveriesContract, deliveries } from '../../src/queue/deliveries.ts'
import { ActorSystem } from '../../src/runtime/system.ts'
import { until } from '../support/until.ts'
import { type Holder, holder, type Owner, owner, quick } from './deliveries-actors.ts'

let system: ActorSystem
afterEach(() => system.stop())

test('a delivery whose connection has died with its thread starts on another one', {
  timeout: 60_000,
}, async () => {
  system = await ActorSystem.start({
    pools: { deliveries: { minThreads: 1, maxThreads: 1 } },
    children: [
      { id: 'deliveries', actor: deliveries, registerAs: 'deliveries' },
      { id: 'owner', actor: owner, registerAs: 'owner' },
    ],
  })
  const queue = system.whereis<Owner>('owner')!
  const supervisor = system.whereis<DeliveriesContract>('deliveries')!
  queue.tell('attachTo', supervisor)
  const keeper = system.spawn(holder, undefined, {
    placement: { pool: 'deliveries' },
  }) as ActorRef<Holder>
  const first = await keeper.ask('ping')
  keeper.tell('dieThread')
  await until('the end of the thread', async () => {
    const failure = await keeper.ask('ping').catch((error: { code: string }) => error.code)
    return failure === 'MA_NO_ACTOR'
  })
  supervisor.tell('start', 7, quick as never, { queueId: 'q7' } as DeliveryRequest, keeper)
  const ends = await until('the end of the delivery', async () => {
    const all = await queue.ask('ends')
    return '7' in all && all
  })
  expect(ends).toEqual({ 7: 'normal' })
  expect(first).toBeGreaterThan(0)
})
