/** The API reference is what the comments in the source say now. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as main from '../../src/index.ts'
import * as mail from '../../src/mail.ts'
import * as testing from '../../src/testing/index.ts'
import { apiReference, referenceFile } from '../../tools/api-reference.ts'

const now = apiReference()

test('docs/api.md is current; `npm run docs` writes it', () => {
  expect(readFileSync(referenceFile, 'utf8') === now, 'run `npm run docs` and commit docs/api.md').toBe(true)
})

test.each([
  ['mailactors', main],
  ['mailactors-testing', testing],
  ['mailactors-mail', mail],
])('it has every value that %s exports', (entry, exports) => {
  const missing = Object.keys(exports).filter(
    (name) => !now.includes(`<a id="${entry}-${name.toLowerCase()}"></a>${name}\n`),
  )
  expect(missing).toEqual([])
})

test('it shows what is public, with its comments, and nothing private', () => {
  const [, system = ''] = /<\/a>ActorSystem\n[\s\S]*?```ts\n([\s\S]*?)```/.exec(now) ?? []
  expect(system).toContain('static start(options?: SystemOptions): Promise<ActorSystem>;')
  expect(system).toContain('/** Starts a child of the root supervisor. */')
  expect(system).not.toMatch(/#|private|@internal|isIdle/)
})
