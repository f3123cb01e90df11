import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { documented, documentedKeys, namedTables } from '../../src/config/keys.ts'
import { referenceMarkdown } from '../../src/config/reference.ts'
import { parseValue } from '../../src/config/values.ts'

test('docs/configuration.md is what `mailactors config --markdown` writes', () => {
  const written = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
  expect(written).toBe(referenceMarkdown())
})

test.each(documentedKeys.map((key) => ({ key })))(
  '$key is documented, and its default is in its range',
  ({ key }) => {
    const entry = documented(key)
    expect(entry?.doc).toMatch(/^.{10,}$/s)
    const { type, default: value, min, max } = entry ?? {}
    if (typeof value === 'number') {
      expect(value).toBeGreaterThanOrEqual(min ?? value)
      expect(value).toBeLessThanOrEqual(max ?? value)
    }
    // Required keys of a listener have no default of their own.
    if (type !== 'duration' && type !== 'size' && key !== 'listener.address' && entry !== undefined) {
      expect(parseValue(entry, value)).toEqual({ value })
    }
  },
)

test('keys are snake_case', () => {
  for (const { table } of namedTables) {
    for (const key of Object.keys(table)) expect(key).toMatch(/^[a-z0-9]+(_[a-z0-9]+)*$/)
  }
})
