/** Refused logins on disk. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FailureTable } from '../../../../../src/protocols/smtp/client/sasl/failure-table.ts'
import { tempDir } from '../../../../support/fixtures.ts'

const failure = { at: 1, salt: 's', digest: 'd', dsn: '5.7.8', reason: 'no' }

test('a refused login is there after a restart, until it is forgotten', () => {
  const directory = tempDir()
  const first = new FailureTable(directory)
  first.remember('mx;u', failure)
  first.close()
  const second = new FailureTable(directory)
  expect(second.find('mx;u')).toEqual(failure)
  second.forget('mx;u')
  expect(second.find('mx;u')).toBe(null)
  second.close()
})

test('a file that is no database is made anew', () => {
  const directory = tempDir()
  writeFileSync(join(directory, 'failures.db'), 'x'.repeat(10_000))
  const table = new FailureTable(directory)
  table.remember('mx;u', failure)
  expect(table.find('mx;u')).toEqual(failure)
  table.close()
})
