import { createInterface } from 'node:readline'
import type { Command } from 'commander'
import type { CacheReport, ConnectionCounters, IdleRow } from '../../cache/contract.ts'
import { readableLabel } from '../../cache/labels.ts'
import { CacheScript } from '../../cache/script.ts'
import { ControlClient } from '../control-client.ts'
import { spanText, tableText } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
}

/** `mailactors cache list|stats|flush|script`. */
export function addCacheCommand(program: Command, terminal: Terminal): void {
  const cache = program.command('cache').description('the connection cache of the running service')
  const client = (options: ConfigOptions) => new ControlClient(loadOrFail(terminal, options).config.data_dir)

  const list = cache.command('list', { isDefault: true }).description('idle connections')
  withJson(withConfigOptions(list)).action(async (options: Options) => {
    const rows: IdleRow[] = []
    await client(options).request('cache.list', {}, { onItem: (row) => rows.push(row as IdleRow) })
    if (options.json) printJson(terminal, rows)
    else if (rows.length === 0) terminal.print('No idle connections.\n')
    else {
      terminal.print(
        tableText(
          [
            { title: 'RELAY' },
            { title: 'TLS' },
            { title: 'USES', right: true },
            { title: 'EXPIRES', right: true },
            { title: 'FOR' },
          ],
          rows.map((row) => [
            row.relay,
            row.tls ? 'yes' : 'no',
            String(row.uses),
            `${(row.expiresInMs / 1_000).toFixed(1)}s`,
            row.destinations.map(readableLabel).join(', ') || '(found by its address)',
          ]),
        ),
      )
    }
  })

  const stats = cache.command('stats').description('hits, misses and peak sizes')
  withJson(withConfigOptions(stats)).action(async (options: Options) => {
    const found = (await client(options).request('cache.stats')) as CacheReport
    if (options.json) printJson(terminal, found)
    else terminal.print(statisticsText(found))
  })

  const flush = cache.command('flush').description('close all idle connections')
  const script = cache
    .command('script')
    .description('the requests of the cache from standard input, one a line, on a table of its own')
    .addHelpText(
      'after',
      '\nRequests: save_endp TTL ENDPOINT PROPERTIES [FD], find_endp ENDPOINT, save_dest TTL DESTINATION PROPERTIES\n' +
        'ENDPOINT, find_dest DESTINATION, sleep SECONDS (which takes no time), size, stats, report. Each is answered with\n' +
        'a line: 0 done, 1 malformed, 2 not found, and what was found. cache.ttl_limit counts; no service is needed.',
    )
  withConfigOptions(script).action(async (options: Options) => {
    const { config } = loadOrFail(terminal, options)
    const table = new CacheScript(config.cache.ttl_limit)
    for await (const line of createInterface({ input: terminal.stdin })) {
      const answer = table.run(line)
      if (answer !== undefined) terminal.print(`${answer}\n`)
    }
  })

  withJson(withConfigOptions(flush)).action(async (options: Options) => {
    const { closed } = (await client(options).request('cache.flush')) as { closed: number }
    if (options.json) printJson(terminal, { closed })
    else terminal.print(`Closed ${closed} idle connection${closed === 1 ? '' : 's'}.\n`)
  })
}

function statisticsText(stats: CacheReport): string {
  const rate = (hits: number, misses: number) =>
    hits + misses === 0
      ? 'never asked'
      : `${hits} hits, ${misses} misses (${Math.floor((100 * hits) / (hits + misses))}%)`
  const lookups = (name: string, { total, ...now }: CacheReport, of: 'destination' | 'endpoint') => [
    name,
    rate(total[`${of}Hits`], total[`${of}Misses`]),
    rate(now[`${of}Hits`], now[`${of}Misses`]),
  ]
  const interval = `${new Date(stats.since).toISOString()} (${spanText(Date.now() - stats.since)})`
  const columns = [{ title: '' }, { title: 'SINCE THE CACHE STARTED' }, { title: `SINCE ${interval}` }]
  return [
    tableText(columns, [
      lookups('destinations', stats, 'destination'),
      lookups('endpoints', stats, 'endpoint'),
      [
        'at most',
        '',
        `${stats.maxDestinations} destinations, ${stats.maxEndpoints} endpoints, ${stats.maxSessions} connections`,
      ],
    ]).trimEnd(),
    '',
    `kept          ${flowText(stats.connections)}`,
    ...savingsLines(stats),
    '',
  ].join('\n')
}

function flowText({ saved, lent, retired, lost, held, ...closed }: ConnectionCounters): string {
  const ends = { 'used again': lent, 'ended by the server': retired, ...closed, 'lost with a thread': lost }
  const parts = Object.entries({ ...ends, 'idle now': held }).filter(([, count]) => count > 0)
  const parted = parts.map(([what, count]) => `${count} ${what}`).join(', ')
  return `${saved} times${parted === '' ? '' : `: ${parted}`}`
}

function savingsLines({ savings }: CacheReport): string[] {
  const { handshakesSpared, msSpared, destinations } = savings
  const total = `spared        ${handshakesSpared} handshakes, ${spanOf(msSpared)}`
  if (destinations.length === 0) return [total]
  const rows = destinations.map((row) => [
    row.destination === '' ? '(others)' : readableLabel(row.destination),
    String(row.hits),
    String(row.misses),
    String(row.handshakesSpared),
    spanOf(row.msSpared),
  ])
  const columns = [
    { title: 'DESTINATION' },
    { title: 'HITS', right: true },
    { title: 'MISSES', right: true },
    { title: 'HANDSHAKES SPARED', right: true },
    { title: 'TIME SPARED', right: true },
  ]
  return [total, '', tableText(columns, rows).trimEnd()]
}

const spanOf = (ms: number) => (ms < 10_000 ? `${ms} ms` : spanText(ms))
