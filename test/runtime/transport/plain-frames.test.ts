import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { Codec } from '../../../src/runtime/transport/index.ts'
import { maxPlain, PlainDecoder, PlainEncoder } from '../../../src/runtime/transport/plain-frames.ts'
import { WireRef } from '../../../src/runtime/transport/wire-ref.ts'

class TestRef extends WireRef {
  override readonly thread: number
  override readonly id: number

  constructor(thread: number, id: number) {
    super()
    this.thread = thread
    this.id = id
  }
}

const encoder = new PlainEncoder(Buffer.alloc(maxPlain))
const decoder = new PlainDecoder((thread, id) => new TestRef(thread, id))

/** The octets of a plain frame in the middle of others; undefined: not a plain one. */
function encoded(frame: readonly unknown[]): Buffer | undefined {
  const length = encoder.encode(frame)
  if (length < 0) return undefined
  return Buffer.concat([Buffer.alloc(5, 0xff), encoder.bytes.subarray(0, length), Buffer.alloc(5, 0xff)])
}

const decoded = (bytes: Buffer): unknown[] => decoder.decode(bytes, 5, bytes.length - 5)

const { value: plainValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.string({ maxLength: 60 }),
    fc.integer(),
    fc.double().map((value) => (Object.is(value, -0) ? 0 : value)),
    fc.boolean(),
    fc.constantFrom(null, undefined),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(fc.string({ maxLength: 40 }), tie('value'), { maxKeys: 5, noNullPrototype: true }),
  ),
}))
const plainFrame = fc.array(plainValue, { maxLength: 8 })

describe('a plain frame', () => {
  test('arrives as it was sent, whoever reads it', () => {
    const reference = new Unpackr({ useRecords: false })
    let plain = 0
    fc.assert(
      fc.property(plainFrame, (frame) => {
        const bytes = encoded(frame)
        if (bytes === undefined) return
        plain++
        expect(decoded(bytes)).toStrictEqual(frame)
        expect(reference.unpack(bytes.subarray(5, -5))).toStrictEqual(frame)
      }),
      { numRuns: 2_000 },
    )
    expect(plain).toBeGreaterThan(500)
  })

  test('carries refs', () => {
    const bytes = encoded([1, 0, 'x', 0, { to: new TestRef(3, 70_000) }])
    expect(decoded(bytes!)).toStrictEqual([1, 0, 'x', 0, { to: new TestRef(3, 70_000) }])
  })

  test('finds the right one of names that look alike', () => {
    const keys = Array.from({ length: 3_000 }, (_, i) => `key${i}`)
    for (const key of [...keys, ...keys]) {
      expect(decoded(encoded([1, 0, key, 0, { [key]: key }])!)).toStrictEqual([1, 0, key, 0, { [key]: key }])
    }
  })
})

describe('left to msgpackr', () => {
  const circular: { self?: unknown } = {}
  circular.self = circular
  test.each<{ name: string; frame: unknown[] }>([
    { name: 'more elements than the mark can tell', frame: Array.from({ length: 16 }, () => 0) },
    { name: 'a string that is not ASCII', frame: ['grüße'] },
    { name: 'a long string that is not ASCII', frame: [`${'x'.repeat(100)}é`] },
    { name: 'octets', frame: [Buffer.from('x')] },
    { name: 'a bigint', frame: [1n] },
    { name: 'a function', frame: [() => {}] },
    { name: 'a date', frame: [new Date(0)] },
    { name: 'a circular object', frame: [circular] },
    { name: 'a key __proto__', frame: [JSON.parse('{"__proto__":1}')] },
    { name: 'a long string', frame: ['x'.repeat(maxPlain)] },
    { name: 'many strings', frame: Array.from({ length: 15 }, () => 'x'.repeat(70)) },
    {
      name: 'many numbers',
      frame: [Array.from({ length: 15 }, () => Array.from({ length: 15 }, () => 0.5))],
    },
  ])('$name', ({ frame }) => {
    expect(encoder.encode(frame)).toBe(-1)
  })

  test('the codec takes either way', () => {
    const codec = new Codec()
    for (const text of ['plain', 'grüße', 'x'.repeat(5_000)]) {
      const bytes = codec.encode([1, 0, 'take', 0, { text }])
      expect(codec.decode(bytes, bytes.start, bytes.end)).toStrictEqual([1, 0, 'take', 0, { text }])
    }
  })
})
