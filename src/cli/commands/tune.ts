import { availableParallelism, tmpdir } from 'node:os'
import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { Result } from '../bench/measured.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { tableText } from '../format.ts'
import { withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'
import { scenarioNamed, secondsOf } from './bench.ts'

interface Options {
  readonly seconds: string
  readonly scenario: string
  readonly dir: string
  readonly json?: boolean
}

interface Tried {
  readonly connections: number
  readonly deliveries: number
  readonly result: Result
}

/** A setting that is worse by less than this is as good: fewer threads win. */
const noise = 0.05

/** `mailactors tune`: the pool sizes that suit this machine. */
export function addTuneCommand(program: Command, terminal: Terminal): void {
  const command = program
    .command('tune')
    .description('try sizes of the thread pools under generated load, and say which settings to use')
    .option('--seconds <n>', 'how long each size is measured', '5')
    .option('--scenario <name>', 'the load: one of the scenarios of bench', 'relay')
    .option('--dir <dir>', 'where data is kept while it runs', tmpdir())
  withJson(command).action(async (options: Options) => {
    const seconds = secondsOf('tune', options.seconds)
    const scenario = scenarioNamed('tune', options.scenario)
    if (scenario.name === 'actors') {
      throw new CommandFailure(exitCodes.usage, 'tune: actors runs no service (choose a scenario of mail)')
    }
    const sizes = sizesToTry(availableParallelism())
    const hasDeliveries = scenario.name === 'relay'
    const tried: Tried[] = []
    for (const connections of sizes) {
      for (const deliveries of hasDeliveries ? sizes : [1]) {
        const tables = poolTables(connections, deliveries)
        const result = await scenario.run({ seconds, dir: resolve(terminal.cwd, options.dir), tables })
        tried.push({ connections, deliveries, result })
        if (!options.json) terminal.print(row({ connections, deliveries, result }))
      }
    }
    const best = bestOf(tried)
    const settings = poolTables(best.connections, best.deliveries)
    if (options.json)
      printJson(terminal, { scenario: scenario.name, tried: tried.map(summary), recommended: settings })
    else terminal.print(`\n${table(tried)}\nRecommended for ${scenario.name}:\n\n${settings}`)
  })
}

/** 1, 2, 4, … up to the cores, and the cores themselves. */
export function sizesToTry(cores: number): number[] {
  const sizes: number[] = []
  for (let size = 1; size < cores; size *= 2) sizes.push(size)
  return [...sizes, cores]
}

/** The fewest threads that are as fast as the fastest. */
export function bestOf<T extends { connections: number; deliveries: number; result: { perSecond: number } }>(
  tried: readonly T[],
): T {
  const top = Math.max(...tried.map(({ result }) => result.perSecond))
  const good = tried.filter(({ result }) => result.perSecond >= top * (1 - noise))
  return good.toSorted((a, b) => a.connections + a.deliveries - (b.connections + b.deliveries))[0]!
}

const poolTables = (connections: number, deliveries: number): string =>
  Object.entries({ connections, deliveries })
    .map(([pool, size]) => `[pools.${pool}]\nmin_threads = ${size}\nmax_threads = ${size}\n`)
    .join('\n')

const summary = ({ connections, deliveries, result }: Tried) => ({
  connections,
  deliveries,
  perSecond: result.perSecond,
  perCpuSecond: result.perCpuSecond,
  p50Ms: result.p50Ms,
  p99Ms: result.p99Ms,
})

const row = ({ connections, deliveries, result }: Tried): string =>
  `connections ${connections}, deliveries ${deliveries}: ${result.perSecond.toFixed(0)} ${result.unit}/s\n`

function table(tried: readonly Tried[]): string {
  const titles = ['CONNECTIONS', 'DELIVERIES', 'PER SECOND', 'PER CPU SECOND', 'P50 MS', 'P99 MS']
  return tableText(
    titles.map((title) => ({ title })),
    tried.map(({ connections, deliveries, result }) => [
      `${connections}`,
      `${deliveries}`,
      result.perSecond.toFixed(0),
      result.perCpuSecond?.toFixed(0) ?? '-',
      result.p50Ms.toFixed(1),
      result.p99Ms.toFixed(1),
    ]),
  )
}
