import { afterEach, expect, test } from 'vitest'
import { actor, type Contract } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

let system: TestSystem
afterEach(() => system?.stop())

const clock = actor<Contract<{ tick(): void; ticks(): readonly number[]; never(): void }>>({
  name: 'clock',
  module: import.meta.url,
  init(context) {
    const ticks: number[] = []
    context.sendAfter(100, 'tick')
    return {
      tick() {
        ticks.push(context.clock.monotonic())
        context.sendAfter(100, 'tick')
      },
      ticks: () => ticks,
      never: () => new Promise<void>(() => {}),
      terminate: () => new Promise<void>((resolve) => setTimeout(resolve, 1)),
    }
  },
})

test('timers ring at their virtual time, each in its turn', async () => {
  system = await TestSystem.start()
  const ref = system.spawn(clock, undefined)
  const start = system.now()
  await system.advance(350)
  expect(await ref.ask('ticks')).toEqual([100, 200, 300])
  expect(system.now() - start).toBe(350)
})

test('an ask times out in virtual time', async () => {
  system = await TestSystem.start()
  const ref = system.spawn(clock, undefined)
  const asking = ref.ask('never')
  let failed: unknown
  asking.catch((error) => {
    failed = error
  })
  await system.advance(4_999)
  expect(failed).toBeUndefined()
  await system.advance(1)
  expect(failed).toMatchObject({ code: 'MA_TIMEOUT' })
})

test('messages to an actor that ended are recorded', async () => {
  system = await TestSystem.start()
  const ref = system.spawn(clock, undefined)
  await system.settle()
  await system.startChild({ id: 'x', actor: clock })
  system.system.kill(ref)
  ref.tell('tick')
  expect(system.deadLetters).toEqual([{ to: ref.id, type: 'tick', body: [] }])
  expect(system.terminated).toMatchObject([{ name: 'clock', reason: { kind: 'killed' } }])
})

test('a stop needs no real time, however long the shutdown times are', async () => {
  const stubborn = actor<Contract<{ x(): void }>>({
    name: 'stubborn',
    module: import.meta.url,
    init: () => ({ x() {}, terminate: () => new Promise<void>(() => {}) }),
  })
  system = await TestSystem.start({ children: [{ id: 's', actor: stubborn, shutdown: 20_000 }] })
  await system.stop()
  expect(system.terminated).toMatchObject([
    { name: 'stubborn', reason: { kind: 'killed' } },
    { name: 'root', reason: { kind: 'shutdown' } },
  ])
})
