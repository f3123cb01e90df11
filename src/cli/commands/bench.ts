import { writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Result } from '../bench/measured.ts'
import { resultPage } from '../bench/page.ts'
import { type BenchScenario, benchScenarios } from '../bench/scenarios.ts'
import { makeWritable } from '../directory.ts'
import { CommandFailure, exitCodes, systemFailure } from '../exit.ts'
import { tableText } from '../format.ts'
import { withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options {
  readonly seconds: string
  readonly out?: string
  readonly dir: string
  readonly json?: boolean
}

const names = benchScenarios.map(({ name }) => name).join(', ')

/** `mailactors bench`: how fast this machine does it. */
export function addBenchCommand(program: Command, terminal: Terminal): void {
  const command = program
    .command('bench')
    .description('measure this machine: a service of its own under generated load, for each scenario')
    .argument('[scenario...]', `what to run: ${names} (default: all)`)
    .option('--seconds <n>', 'how long each is measured', '10')
    .option('--out <dir>', 'write bench.json and a page with plots, bench.html, there')
    .option('--dir <dir>', 'where data is kept while it runs: the disk that is measured', tmpdir())
  withJson(command).action(async (wanted: string[], options: Options) => {
    const seconds = secondsOf('bench', options.seconds)
    const chosen = wanted.length === 0 ? benchScenarios : wanted.map((name) => scenarioNamed('bench', name))
    const out = options.out === undefined ? undefined : resolve(terminal.cwd, options.out)
    // Before hours of measuring, not after.
    if (out !== undefined) orFail(out, () => makeWritable(out, 0o777))
    const results: Result[] = []
    for (const scenario of chosen) {
      if (!options.json) terminal.print(`${scenario.name}: ${scenario.summary}\n`)
      const result = await scenario.run({ seconds, dir: resolve(terminal.cwd, options.dir) })
      results.push(result)
      if (!options.json) terminal.print(resultsTable([result]))
    }
    const [cpu] = cpus()
    const machine = { node: process.version, cores: `${cpus().length}`, cpu: cpu?.model ?? 'unknown' }
    const document = { at: new Date().toISOString(), machine, results }
    if (options.json) printJson(terminal, document)
    if (out !== undefined) writeResults(out, document)
  })
}

export function secondsOf(command: string, text: string): number {
  const seconds = Number(text)
  if (Number.isFinite(seconds) && seconds > 0 && seconds <= 3600) return seconds
  throw new CommandFailure(exitCodes.usage, `${command}: --seconds ${text} (give 1 to 3600)`)
}

export function scenarioNamed(command: string, name: string): BenchScenario {
  const found = benchScenarios.find((scenario) => scenario.name === name)
  if (found !== undefined) return found
  throw new CommandFailure(exitCodes.usage, `${command}: there is no scenario ${name} (valid are ${names})`)
}

function resultsTable(results: readonly Result[]): string {
  const columns = ['', 'PER SECOND', 'PER CPU SECOND', 'P50 MS', 'P99 MS'].map((title) => ({ title }))
  return tableText(
    columns,
    results.map(({ unit, perSecond, perCpuSecond, p50Ms, p99Ms }) => [
      unit,
      perSecond.toFixed(0),
      perCpuSecond?.toFixed(0) ?? '-',
      p50Ms.toFixed(1),
      p99Ms.toFixed(1),
    ]),
  )
}

function writeResults(
  out: string,
  document: {
    readonly at: string
    readonly machine: Readonly<Record<string, string>>
    readonly results: readonly Result[]
  },
): void {
  orFail(out, () => {
    writeFileSync(join(out, 'bench.json'), `${JSON.stringify(document, undefined, 2)}\n`)
    writeFileSync(
      join(out, 'bench.html'),
      resultPage(document.results, { ...document.machine, at: document.at }),
    )
  })
}

function orFail(out: string, work: () => void): void {
  try {
    work()
  } catch (error) {
    const { why, exitCode } = systemFailure(error)
    throw new CommandFailure(
      exitCode === exitCodes.noInput ? exitCodes.cannotCreate : exitCode,
      `bench: --out ${out}: ${why} (name a directory that can be written)`,
    )
  }
}
