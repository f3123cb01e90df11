import type { Command } from 'commander'
import type { CacheStatistics } from '../../cache/contract.ts'
import { ControlClient } from '../control-client.ts'
import { spanText, tableText } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
}

interface CacheRow {
  readonly destination: string
  readonly endpoint: string
  readonly connection: number
  readonly expiresInMs: number
}

/** `mailactors cache list|stats|flush`. */
export function addCacheCommand(program: Command, terminal: Terminal): void {
  const cache = program.command('cache').description('the connection cache of the running service')
  const client = (options: ConfigOptions) => new ControlClient(loadOrFail(terminal, options).config.data_dir)

  const list = cache.command('list', { isDefault: true }).description('idle connections')
  withJson(withConfigOptions(list)).action(async (options: Options) => {
    const rows: CacheRow[] = []
    await client(options).request('cache.list', {}, { onItem: (row) => rows.push(row as CacheRow) })
    if (options.json) printJson(terminal, rows)
    else if (rows.length === 0) terminal.print('No idle connections.\n')
    else {
      terminal.print(
        tableText(
          [{ title: 'DESTINATION' }, { title: 'ENDPOINT' }, { title: 'EXPIRES', right: true }],
          rows.map((row) => [row.destination, row.endpoint, `${(row.expiresInMs / 1_000).toFixed(1)}s`]),
        ),
      )
    }
  })

  const stats = cache.command('stats').description('hits, misses and peak sizes')
  withJson(withConfigOptions(stats)).action(async (options: Options) => {
    const found = (await client(options).request('cache.stats')) as CacheStatistics
    if (options.json) printJson(terminal, found)
    else terminal.print(statisticsText(found))
  })

  const flush = cache.command('flush').description('close all idle connections')
  withJson(withConfigOptions(flush)).action(async (options: Options) => {
    const { closed } = (await client(options).request('cache.flush')) as { closed: number }
    if (options.json) printJson(terminal, { closed })
    else terminal.print(`Closed ${closed} idle connection${closed === 1 ? '' : 's'}.\n`)
  })
}

function statisticsText(stats: CacheStatistics): string {
  const rate = (hits: number, misses: number) =>
    hits + misses === 0
      ? 'never asked'
      : `${hits} hits, ${misses} misses (${Math.round((100 * hits) / (hits + misses))}%)`
  return [
    `since         ${new Date(stats.since).toISOString()} (${spanText(Date.now() - stats.since)})`,
    `destinations  ${rate(stats.destinationHits, stats.destinationMisses)}`,
    `endpoints     ${rate(stats.endpointHits, stats.endpointMisses)}`,
    `at most       ${stats.maxDestinations} destinations, ${stats.maxEndpoints} endpoints, ${stats.maxSessions} connections`,
    '',
  ].join('\n')
}
