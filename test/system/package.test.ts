/** The package as others install it: built, its files alone, imported by its name. */
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { tempDir } from '../support/fixtures.ts'
import { projectRoot, runProgram } from '../support/service.ts'

const manifest = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as {
  readonly dependencies: Readonly<Record<string, string>>
  readonly files: readonly string[]
}

/** A directory whose node_modules has this package, built from the source as it is now, and what it depends on. */
async function installed(): Promise<string> {
  const dir = tempDir()
  const root = join(dir, 'node_modules', 'mailactors')
  mkdirSync(root, { recursive: true })
  const compiler = join(projectRoot, 'node_modules', 'typescript', 'bin', 'tsc')
  const built = await runProgram(
    process.execPath,
    [compiler, '-p', join(projectRoot, 'tsconfig.build.json'), '--outDir', join(root, 'dist')],
    { deadlineMs: 60_000 },
  )
  expect(built, built.stdout).toMatchObject({ code: 0 })
  for (const name of ['package.json', 'bin'])
    cpSync(join(projectRoot, name), join(root, name), { recursive: true })
  for (const name of Object.keys(manifest.dependencies)) {
    const link = join(dir, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(projectRoot, 'node_modules', name), link)
  }
  return dir
}

test('it runs without the source: the command and the library', { timeout: 90_000 }, async () => {
  const dir = await installed()
  const command = join(dir, 'node_modules', 'mailactors', 'bin', 'mailactors.js')
  const defaults = await runProgram(process.execPath, [command, 'config', '--defaults'], { cwd: dir })
  expect(defaults).toMatchObject({ code: 0 })
  expect(defaults.stdout).toContain('minimal_backoff_time')

  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8')
  const [, program = ''] = /```ts\n([\s\S]*?)```/.exec(readme) ?? []
  writeFileSync(join(dir, 'tree.ts'), program)
  const tree = await runProgram(process.execPath, ['tree.ts'], { cwd: dir })
  expect(tree, tree.stderr).toMatchObject({ code: 0, stdout: '42\n41\n' })

  const doors = [
    "import { createRequire } from 'node:module'",
    "import { ActorSystem } from 'mailactors'",
    "import { loadConfig, serve } from 'mailactors/mail'",
    "import { TestSystem } from 'mailactors/testing'",
    'console.log([ActorSystem, loadConfig, serve, TestSystem].map((each) => typeof each).join())',
    'const listener = \'listener=[{service="smtp",address="127.0.0.1:0"}]\'',
    "const service = await serve(loadConfig({ set: ['data_dir=data', listener] }))",
    'console.log(service.listeners.map((each) => each.service).join())',
    'await service.stop()',
    "console.log(createRequire(import.meta.url)('mailactors').ActorSystem === ActorSystem)",
  ].join('\n')
  writeFileSync(join(dir, 'doors.mjs'), doors)
  const opened = await runProgram(process.execPath, ['doors.mjs'], { cwd: dir })
  expect(opened, opened.stderr).toMatchObject({
    code: 0,
    stdout: 'function,function,function,function\nsmtp\ntrue\n',
  })
})

test('the package has what it needs and no tests', () => {
  expect(manifest.files).toEqual(expect.arrayContaining(['bin', 'dist']))
  expect(manifest.files.some((name) => /test|bench/.test(name))).toBe(false)
})
