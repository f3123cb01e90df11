/** What the compiler would have refused, sent all the same: in development it is an error where it is sent. */
import { afterEach, describe, expect, test } from 'vitest'
import { ActorSystem, actor, type Contract, type WireValue } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

type Keeper = Contract<{ keep(value: WireValue): void; kept(): WireValue; bad(): WireValue }>

const keeper = actor<Keeper>({
  name: 'keeper',
  module: import.meta.url,
  init() {
    let kept: WireValue = null
    return {
      keep(value) {
        kept = value
      },
      kept: () => kept,
      bad: () => new Map() as never,
    }
  },
})

class Point {
  x = 1
}
const wrong: readonly [string, unknown, RegExp][] = [
  [
    'a Map',
    { list: [{ map: new Map() }] },
    /message "keep" cannot be sent: body\[0\]\.list\[0\]\.map is a Map/,
  ],
  ['a function', { call: () => 1 }, /body\[0\]\.call is a function/],
  ['a class instance', new Point(), /body\[0\] is a Point, not a plain object/],
  ['a Date', [new Date(0)], /body\[0\]\[0\] is a Date/],
  ['a symbol', Symbol('s'), /body\[0\] is a symbol/],
]

let system: { stop(): Promise<void> } | undefined
afterEach(() => system?.stop())

describe('in a TestSystem, on one thread', () => {
  const start = async (options = {}) => {
    const started = await TestSystem.start(options)
    system = started
    return started.spawn(keeper, undefined)
  }

  test.each(wrong)(
    '%s in a message is an error for who sends it, naming message and place',
    async (_name, value, text) => {
      const ref = await start()
      expect(() => ref.tell('keep', value as never)).toThrow(text)
      await expect(ref.ask('keep', value as never)).rejects.toMatchObject({ code: 'MA_USAGE' })
      expect(await ref.ask('kept')).toBe(null)
    },
  )

  test('a reply that could not be sent fails its ask, and the actor goes on', async () => {
    const ref = await start()
    await expect(ref.ask('bad')).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { code: 'MA_USAGE', message: expect.stringContaining('is a Map') },
    })
    expect(await ref.ask('kept')).toBe(null)
  })

  test('what can be sent passes, refs and definitions among it', async () => {
    const ref = await start()
    const value = { list: [1, 1n, null, undefined, 'x', true], bytes: new Uint8Array(2), ref, keeper }
    await ref.ask('keep', value)
    expect(await ref.ask('kept')).toBe(value)
  })

  test('nothing is looked at when told so', async () => {
    const ref = await start({ checkMessages: false })
    await ref.ask('keep', new Map() as never)
    expect(await ref.ask('kept')).toBeInstanceOf(Map)
  })
})

test('without checks a value that msgpack cannot encode is an error for who sends it all the same', async () => {
  const started = await ActorSystem.start({ pools: { a: { minThreads: 1, maxThreads: 1 } } })
  system = started
  const ref = started.spawn(keeper, undefined, { placement: { pool: 'a' } })
  expect(() => ref.tell('keep', { call: () => 1 } as never)).toThrow(/a function/)
})
