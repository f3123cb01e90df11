/**
 * This package as others get it: built from the source as it is now, packed by npm, installed from that file into a
 * directory of its own, together with what the examples need. Nothing in it sees the checkout.
 */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { projectRoot, runProgram } from './service.ts'

export const examplesDir = join(projectRoot, 'examples')
export const exampleNames = readdirSync(examplesDir, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)

interface Manifest {
  readonly files?: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
}

export const manifestOf = (dir: string) =>
  JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as Manifest

/** Why the registry cannot be reached, as npm names it; any other failure is one. */
const unreachable = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH)\b/

/** Builds and packs. Returns the path of the tarball in `dir`. */
export async function pack(dir: string): Promise<string> {
  const staged = join(dir, 'staged')
  mkdirSync(staged)
  const { files = [] } = manifestOf(projectRoot)
  for (const name of ['package.json', 'README.md', 'LICENSE', ...files]) {
    if (name !== 'dist') cpSync(join(projectRoot, name), join(staged, name), { recursive: true })
  }
  const compiler = join(projectRoot, 'node_modules', 'typescript', 'bin', 'tsc')
  // Types are checked elsewhere; an error in them is no reason that nothing runs.
  const project = join(projectRoot, 'tsconfig.build.json')
  await succeed(
    process.execPath,
    [compiler, '-p', project, '--noCheck', '--outDir', join(staged, 'dist')],
    dir,
  )
  // Its scripts build again, in the checkout.
  const stdout = await succeed(
    'npm',
    ['pack', '--ignore-scripts', '--silent', '--pack-destination', dir],
    staged,
  )
  return join(dir, stdout.trim())
}

/** Installs packages by name and version, or path, into `dir`. A reason when no registry can be reached. */
export async function install(
  dir: string,
  dependencies: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ private: true, type: 'module', dependencies }))
  // An install without a registry takes minutes to say so. What npm has in its cache may do all the same.
  const ping = ['view', 'piscina', 'version', '--prefer-online', '--fetch-retries=0', '--fetch-timeout=20000']
  const { stderr: why } = await runProgram('npm', ping, { cwd: dir, deadlineMs: 60_000 })
  const [reason] = unreachable.exec(why) ?? []
  const source = reason === undefined ? '--prefer-offline' : '--offline'
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', source]
  const { code, stdout, stderr } = await runProgram('npm', ['install', ...options], {
    cwd: dir,
    deadlineMs: 180_000,
  })
  if (code === 0) return undefined
  if (reason === undefined) throw new Error(`npm install failed\n${stdout}${stderr}`)
  return `the package registry cannot be reached: ${reason}`
}

export interface Lab {
  /** The directory whose node_modules has the package. */
  readonly dir: string
  /** Why there is nothing in it. */
  readonly reason: string | undefined
  /** A copy of an example, in which it can be run. */
  copy(example: string): string
  dispose(): void
}

/** Packs and installs once for all examples. */
export async function createLab(): Promise<Lab> {
  const dir = mkdtempSync(join(tmpdir(), 'ma-lab-'))
  const dependencies: Record<string, string> = {}
  for (const name of exampleNames) {
    const manifest = manifestOf(join(examplesDir, name))
    Object.assign(dependencies, manifest.devDependencies, manifest.dependencies)
  }
  const dispose = () => rmSync(dir, { recursive: true, force: true })
  const installed = pack(dir).then((tarball) =>
    install(dir, { ...dependencies, mailactors: `file:${tarball}` }),
  )
  const reason = await installed.catch((error: unknown) => {
    dispose()
    throw error
  })
  return {
    dir,
    reason,
    copy(example) {
      const copy = join(dir, 'examples', example)
      const filter = (source: string) => !/\/(node_modules|dist)$/.test(source)
      cpSync(join(examplesDir, example), copy, { recursive: true, filter })
      return copy
    },
    dispose,
  }
}

async function succeed(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await runProgram(program, args, { cwd, deadlineMs: 120_000 })
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} failed\n${stdout}${stderr}`)
  return stdout
}
