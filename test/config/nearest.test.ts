import { expect, test } from 'vitest'
import { allKeys } from '../../src/config/keys.ts'
import { editDistance, nearest, nearestSetting } from '../../src/config/nearest.ts'

test.each([
  ['', '', 0],
  ['abc', 'abc', 0],
  ['abc', 'acb', 1],
  ['abc', 'ab', 1],
  ['kitten', 'sitting', 3],
])('from %s to %s it is %d letters', (from, to, distance) => {
  expect(editDistance(from, to)).toBe(distance)
  expect(editDistance(to, from)).toBe(distance)
})

test('what is too far away is not suggested', () => {
  expect(nearest('frobnicate', ['smtp', 'pop3', 'queue'])).toBeUndefined()
})

test.each([
  { written: 'smtp.conect_timeout', meant: 'smtp.connect_timeout' },
  { written: 'pop3.uidlformat', meant: 'pop3.uidl_format' },
  { written: 'smtp_connect_timeout', meant: 'smtp.connect_timeout' },
  { written: 'smtp.smtp_connect_timeout', meant: 'smtp.connect_timeout' },
  { written: 'pop3_uidl_format', meant: 'pop3.uidl_format' },
  { written: 'hostnam', meant: 'hostname' },
  { written: 'smtp.run_delay', meant: 'queue.run_delay' },
])('$written was meant to be $meant', ({ written, meant }) => {
  expect(nearestSetting(written, allKeys)).toBe(meant)
})
