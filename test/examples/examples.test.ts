/** The example projects, each run from a copy beside the package as npm packs and installs it. */
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { tempDir } from '../support/fixtures.ts'
import { createLab } from '../support/packed.ts'
import { projectRoot, runProgram } from '../support/service.ts'

const lab = await createLab()
afterAll(() => lab.dispose())

/** Runs a script of an example's package.json, with the Node of these tests. */
async function run(dir: string, script: string, ...args: readonly string[]): Promise<string> {
  const path = [join(lab.dir, 'node_modules', '.bin'), join(process.execPath, '..'), process.env.PATH].join(
    ':',
  )
  const { code, stdout, stderr } = await runProgram('npm', ['run', '--silent', script, '--', ...args], {
    cwd: dir,
    env: { PATH: path, NO_COLOR: '1', FORCE_COLOR: '0' },
    deadlineMs: 120_000,
  })
  expect({ code }, `${stdout}${stderr}`).toEqual({ code: 0 })
  return stdout
}

const skipped = lab.reason === undefined ? '' : ` (skipped: ${lab.reason})`

describe.skipIf(lab.reason !== undefined)(`from the packed package${skipped}`, { timeout: 180_000 }, () => {
  test('TypeScript starts in worker threads as it is, and its types hold', async () => {
    const dir = lab.copy('typescript')
    expect(await run(dir, 'start')).toBe('42 worker\n')
    await run(dir, 'check')
  })

  test('the guide’s tree has twenty lines and prints what it says', async () => {
    const guide = readFileSync(join(projectRoot, 'docs', 'embed.md'), 'utf8')
    const [, program = ''] = /```ts\n([\s\S]*?)```/.exec(guide) ?? []
    expect(program.trim().split('\n').length).toBeLessThanOrEqual(20)
    const [, printed] = /console\.log\(.*\/\/ (.+)$/m.exec(program) ?? []
    writeFileSync(join(lab.dir, 'tree.ts'), program)
    const tree = await runProgram(process.execPath, ['tree.ts'], { cwd: lab.dir })
    expect(tree, tree.stderr).toMatchObject({ code: 0, stdout: `${printed}\n` })
  })

  test('plain JavaScript in one file, as ES module and as CommonJS', async () => {
    const dir = lab.copy('packed-javascript')
    expect(await run(dir, 'start')).toBe('42 worker\n')
    expect(await run(dir, 'start:cjs')).toBe('42 worker\n')
  })

  test('in a directory with an odd name', async () => {
    const odd = join(lab.dir, 'examples', 'ä #1% b?')
    renameSync(lab.copy('packed-javascript'), odd)
    expect(await run(odd, 'start')).toBe('42 worker\n')
    const bundler = lab.copy('esbuild')
    await run(bundler, 'build')
    const bundle = join(odd, 'bundle')
    for (const name of ['dist', 'package.json']) {
      cpSync(join(bundler, name), join(bundle, name), { recursive: true })
    }
    expect(await run(bundle, 'start')).toBe('42 worker\n')
  })

  test('vitest tests TypeScript actors, on worker threads and in virtual time', async () => {
    const dir = lab.copy('vitest')
    expect(await run(dir, 'test')).toMatch(/Tests +2 passed/)
    // Its main thread is then a worker itself.
    expect(await run(dir, 'test', '--pool=threads')).toMatch(/Tests +2 passed/)
  })

  test.each(['crawler', 'chat', 'jobs'])('%s keeps its promises, and its types hold', async (example) => {
    const dir = lab.copy(example)
    expect(await run(dir, 'test')).toMatch(/Tests +\d+ passed/)
    await run(dir, 'check')
  })

  describe.each(['esbuild', 'vite'])('bundled with %s', (bundler) => {
    test('into one file, it runs where there are no packages', async () => {
      const dir = lab.copy(bundler)
      await run(dir, 'build')
      const alone = tempDir()
      for (const name of ['dist', 'package.json'])
        cpSync(join(dir, name), join(alone, name), { recursive: true })
      expect(await run(alone, 'start')).toBe('42 worker\n')
    })

    test('with packages left external', async () => {
      const dir = lab.copy(bundler)
      await run(dir, 'build:external')
      expect(await run(dir, 'start')).toBe('42 worker\n')
    })
  })

  test.each([
    ['NodeNext', ['--module', 'NodeNext']],
    ['Bundler', ['--module', 'ESNext', '--moduleResolution', 'Bundler']],
    ['Bundler, beside those of a browser', ['--module', 'Preserve', '--lib', 'ES2024,DOM,ESNext.Disposable']],
  ])('the declarations hold with module resolution %s, libraries checked too', async (_name, options) => {
    const dir = mkdtempSync(join(lab.dir, 'types-'))
    writeFileSync(join(dir, 'consumer.ts'), consumer)
    const compiler = join(lab.dir, 'node_modules', 'typescript', 'bin', 'tsc')
    const { code, stdout } = await runProgram(
      process.execPath,
      [compiler, '--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'ES2024']
        .concat(['--types', 'node', '--lib', 'ES2024,ESNext.Disposable'], options)
        .concat('consumer.ts'),
      { cwd: dir },
    )
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
    rmSync(dir, { recursive: true })
  })
})

/** Every door of the package, and a mistake behind each that the compiler has to see. */
const consumer = `
import { ActorSystem, actor, supervisor, type ActorRef, type Contract } from 'mailactors'
import { loadConfig, serve } from 'mailactors/mail'
import { TestSystem } from 'mailactors/testing'

type Counter = Contract<{ add(by: number): number }>
const counter = actor<Counter, { start: number }>({
  name: 'counter',
  module: import.meta.url,
  init: (_context, { start }) => ({ add: (by) => start + by }),
})
export const top = supervisor({
  name: 'top',
  module: import.meta.url,
  init: () => ({ strategy: 'one_for_one', children: [{ id: 'counter', actor: counter, args: { start: 1 } }] }),
})
export async function use(): Promise<number> {
  await using test = await TestSystem.start()
  const ref: ActorRef<Counter> = test.spawn(counter, { start: 1 })
  // @ts-expect-error: not a number
  ref.tell('add', '1')
  // @ts-expect-error: no such message
  ref.tell('subtract', 1)
  // @ts-expect-error: no such argument
  test.spawn(counter, { begin: 1 })
  // @ts-expect-error: no such option
  await ActorSystem.start({ pool: {} })
  return await ref.ask('add', 1)
}
export const mail: readonly unknown[] = [loadConfig, serve]
`
