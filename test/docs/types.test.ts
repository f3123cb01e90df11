/** The code of docs/actors.md holds for the type checker too, as a program of its own. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(import.meta.dirname, 'types-'))
})
afterAll(() => rm(folder, { recursive: true }))

test('the code of docs/actors.md compiles', async () => {
  const page = await readFile(join(root, 'docs/actors.md'), 'utf8')
  const imports = new Set<string>()
  const others = new Set<string>()
  let modules = ''
  let programs = ''
  for (const [, block = ''] of page.matchAll(/^```ts\n(.*?)^```$/gms)) {
    const code = block.replaceAll(
      /^import \{ (.*) \} from '(.*)'$/gm,
      (line, names: string, from: string) => {
        if (from.startsWith('node:')) others.add(line)
        else for (const name of names.split(', ')) imports.add(name.replace('type ', ''))
        return ''
      },
    )
    if (code.includes('export const')) modules += code
    // What one program names, the next one may name too.
    else programs += code.includes('const any') ? `{${code}}\n` : code
  }
  const own = [...modules.matchAll(/export (?:const|type) (\w+)/g)].map(([, name]) => name!)
  const names = [...imports].filter((name) => !own.includes(name))
  const head = `import { ${names.join(', ')} } from '../../../src/index.ts'\n${[...others].join('\n')}\n`
  await writeFile(join(folder, 'page.ts'), head + modules + programs)
  const options = {
    extends: '../../../tsconfig.json',
    compilerOptions: { noEmit: true, verbatimModuleSyntax: false, noUnusedLocals: false },
    include: ['page.ts'],
  }
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(options))
  const tsc = join(root, 'node_modules/.bin/tsc')
  const said = await promisify(execFile)(tsc, ['-p', folder]).then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  )
  expect(said).toBe('')
}, 60_000)
