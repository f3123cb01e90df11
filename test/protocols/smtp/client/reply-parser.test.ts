import { describe, expect, test } from 'vitest'
import {
  enhancedCode,
  oneLine,
  type Reply,
  ReplyParser,
  replyLimit,
} from '../../../../src/protocols/smtp/client/reply-parser.ts'
import { Random } from '../../../../src/testing/random.ts'
import { chosenSeed } from '../../../support/seed.ts'

interface Seen {
  readonly replies: Reply[]
  readonly garbage: string[]
  readonly parser: ReplyParser
  readonly alive: boolean
  cut(): number
}

function parse(...chunks: (string | Buffer)[]): Seen {
  const replies: Reply[] = []
  const garbage: string[] = []
  let cut = 0
  const parser = new ReplyParser()
  const listener = {
    onReply: (reply: Reply) => replies.push(reply),
    onGarbage: (line: string) => garbage.push(line),
    onCutLine: () => cut++,
  }
  let alive = true
  for (const chunk of chunks) alive = alive && parser.push(Buffer.from(chunk as string, 'latin1'), listener)
  return { replies, garbage, parser, alive, cut: () => cut }
}

describe('replies', () => {
  test.each([
    ['one line', '250 ok\r\n', [250]],
    ['no text', '250\r\n', [250]],
    ['several lines', '250-a\r\n250-b\r\n250 c\r\n', [250]],
    ['two replies', '250 a\r\n354 b\r\n', [250, 354]],
    ['bare LF', '250 a\n250 b\n', [250, 250]],
    ['CRs before LF', '250 a\r\r\r\n', [250]],
    ['a code that changes: the last line counts', '250-a\r\n550 b\r\n', [550]],
    ['garbage in between', 'hello\r\n250 a\r\n', [250]],
    ['two digits', '25 a\r\n250 a\r\n', [250]],
    ['a wrong separator', '250_a\r\n250 a\r\n', [250]],
    ['not yet complete', '250-a\r\n250 b', []],
  ])('%s', (_, text, codes) => {
    expect(parse(text).replies.map(({ code }) => code)).toEqual(codes)
  })

  test('split at every octet', () => {
    const text = '250-first\r\n250-second\r\n250 third\r\n354 go\r\n'
    const whole = parse(text).replies
    for (let cut = 0; cut <= text.length; cut++) {
      expect(parse(text.slice(0, cut), text.slice(cut)).replies).toEqual(whole)
    }
    expect(parse(...text).replies).toEqual(whole)
  })

  test('RPL-3 what is not printable becomes a question mark', () => {
    const [reply] = parse('550 a\x00b\x1bc\xe4\td\r\n').replies
    expect(oneLine(reply!)).toBe('550 a?b?c??d')
  })

  test('E21 a long line is cut and reported; it is a reply all the same', () => {
    const { replies, parser, cut } = parse(`550 5.1.1 ${'x'.repeat(5_000)}\r\n`)
    expect(replies[0]!.text).toHaveLength(replyLimit)
    expect(cut()).toBe(1)
    expect(parser.damaged).toBe(false)
  })

  test('E22 a reply of many lines is kept in part, its last line in full', () => {
    const { replies } = parse(`${'250-line\r\n'.repeat(10_000)}550 5.1.1 no\r\n`)
    expect(replies[0]!.text.length).toBeLessThanOrEqual(replyLimit)
    expect(replies[0]!.lastLine).toBe('550 5.1.1 no')
  })

  test('a line without end is given up', () => {
    expect(parse(...Array.from({ length: 20 }, () => 'x'.repeat(65_536))).alive).toBe(false)
  })

  test('a chunk that is used again does not change what was kept', () => {
    const replies: Reply[] = []
    const parser = new ReplyParser()
    const listener = {
      onReply: (reply: Reply) => replies.push(reply),
      onGarbage: () => {},
      onCutLine: () => {},
    }
    const chunk = Buffer.from('250 he')
    parser.push(chunk, listener)
    chunk.fill(0)
    parser.push(Buffer.from('llo\r\n'), listener)
    expect(replies[0]!.text).toBe('250 hello')
  })

  test('any input gives bounded, printable replies', () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const random = (n: number) => numbers.below(n)
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(
        Array.from({ length: random(400) }, () => '0123456789 -\r\n\0\x7fAz'.charCodeAt(random(18))),
      )
      const cut = random(bytes.length + 1)
      const { replies } = parse(bytes.toString('latin1', 0, cut), bytes.toString('latin1', cut))
      for (const { text, code, lastLine } of replies) {
        expect(text, `seed ${seed}, round ${round}`).toMatch(/^[\x20-\x7e\n]*$/)
        expect(text.length).toBeLessThanOrEqual(replyLimit)
        expect(lastLine.startsWith(String(code).padStart(3, '0'))).toBe(true)
      }
    }
  })
})

describe('enhanced codes', () => {
  test.each([
    ['550 5.1.1 no', '5.1.1'],
    ['550 2.1.1 no', '5.0.0'],
    ['550 5.1 no', '5.0.0'],
    ['550 5.1.1.1 no', '5.0.0'],
    ['550 no', '5.0.0'],
    ['250 2.1.5', '2.1.5'],
    ['450 4.2.1 later', '4.2.1'],
    ['354 3.0.0 go', '5.5.0'],
    ['550 5.001.1000 no', '5.0.0'],
    ['550', '5.0.0'],
  ])('E18 %s', (line, wanted) => {
    const [reply] = parse(`${line}\r\n`).replies
    expect(enhancedCode(reply!)).toBe(wanted)
  })
})
