import fc from 'fast-check'
import { Unpackr } from 'msgpackr'
import { describe, expect, test } from 'vitest'
import { DecodedFrame } from '../../../src/runtime/transport/frame.ts'
import { Codec } from '../../../src/runtime/transport/index.ts'
import { PlainDecoder } from '../../../src/runtime/transport/plain-decoder.ts'
import { PlainEncoder } from '../../../src/runtime/transport/plain-encoder.ts'
import { maxPlain, plainSlack } from '../../../src/runtime/transport/plain-format.ts'
import { WireRef } from '../../../src/runtime/transport/wire-ref.ts'
import { chosenSeed } from '../../support/seed.ts'

fc.configureGlobal({ seed: chosenSeed() })

class TestRef extends WireRef {
  override readonly thread: number
  override readonly id: number

  constructor(thread: number, id: number) {
    super()
    this.thread = thread
    this.id = id
  }
}

const memory = Buffer.alloc(maxPlain + plainSlack)
const encoder = new PlainEncoder(memory)
const revive = (thread: number, id: number) => new TestRef(thread, id)
const decoder = new PlainDecoder(revive)

/** The octets of a plain frame in the middle of others; undefined: not a plain one. */
function encoded(body: readonly unknown[], type: string | number = 'take'): Buffer | undefined {
  const end = encoder.encode(0, 1, 2, type, 3, body)
  if (end < 0) return undefined
  expect(end).toBeLessThanOrEqual(maxPlain)
  return Buffer.concat([Buffer.alloc(5, 0xff), memory.subarray(0, end), Buffer.alloc(5, 0xff)])
}

/** Its body. With `slack` it is read as in the middle of a ring, without it as at its very end. */
function decoded(bytes: Buffer, slack: number, reader = decoder): unknown[] {
  const frame = new DecodedFrame()
  const end = bytes.length - 5
  reader.decode(Buffer.concat([bytes, Buffer.alloc(slack)]), 5, end, end, frame)
  expect(frame).toMatchObject({ to: 1, from: 2, seq: 3 })
  return frame.body
}

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
    fc.dictionary(
      fc.constantFrom('', 'a', 'to', 'why', '1', 'relay', 'a-longer-key', 'prototype'),
      tie('value'),
      {
        maxKeys: 4,
        noNullPrototype: true,
      },
    ),
  ),
}))
const plainBody = fc.array(plainValue, { maxLength: 8 })

describe('a plain frame', () => {
  test('arrives as it was sent, whoever reads it', () => {
    const reference = new Unpackr({ useRecords: false })
    let plain = 0
    fc.assert(
      fc.property(plainBody, (body) => {
        const bytes = encoded(body)
        if (bytes === undefined) return
        plain++
        expect(decoded(bytes, plainSlack)).toStrictEqual(body)
        expect(decoded(bytes, 0)).toStrictEqual(body)
        expect(reference.unpack(bytes.subarray(5, -5))).toStrictEqual([1, 2, 'take', 3, ...body])
      }),
      { numRuns: 2_000 },
    )
    expect(plain).toBeGreaterThan(500)
  })

  test('has numbers and names as types', () => {
    for (const type of [7, 'x', 'a-name-of-more-than-fifteen', 'y'.repeat(40)]) {
      const frame = new DecodedFrame()
      const bytes = encoded([], type)!
      decoder.decode(bytes, 5, bytes.length - 5, bytes.length - 5, frame)
      expect(frame.type).toBe(type)
    }
  })

  test('carries refs', () => {
    const bytes = encoded([{ to: new TestRef(3, 70_000) }])
    expect(decoded(bytes!, 0)).toStrictEqual([{ to: new TestRef(3, 70_000) }])
  })

  test('finds the right one of names that look alike', () => {
    const keys = Array.from({ length: 3_000 }, (_, i) => `key${i}`)
    for (const key of [...keys, ...keys]) {
      expect(decoded(encoded([{ [key]: key }], key)!, plainSlack)).toStrictEqual([{ [key]: key }])
    }
  })

  test('finds the right one of objects that look alike', () => {
    const reader = new PlainDecoder(revive)
    const bodies = [
      { relay: 'a', code: 1, reply: 'x' },
      { relay: 'b', code: 2, reply: 'y' },
      { relay: 'b', core: 2, reply: 'y' },
      {
        relay: 'b',
        code: { relay: 'c', code: 3, reply: [{ relay: 'd', code: 4, reply: null }] },
        replies: 'y',
      },
      { relays: 'b', code: 2, reply: 'y' },
      { relay: 1, code: 2 },
      { rel: 1, code: 2 },
      { a: 1 },
      { b: 1 },
      { '': 1 },
      { abc: 1, '': 2 },
      {},
    ]
    for (let round = 0; round < 50; round++) {
      for (const one of bodies) {
        // One at a time often enough to be known, then in turn.
        for (let i = 0; i < (round === 0 ? 20 : 1); i++) {
          expect(decoded(encoded([one])!, plainSlack, reader)).toStrictEqual([one])
        }
      }
    }
  })

  test('keeps the order of keys', () => {
    for (let i = 0; i < 20; i++) {
      for (const one of [JSON.parse('{"b":1,"a":2,"7":3,"1":4}'), { a: 2, b: 1 }, { b: 1, a: 2 }]) {
        expect(JSON.stringify(decoded(encoded([one])!, plainSlack))).toBe(JSON.stringify([one]))
      }
    }
  })
})

