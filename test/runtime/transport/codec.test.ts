import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { actor } from '../../../src/actors/index.ts'
import { Codec, WireRef } from '../../../src/runtime/transport/index.ts'
import { chosenSeed } from '../../support/seed.ts'

fc.configureGlobal({ seed: chosenSeed() })

class Ref extends WireRef {
  readonly thread: number
  readonly id: number
  constructor(thread: number, id: number) {
    super()
    this.thread = thread
    this.id = id
  }
}

const definition = actor({ name: 'clerk', module: 'file:///clerk.ts', init: () => ({}) })
const hooks = (system: string) => ({
  reviveRef: (thread: number, id: number) => ({ system, thread, id }),
  reviveDefinition: (module: string, name: string) => ({ system, module, name }),
})

function roundTrip(value: unknown, from = new Codec(), to = new Codec(), owned = false): unknown {
  const encoded = from.encode(1, 2, 'folder.verb', 3, [value])
  // A copy in shared memory at an odd place, as in a ring.
  const shared = Buffer.from(new SharedArrayBuffer(encoded.end - encoded.start + 9))
  encoded.copy(shared, 5, encoded.start, encoded.end)
  const end = 5 + encoded.end - encoded.start
  const frame = to.decode(shared, 5, end, end, owned)
  expect(frame).toMatchObject({ to: 1, from: 2, type: 'folder.verb', seq: 3 })
  return frame.body[0]
}

describe('values that arrive as they were sent', () => {
  test.each([
    { name: 'null', value: null },
    {
      name: 'numbers',
      value: [0, 1, -1, 127, 128, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 53), 0.1, 1e300, Infinity],
    },
    { name: 'NaN', value: Number.NaN },
    { name: 'bigints of 64 bits', value: [0n, -1n, 2n ** 63n, 2n ** 64n - 1n, -(2n ** 63n)] },
    { name: 'larger bigints', value: [2n ** 64n, -(2n ** 64n), 2n ** 500n + 1n, -(2n ** 500n)] },
    { name: 'text', value: ['', 'ä', '漢字', '😀'.repeat(100), 'x'.repeat(70_000), 'é'.repeat(40_000)] },
    { name: 'nested values', value: { a: [{ b: { c: [[[]]] } }], d: {} } },
    {
      name: 'an object with 70 000 keys',
      value: Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, i])),
    },
    { name: 'undefined in arrays and objects', value: { a: undefined, b: [undefined, 1, undefined] } },
  ])('$name', ({ value }) => {
    expect(roundTrip(value)).toStrictEqual(value)
    expect(roundTrip(value, new Codec(), new Codec(), true)).toStrictEqual(value)
  })

  test('undefined alone is not null', () => {
    expect(roundTrip(undefined)).toBeUndefined()
  })

  test('random values', () => {
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array))
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(null, undefined, true, false),
        fc.integer(),
        fc.double({ noDefaultInfinity: false }).filter((number) => !Object.is(number, -0)),
        fc.bigInt(),
        fc.string({ unit: 'binary', maxLength: 200 }),
        bytes,
        fc.tuple(fc.nat(), fc.nat()).map(([thread, id]) => new Ref(thread, id)),
        fc.array(tie('value'), { maxLength: 20 }),
        fc.dictionary(
          fc.string({ maxLength: 40 }).filter((key) => key !== '__proto__'),
          tie('value'),
          {
            noNullPrototype: true,
            maxKeys: 20,
          },
        ),
      ),
    }))
    const to = new Codec({
      hooks: { reviveRef: (thread, id) => new Ref(thread, id), reviveDefinition: () => undefined },
    })
    const from = new Codec({ check: true })
    fc.assert(
      fc.property(value, fc.boolean(), (sent, owned) => {
        expect(roundTrip(sent, from, to, owned)).toStrictEqual(sent)
      }),
      { numRuns: 500 },
    )
  })
})

