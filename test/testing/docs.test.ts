/** The examples of docs/testing.md, run as they stand there. */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ExploreError } from '../../src/testing/index.ts'
import { projectRoot } from '../support/service.ts'

// Beside the tests, so that their imports are found and their types are stripped.
const folder = join(import.meta.dirname, `.docs-${process.pid}`)
const text = readFileSync(join(projectRoot, 'docs/testing.md'), 'utf8')

beforeAll(() => {
  mkdirSync(folder)
  for (const [, name, code] of text.matchAll(/```ts\n\/\/ example: (\w+)\n(.*?)```/gs)) {
    const source = code!
      .replace("'mailactors/testing'", "'../../../src/testing/index.ts'")
      .replace("'mailactors'", "'../../../src/index.ts'")
    writeFileSync(join(folder, `${name}.ts`), source)
  }
})
afterAll(() => rmSync(folder, { recursive: true }))

const run = async (name: string): Promise<unknown> =>
  ((await import(join(folder, `${name}.ts`))) as { example(): Promise<unknown> }).example()

test('time', async () => {
  expect(await run('time')).toBe(60)
})

test('explore: finds the lost deposit', async () => {
  const error = await run('explore').catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(ExploreError)
  const { message, seed } = error as ExploreError
  expect(message).toMatch(/^seed \d+ fails: 20 were deposited, 10 are there\nreplay it with seeds: \[\d+\]\n/)
  // The page shows this very failure.
  expect(text).toContain(
    `seed ${seed} fails: 20 were deposited, 10 are there\nreplay it with seeds: [${seed}]`,
  )
  expect(message).toContain('account#')
})

test('faults', async () => {
  expect(await run('faults')).toMatchObject({ seeds: 50 })
})

test('connection', async () => {
  expect(await run('connection')).toBe(true)
})
