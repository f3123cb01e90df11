import { describe, expect, test } from 'vitest'
import { boolean, choice, duration, integer, integerOr, list, size, string } from '../../src/config/schema.ts'
import {
  formatValue,
  parseDuration,
  parseSize,
  parseText,
  parseValue,
  tomlValue,
} from '../../src/config/values.ts'

describe('times', () => {
  test.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['4h', 14_400_000],
    ['5d', 432_000_000],
    ['1w', 604_800_000],
    ['1h30m', 5_400_000],
    ['0', 0],
    ['30', 30_000],
    ['0.5', 500],
    [' 2 s ', 2_000],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  test.each(['', 's', '5x', '-1s', '1h 30', 'soon', '1e3'])('"%s" is none', (text) => {
    expect(parseDuration(text)).toBeUndefined()
  })

  test('what is printed is read back', () => {
    const entry = duration({ default: 0, doc: '' })
    for (const ms of [0, 1, 999, 1_000, 90_000, 5_400_000, 86_400_000, 604_800_000]) {
      expect(parseDuration(formatValue(entry, ms))).toBe(ms)
    }
  })
})

describe('sizes', () => {
  test.each([
    ['512', 512],
    ['64KiB', 65_536],
    ['64K', 65_536],
    ['50MiB', 52_428_800],
    ['1g', 1_073_741_824],
    ['1.5 KiB', 1_536],
    ['0', 0],
  ])('%s', (text, octets) => {
    expect(parseSize(text)).toBe(octets)
  })

  test.each(['', 'KiB', '5x', '-1', '1 KiB 2'])('"%s" is none', (text) => {
    expect(parseSize(text)).toBeUndefined()
  })

  test('what is printed is read back', () => {
    const entry = size({ default: 0, doc: '' })
    for (const octets of [0, 1, 1_023, 1_024, 65_536, 10_240_000, 52_428_800, 2 ** 40]) {
      expect(parseSize(formatValue(entry, octets))).toBe(octets)
    }
  })
})

describe('a value of a file', () => {
  const seconds = duration({ default: 0, min: 1_000, max: 60_000, doc: '' })
  test.each([
    { name: 'a bare number of a time is seconds', entry: seconds, written: 5, value: 5_000 },
    {
      name: 'below the range',
      entry: seconds,
      written: '1ms',
      problem: /^1ms is out of range \(1s to 1m\)$/,
    },
    { name: 'above the range', entry: seconds, written: '2h', problem: /^2h is out of range \(1s to 1m\)$/ },
    { name: 'a boolean is no time', entry: seconds, written: true, problem: /^true is not a time/ },
    {
      name: 'a text is no number',
      entry: integer({ default: 0, doc: '' }),
      written: '5',
      problem: /whole number/,
    },
    {
      name: 'a fraction is no whole number',
      entry: integer({ default: 0, doc: '' }),
      written: 1.5,
      problem: /whole/,
    },
    {
      name: 'a word instead of a number',
      entry: integerOr(['auto'], { default: 1, doc: '' }),
      written: 'auto',
      value: 'auto',
    },
    {
      name: 'yes is no boolean in TOML',
      entry: boolean({ default: true, doc: '' }),
      written: 'yes',
      problem: /true or false/,
    },
    {
      name: 'a list of numbers',
      entry: list({ default: [], doc: '' }),
      written: [1],
      problem: /list of strings/,
    },
    {
      name: 'none of the choices',
      entry: choice(['a', 'b'], { default: 'a', doc: '' }),
      written: 'c',
      problem: '"c" is not one of "a", "b"',
    },
    { name: 'a NUL', entry: string({ default: '', doc: '' }), written: 'a\0', problem: 'contains a NUL' },
    {
      name: 'a check of its own',
      entry: string({ default: '', doc: '', check: (value) => (value === 'x' ? 'cannot be x' : undefined) }),
      written: 'x',
      problem: 'cannot be x',
    },
  ])('$name', ({ entry, written, value, problem }) => {
    const parsed = parseValue(entry, written)
    if (problem === undefined) expect(parsed).toEqual({ value })
    else expect(parsed).toEqual({ problem: expect.stringMatching(problem) })
  })
})

describe('a value of the command line', () => {
  test.each([
    { entry: boolean({ default: false, doc: '' }), text: 'yes', value: true },
    { entry: boolean({ default: false, doc: '' }), text: 'off', value: false },
    { entry: integer({ default: 0, doc: '' }), text: '42', value: 42 },
    { entry: integerOr(['auto'], { default: 1, doc: '' }), text: 'auto', value: 'auto' },
    { entry: list({ default: [], doc: '' }), text: 'a, b c', value: ['a', 'b', 'c'] },
    { entry: list({ default: ['x'], doc: '' }), text: '', value: [] },
    { entry: duration({ default: 0, doc: '' }), text: '5', value: 5_000 },
  ])('$text as $entry.type', ({ entry, text, value }) => {
    expect(parseText(entry, text)).toEqual({ value })
  })
})

test('TOML literals carry quotes, controls and other letters', () => {
  const entry = string({ default: '', doc: '' })
  expect(tomlValue(entry, 'a"b\\c\n\u007f')).toBe('"a\\"b\\\\c\\n\\u007f"')
})
