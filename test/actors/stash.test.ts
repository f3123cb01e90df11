import { afterEach, describe, expect, test } from 'vitest'
import { actor, type Contract } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

type Valve = Contract<{
  open(): void
  close(): void
  take(n: number): number
  awaitThenTake(n: number): number
  taken(): readonly number[]
  fail(): void
}>

const valve = actor<Valve>({
  name: 'valve',
  module: import.meta.url,
  maxQueue: 5,
  init(context) {
    let isOpen = false
    const taken: number[] = []
    const take = (n: number) => {
      taken.push(n)
      return n * 10
    }
    return {
      open() {
        isOpen = true
        context.unstashAll()
      },
      close() {
        isOpen = false
      },
      take: (n) => (isOpen ? take(n) : context.stash()),
      async awaitThenTake(n) {
        await null
        return isOpen ? take(n) : context.stash<number>()
      },
      taken: () => taken,
      fail() {
        throw new Error('broken')
      },
    }
  },
})

let system: TestSystem
afterEach(() => system?.stop())
const start = async () => {
  system = await TestSystem.start()
  return system.spawn(valve, undefined)
}

describe('messages put aside', () => {
  test('come before those that wait, in their order, and are answered then', async () => {
    const ref = await start()
    const first = ref.ask('take', 1)
    const second = ref.ask('awaitThenTake', 2)
    await system.settle()
    ref.tell('open')
    const third = ref.ask('take', 3)
    expect(await Promise.all([first, second, third])).toEqual([10, 20, 30])
    expect(await ref.ask('taken')).toEqual([1, 2, 3])
  })

  test('can be put aside again', async () => {
    const ref = await start()
    const asking = ref.ask('take', 1)
    ref.tell('open')
    ref.tell('close')
    const later = ref.ask('take', 2)
    await system.settle()
    expect(await ref.ask('taken')).toEqual([1])
    ref.tell('open')
    expect(await Promise.all([asking, later])).toEqual([10, 20])
  })

  test('count for the bound of the queue', async () => {
    const ref = await start()
    for (let i = 0; i < 4; i++) ref.tell('take', i)
    await system.settle()
    expect(ref.tell('take', 4)).toBe(true)
    await system.settle()
    expect(ref.tell('take', 5)).toBe(false)
    await expect(ref.ask('taken')).rejects.toMatchObject({ code: 'MA_OVERLOADED' })
  })

  test('are settled when their actor ends', async () => {
    const ref = await start()
    const asking = ref.ask('take', 1)
    ref.tell('take', 2)
    ref.tell('fail')
    await expect(asking).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { message: 'broken' } })
    expect(system.deadLetters).toEqual([{ to: ref.id, type: 'take', body: [2] }])
  })
})