describe('bytes', () => {
  test.each([
    { name: 'a Uint8Array', value: new Uint8Array([1, 2, 3]) },
    { name: 'a Buffer', value: Buffer.from([1, 2, 3]) },
    { name: 'a part of a Buffer', value: Buffer.from([0, 1, 2, 3, 4]).subarray(1, 4) },
  ])('arrive as a Buffer: $name', ({ value }) => {
    const got = roundTrip(value)
    expect(Buffer.isBuffer(got)).toBe(true)
    expect([...(got as Buffer)]).toEqual([1, 2, 3])
  })

  test.each([{ size: 10 }, { size: 70_000 }])(
    'do not change with the ring or the next frame: $size octets',
    ({ size }) => {
      const codec = new Codec()
      const encoded = codec.encode(1, 2, 'bytes', 3, [Buffer.alloc(size, 1)])
      const ring = Buffer.from(new SharedArrayBuffer(encoded.end - encoded.start))
      encoded.copy(ring, 0, encoded.start, encoded.end)
      const [got] = codec.decode(ring, 0, ring.length).body
      ring.fill(9)
      roundTrip(Buffer.alloc(size, 2), codec, codec)
      expect((got as Buffer).equals(Buffer.alloc(size, 1))).toBe(true)
      expect((got as Buffer).buffer).not.toBeInstanceOf(SharedArrayBuffer)
    },
  )
})

describe('refs and definitions', () => {
  test('arrive as what the hooks make of them, also deep in a body', () => {
    const to = new Codec({ hooks: hooks('a') })
    expect(
      roundTrip({ who: [new Ref(7, 2 ** 45)], what: definition }, new Codec({ check: true }), to),
    ).toEqual({
      who: [{ system: 'a', thread: 7, id: 2 ** 45 }],
      what: { system: 'a', module: 'file:///clerk.ts', name: 'clerk' },
    })
  })

  test('two systems in one thread have hooks of their own', () => {
    const a = new Codec({ hooks: hooks('a') })
    const b = new Codec({ hooks: hooks('b') })
    for (const [codec, system] of [
      [a, 'a'],
      [b, 'b'],
      [a, 'a'],
    ] as const) {
      expect(roundTrip(new Ref(1, 2), codec, codec)).toMatchObject({ system })
    }
  })
})

describe('a value that cannot cross a thread is refused with its message type and path', () => {
  const circular: { self?: unknown } = {}
  circular.self = circular
  const always = [
    { name: 'a function', value: { on: { done: () => {} } }, path: 'body[0].on.done' },
    { name: 'a symbol', value: [1, Symbol('s')], path: 'body[0][1]' },
  ]
  const checked = [
    ...always,
    { name: 'a Map', value: { a: [new Map()] }, path: 'body[0].a[0]' },
    { name: 'a Set', value: new Set(), path: 'body[0]' },
    { name: 'a Date', value: new Date(), path: 'body[0]' },
    { name: 'an Error', value: new Error('x'), path: 'body[0]' },
    { name: 'an array of floats', value: new Float64Array(2), path: 'body[0]' },
    { name: 'an instance of a class', value: { x: new (class Thing {})() }, path: 'body[0].x' },
  ]
  test.each(checked)('with check: $name', ({ value, path }) => {
    expect(() => new Codec({ check: true }).encode(1, 2, 'shop.buy', 3, [value])).toThrow(
      expect.objectContaining({
        code: 'MA_USAGE',
        details: expect.objectContaining({ type: 'shop.buy', path }),
      }),
    )
  })
  test.each(always)('without check: $name', ({ value, path }) => {
    expect(() => new Codec().encode(1, 2, 'shop.buy', 3, [value])).toThrow(
      expect.objectContaining({
        code: 'MA_USAGE',
        details: expect.objectContaining({ type: 'shop.buy', path }),
      }),
    )
  })
  test.each([{ check: true }, { check: false }])('a circular value, check $check', ({ check }) => {
    const codec = new Codec({ check })
    expect(() => codec.encode(1, 2, 'shop.buy', 3, [circular])).toThrow(
      expect.objectContaining({ code: 'MA_USAGE', message: expect.stringContaining('circular') }),
    )
    expect(roundTrip('after it', codec)).toBe('after it')
  })
  test('a message that a getter of another one sends', () => {
    const codec = new Codec()
    const body = [
      {
        get now() {
          return codec.encode(1, 2, 'shop.sell', 3, []).length
        },
      },
    ]
    expect(() => codec.encode(1, 2, 'shop.buy', 3, body)).toThrow(
      expect.objectContaining({ code: 'MA_USAGE', message: expect.stringContaining('getter') }),
    )
    expect(roundTrip('after it', codec)).toBe('after it')
  })
  test('a frame over the limit', () => {
    expect(() => new Codec({ maxFrame: 100 }).encode(1, 2, 'shop.buy', 3, ['x'.repeat(200)])).toThrow(
      expect.objectContaining({ code: 'MA_USAGE' }),
    )
  })
})
