/** The README's program is run as it stands there. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { tempDir } from '../support/fixtures.ts'
import { projectRoot, runProgram } from '../support/service.ts'

const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8')

test('the supervision tree of the README runs and prints what its comments say', async () => {
  const [, program = ''] = /```ts\n([\s\S]*?)```/.exec(readme) ?? []
  expect(program).toContain("from 'mailactors'")
  const file = join(tempDir(), 'tree.ts')
  // The source of this checkout stands for the installed package.
  const entry = pathToFileURL(join(projectRoot, 'src', 'index.ts')).href
  writeFileSync(file, program.replace("'mailactors'", `'${entry}'`))
  const expected = [...program.matchAll(/console\.log\(.*\/\/ (.+)$/gm)].map(([, text]) => text)
  expect(expected.length).toBeGreaterThan(0)
  const { code, stdout, stderr } = await runProgram(process.execPath, [file])
  expect({ code, lines: stdout.trim().split('\n') }, stderr).toEqual({ code: 0, lines: expected })
})

test('the README is under 150 lines', () => {
  expect(readme.split('\n').length).toBeLessThan(150)
})
