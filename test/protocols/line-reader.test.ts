import { describe, expect, test } from 'vitest'
import { LineReader, type LineReaderOptions, lineTooLong } from '../../src/protocols/line-reader.ts'

const tooLong = '(too long)'

/** All lines that come out of these chunks, and what is left. */
function lines(options: LineReaderOptions, ...chunks: string[]): string[] {
  const reader = new LineReader(options)
  const out: string[] = []
  for (const chunk of chunks) {
    reader.push(Buffer.from(chunk, 'latin1'))
    for (let line = reader.next(); line !== undefined; line = reader.next()) {
      out.push(line === lineTooLong ? tooLong : line)
    }
  }
  return out
}

const crlf = (...chunks: string[]) => lines({ maxOctets: 10 }, ...chunks)
const lf = (...chunks: string[]) => lines({ maxOctets: 10, ending: 'lf' }, ...chunks)

describe('CR LF alone ends a line', () => {
  test.each([
    { name: 'two lines', input: 'a\r\nb\r\n', expected: ['a', 'b'] },
    { name: 'an empty line', input: '\r\n', expected: [''] },
    { name: 'no end', input: 'abc', expected: [] },
    { name: 'an LF alone', input: 'a\nb\r\n', expected: ['a\nb'] },
    { name: 'a CR alone', input: 'a\rb\r\n', expected: ['a\rb'] },
    { name: 'CR CR LF', input: 'a\r\r\n', expected: ['a\r'] },
    { name: 'LF CR', input: 'a\n\rb\r\n', expected: ['a\n\rb'] },
    { name: 'an LF first', input: '\na\r\n', expected: ['\na'] },
    { name: 'octets above 127', input: '\xff\xfe\r\n', expected: ['\xff\xfe'] },
    { name: 'the longest line', input: '1234567890\r\nx\r\n', expected: ['1234567890', 'x'] },
    { name: 'one octet more', input: '12345678901\r\nx\r\n', expected: [tooLong, 'x'] },
    { name: 'a very long one', input: `${'y'.repeat(5000)}\r\nx\r\n`, expected: [tooLong, 'x'] },
    { name: 'LFs in a long one', input: `${'y\n'.repeat(500)}\r\nx\r\n`, expected: [tooLong, 'x'] },
    { name: 'a CR at the limit', input: '1234567890\rz\r\nx\r\n', expected: [tooLong, 'x'] },
  ])('$name, in one piece or in any two, or octet by octet', ({ input, expected }) => {
    expect(crlf(input)).toEqual(expected)
    for (let at = 0; at <= input.length; at += 1) {
      expect(crlf(input.slice(0, at), input.slice(at))).toEqual(expected)
    }
    expect(crlf(...input)).toEqual(expected)
  })
})

describe('LF ends a line where the protocol says so, and takes one CR with it', () => {
  test.each([
    { name: 'LF', input: 'a\nb\n', expected: ['a', 'b'] },
    { name: 'CR LF', input: 'a\r\nb\r\n', expected: ['a', 'b'] },
    { name: 'CR CR LF', input: 'a\r\r\n', expected: ['a\r'] },
    { name: 'CR alone', input: 'a\rb\n', expected: ['a\rb'] },
    { name: 'one octet more', input: '12345678901\nx\n', expected: [tooLong, 'x'] },
  ])('$name', ({ input, expected }) => {
    expect(lf(input)).toEqual(expected)
    expect(lf(...input)).toEqual(expected)
  })
})

test('an oversized line is known before it ends, and no more of it is kept', () => {
  const reader = new LineReader({ maxOctets: 10 })
  reader.push(Buffer.alloc(12, 120))
  expect(reader.next()).toBe(lineTooLong)
  for (let i = 0; i < 100; i += 1) {
    reader.push(Buffer.alloc(1000, 120))
    expect(reader.next()).toBeUndefined()
    expect(reader.held + reader.unread).toBe(0)
  }
  expect(reader.skipped).toBe(100_012)
  reader.push(Buffer.from('\r\nok\r\n'))
  expect(reader.next()).toBe('ok')
  expect(reader.skipped).toBe(0)
})

test('the rest is taken as it came, the start of a line included', () => {
  const reader = new LineReader({ maxOctets: 100 })
  reader.push(Buffer.from('DATA\r\nfirst'))
  expect(reader.next()).toBe('DATA')
  expect(reader.next()).toBeUndefined()
  reader.push(Buffer.from(' second'))
  reader.push(Buffer.from('\r\n'))
  expect(reader.unread).toBe(9)
  expect(reader.takeRest()?.toString()).toBe('first second\r\n')
  expect(reader.takeRest()).toBeUndefined()
  expect(reader.unread).toBe(0)
  reader.push(Buffer.from('x\r\n'))
  expect(reader.next()).toBe('x')
})
