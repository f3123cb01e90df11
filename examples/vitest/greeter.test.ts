import { ActorSystem } from 'mailactors'
import { TestSystem } from 'mailactors/testing'
import { expect, test } from 'vitest'
import { greeter } from './greeter.ts'

test('runs in a worker thread, with no build step', async () => {
  await using system = await ActorSystem.start({ pools: { work: {} } })
  const ref = system.spawn(greeter, undefined, { placement: { pool: 'work' } })
  expect(await ref.ask('where')).not.toBe(0)
  expect(await ref.ask('greet', 'Ann')).toBe('Hello Ann')
})

test('runs in virtual time', async () => {
  await using system = await TestSystem.start()
  const ref = system.spawn(greeter, undefined)
  ref.tell('remind', 3_600_000)
  await system.advance(3_600_000)
  expect(await ref.ask('reminded')).toBe(1)
})
