/** Header fields over `header_size_limit`. What is expected was seen of Postfix 3.7. */
import { expect, test } from 'vitest'
import { FieldLimit } from '../../../../src/protocols/smtp/server/field-limit.ts'
import { Random } from '../../../../src/testing/random.ts'
import { chosenSeed } from '../../../support/seed.ts'

const limit = 102_400

function through(content: Buffer, cut: (left: number) => number = (left) => left): string {
  const passed: Buffer[] = []
  const fields = new FieldLimit(limit, (slice) => passed.push(Buffer.from(slice)))
  for (let at = 0; at < content.length; ) {
    const end = at + Math.max(1, Math.min(cut(content.length - at), content.length - at))
    fields.push(content.subarray(at, end))
    at = end
  }
  return Buffer.concat(passed).toString('latin1')
}

/** Lines of a field that has so many octets, its line ends counted as one each. */
function lines(octets: number): string[] {
  const all = ['X-Long: '.padEnd(500, 'a')]
  let left = octets - 500
  for (; left > 1_001; left -= 501) all.push('\t'.padEnd(500, 'b'))
  if (left > 501) {
    all.push('\t'.padEnd(300, 'c'))
    left -= 301
  }
  return [...all, '\t'.padEnd(left - 1, 'd')]
}

const mail = (...field: readonly string[]): Buffer =>
  Buffer.from(['Subject: x', ...field, 'X-After: 1', '', `body\r\n\t${'y'.repeat(200_000)}`, ''].join('\r\n'))
const e = (octets: number): string => `\t${'e'.repeat(octets)}`

const cases: readonly { name: string; field: readonly string[]; kept: readonly string[] }[] = [
  { name: 'fits to the octet', field: [...lines(102_390), e(8)], kept: [...lines(102_390), e(8)] },
  { name: 'one octet over', field: [...lines(102_390), e(9)], kept: lines(102_390) },
  { name: 'behind one that did not fit', field: [...lines(102_390), e(70), e(3)], kept: lines(102_390) },
  { name: 'full', field: [...lines(102_400), e(1)], kept: lines(102_400) },
  {
    name: 'a long line that does not fit by its first piece',
    field: [...lines(101_400), e(5_000)],
    kept: lines(101_400),
  },
  { name: 'one line', field: [`X: ${'y'.repeat(150_000)}`], kept: [`X: ${'y'.repeat(102_397)}`] },
  {
    name: 'a long line that is cut',
    field: [`X: ${'y'.repeat(60_000)}`, e(60_000), e(10)],
    kept: [`X: ${'y'.repeat(60_000)}`, e(42_395)],
  },
]

test.each(cases)('$name', ({ field, kept }) => {
  expect(through(mail(...field)) === mail(...kept).toString('latin1')).toBe(true)
})

test('wherever the content is cut', () => {
  const random = new Random(chosenSeed())
  for (const { field, kept } of cases) {
    const expected = mail(...kept).toString('latin1')
    expect(through(mail(...field), () => 1 + random.below(5_000)) === expected).toBe(true)
    expect(through(mail(...field), () => 1) === expected).toBe(true)
  }
})

test('what is no header passes as it is', () => {
  for (const text of [
    `${'x'.repeat(150_000)}\r\n`,
    `not a field\r\n\t${'x'.repeat(150_000)}\r\n`,
    `a b: c\r\n ${'x'.repeat(150_000)}\r\n`,
    `\r\n\r\nX: ${'x'.repeat(150_000)}\r\n`,
    `: no name\r\n ${'x'.repeat(150_000)}\r\n`,
  ]) {
    expect(through(Buffer.from(text), () => 1_000) === text).toBe(true)
    expect(through(Buffer.from(text)) === text).toBe(true)
  }
})
