import { describe, expect, test } from 'vitest'
import { DataReader } from '../../../../src/protocols/smtp/server/data-reader.ts'
import { Random } from '../../../../src/testing/random.ts'
import { chosenSeed } from '../../../support/seed.ts'

/** Content, what follows the end (undefined: no end came), and whether CR or LF stood alone. */
function read(...chunks: string[]): { content: string; rest: string | undefined; bare: boolean } {
  const reader = new DataReader()
  const slices: Buffer[] = []
  let rest: string | undefined
  for (const text of chunks) {
    if (rest !== undefined) {
      rest += text
      continue
    }
    const chunk = Buffer.from(text, 'latin1')
    const end = reader.push(chunk, 0, (slice) => slices.push(slice))
    if (end !== -1) rest = chunk.toString('latin1', end)
  }
  return { content: Buffer.concat(slices).toString('latin1'), rest, bare: reader.hasBareNewline }
}

describe('transparency (RFC 5321 section 4.5.2)', () => {
  test.each([
    { name: 'no content', input: '.\r\n', content: '', rest: '' },
    { name: 'a line', input: 'a\r\n.\r\n', content: 'a\r\n', rest: '' },
    { name: 'commands behind it', input: 'a\r\n.\r\nQUIT\r\n', content: 'a\r\n', rest: 'QUIT\r\n' },
    { name: 'two ends', input: '.\r\n.\r\n', content: '', rest: '.\r\n' },
    { name: 'a stuffed dot', input: '..\r\n.\r\n', content: '.\r\n', rest: '' },
    { name: 'dots within', input: 'a.b\r\n..c\r\n...\r\n.\r\n', content: 'a.b\r\n.c\r\n..\r\n', rest: '' },
    { name: 'a dot not stuffed', input: '.a\r\n.\r\n', content: 'a\r\n', rest: '' },
    { name: 'empty lines', input: '\r\n\r\n.\r\n', content: '\r\n\r\n', rest: '' },
    { name: 'no end', input: 'a\r\n', content: 'a\r\n', rest: undefined },
    { name: 'no line end before the dot', input: 'a.\r\nb\r\n.\r\n', content: 'a.\r\nb\r\n', rest: '' },
  ])('$name, cut anywhere', ({ input, content, rest }) => {
    const expected = { content, rest, bare: false }
    expect(read(input)).toEqual(expected)
    expect(read(...input)).toEqual(expected)
    for (let at = 1; at < input.length; at += 1) {
      expect(read(input.slice(0, at), input.slice(at)), `cut at ${at}`).toEqual(expected)
    }
  })
})

describe('a CR or LF alone ends nothing and does not stay', () => {
  test.each([
    { input: 'a\n.\n', content: 'a\r\n.\r\n' },
    { input: 'a\n.\r\nb', content: 'a\r\n.\r\nb' },
    { input: 'a\r.\r\nb', content: 'a .\r\nb' },
    { input: 'a\r\n.\nb', content: 'a\r\n\r\nb' },
    { input: 'a\r\n.\rb', content: 'a\r\n b' },
    { input: 'a\r\n.\r\r\nb', content: 'a\r\n\r\nb' },
    { input: 'a\r\r\nb', content: 'a\r\nb' },
    { input: 'a\r\r\r\n.\r\n', content: 'a\r\n', rest: '' },
    { input: 'a\n\rb', content: 'a\r\n b' },
    { input: '\n\n\n', content: '\r\n\r\n\r\n' },
    { input: '\r\r\rb', content: '   b' },
    { input: '.\rb', content: ' b' },
    { input: '.\n', content: '\r\n' },
  ])('%j', ({ input, content, rest }) => {
    const expected = { content, rest, bare: /(?<!\r)\n/.test(input) }
    expect(read(input)).toEqual(expected)
    expect(read(...input)).toEqual(expected)
    for (let at = 1; at < input.length; at += 1) {
      expect(read(input.slice(0, at), input.slice(at)), `cut at ${at}`).toEqual(expected)
    }
  })
})

test('random octets from the characters that matter read the same however they are cut', () => {
  const seed = chosenSeed()
  const numbers = new Random(seed)
  const random = (below: number): number => numbers.below(below)
  const alphabet = '\r\n.a'
  for (let round = 0; round < 3_000; round += 1) {
    const input = Array.from({ length: random(24) }, () => alphabet[random(4)]).join('')
    const whole = read(input)
    // The reference: a regular expression for the one true end.
    const end = /(?:^|\r\n)\.\r\n/.exec(input)
    const expected = end === null ? undefined : input.slice(end.index + end[0].length)
    expect(whole.rest, `seed ${seed}: ${JSON.stringify(input)}`).toBe(expected)
    expect(whole.content).not.toMatch(/\r(?!\n)(?!$)|(?<!\r)\n/)
    const cuts: string[] = []
    for (let at = 0; at < input.length; ) {
      const size = 1 + random(4)
      cuts.push(input.slice(at, at + size))
      at += size
    }
    expect(read(...cuts), `seed ${seed}: ${JSON.stringify(cuts)}`).toEqual(whole)
  }
})

describe('chunks (RFC 3030)', () => {
  const readChunks = (...chunks: string[]) => {
    const reader = new DataReader('chunks')
    const slices: Buffer[] = []
    for (const chunk of chunks) {
      expect(reader.push(Buffer.from(chunk), 0, (slice) => slices.push(slice))).toBe(-1)
    }
    reader.finish((slice) => slices.push(slice))
    return Buffer.concat(slices).toString()
  }

  test.each([
    { name: 'dots mean nothing', input: 'a\r\n.\r\n..b\r\n', content: 'a\r\n.\r\n..b\r\n' },
    { name: 'a dot first', input: '.\r\n', content: '.\r\n' },
    { name: 'no line end at the end', input: 'a', content: 'a\r\n' },
    { name: 'half a line end at the end', input: 'a\r', content: 'a\r\n' },
    { name: 'nothing', input: '', content: '' },
    { name: 'LF alone', input: 'a\nb\n', content: 'a\r\nb\r\n' },
  ])('$name, cut anywhere', ({ input, content }) => {
    expect(readChunks(input)).toBe(content)
    expect(readChunks(...input)).toBe(content)
  })
})