describe('one after the other in a ring', () => {
  test('each has its own text, also when the memory is used again', () => {
    const ring = Buffer.alloc(4 * maxPlain)
    const writer = new PlainEncoder(ring)
    const frame = new DecodedFrame()
    let number = 0
    for (let lap = 0; lap < 20; lap++) {
      const frames: { start: number; end: number; text: string }[] = []
      let at = 8
      while (at < ring.length - maxPlain - plainSlack) {
        const text = `message ${++number} `.repeat(1 + (number % 12))
        const end = writer.encode(at, 1, 2, 'take', number, [text, { text }])
        frames.push({ start: at, end, text })
        at = (end + 7) & ~3
      }
      for (const { start, end, text } of frames) {
        decoder.decode(ring, start, end, at, frame)
        expect(frame.body).toStrictEqual([text, { text }])
      }
    }
  })

  test('what others read in between does not matter', () => {
    const codec = new Codec()
    const ring = Buffer.alloc(2 * maxPlain + plainSlack)
    const writer = codec.plainEncoder(ring)
    const first = writer.encode(0, 1, 2, 'take', 3, ['first'])
    const second = writer.encode(first, 1, 2, 'take', 3, ['second'])
    expect(codec.decode(ring, 0, first, second).body).toEqual(['first'])
    // Then the ring is full of others, and back at the same place.
    const other = new Codec().encode(1, 2, 'take', 3, ['ü'])
    codec.decode(other, other.start, other.end)
    writer.encode(first, 1, 2, 'take', 3, ['fourth'])
    expect(codec.decode(ring, first, second, second).body).toEqual(['fourth'])
  })
})

describe('left to msgpackr', () => {
  const circular: { self?: unknown } = {}
  circular.self = circular
  test.each<{ name: string; body: unknown[] }>([
    { name: 'more elements than the mark can tell', body: Array.from({ length: 12 }, () => 0) },
    { name: 'a string that is not ASCII', body: ['grüße'] },
    { name: 'a long string that is not ASCII', body: [`${'x'.repeat(100)}é`] },
    { name: 'octets', body: [Buffer.from('x')] },
    { name: 'a bigint', body: [1n] },
    { name: 'a function', body: [() => {}] },
    { name: 'a date', body: [new Date(0)] },
    { name: 'a circular object', body: [circular] },
    { name: 'a key __proto__', body: [JSON.parse('{"__proto__":1}')] },
    { name: 'a key that is not ASCII', body: [{ größe: 1 }] },
    { name: 'a long string', body: ['x'.repeat(maxPlain)] },
    { name: 'many strings', body: Array.from({ length: 11 }, () => 'x'.repeat(95)) },
    {
      name: 'many names',
      body: Array.from({ length: 11 }, () => ({ [`${'n'.repeat(14)}`]: 'x'.repeat(80) })),
    },
    {
      name: 'many numbers',
      body: [Array.from({ length: 15 }, () => Array.from({ length: 15 }, () => 0.5))],
    },
  ])('$name', ({ body }) => {
    expect(encoder.encode(0, 1, 2, 'take', 3, body)).toBe(-1)
  })

  test('the codec takes either way', () => {
    const codec = new Codec()
    for (const text of ['plain', 'grüße', 'x'.repeat(5_000)]) {
      const bytes = codec.encode(1, 0, 'take', 0, [{ text }])
      expect(codec.decode(bytes, bytes.start, bytes.end)).toEqual({
        to: 1,
        from: 0,
        type: 'take',
        seq: 0,
        body: [{ text }],
      })
    }
  })
})
