import { setTimeout as sleep } from 'node:timers/promises'
import { type Command, InvalidArgumentError } from 'commander'
import type { PoolRow, ThreadRow, TreeNode } from '../../admin/contract.ts'
import { ControlClient } from '../control-client.ts'
import { octetsText, spanText, tableText, visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
}

interface ResizeOptions extends Options {
  readonly min?: number
  readonly max?: number
  readonly actorsPerThread?: number
}

interface TopOptions extends Options {
  /** Seconds. */
  readonly every: number
  readonly count?: number
}

/** What `pools.list` answers. */
export interface PoolList {
  readonly pools: readonly PoolRow[]
  readonly threads: readonly ThreadRow[]
}

/** `mailactors pools list|resize|recycle` and `mailactors top`. */
export function addPoolsCommands(program: Command, terminal: Terminal): void {
  const pools = program.command('pools').description('the worker pools of the running service, live')
  const client = (options: ConfigOptions) => new ControlClient(loadOrFail(terminal, options).config.data_dir)

  const list = pools.command('list', { isDefault: true }).description('pools and their threads')
  withJson(withConfigOptions(list)).action(async (options: Options) => {
    const found = (await client(options).request('pools.list')) as PoolList
    if (options.json) printJson(terminal, found)
    else terminal.print(poolsText(found))
  })

  const resize = pools
    .command('resize')
    .argument('<name>', 'the pool')
    .description('change the size of a pool; threads that are too many finish what they have')
    .option('--min <threads>', 'threads that are always there', whole)
    .option('--max <threads>', 'most threads', whole)
    .option('--actors-per-thread <actors>', 'most actors of one thread', whole)
  withJson(withConfigOptions(resize)).action(async (name: string, options: ResizeOptions) => {
    const { min, max, actorsPerThread } = options
    const size = { minThreads: min, maxThreads: max, actorsPerThread }
    const row = (await client(options).request('pools.resize', { name, ...size })) as PoolRow
    if (options.json) printJson(terminal, row)
    else {
      terminal.print(
        `Pool ${row.name}: ${row.minThreads} to ${row.maxThreads} threads of up to ${row.actorsPerThread} actors; ` +
          `${row.threads} now${row.draining > 0 ? `, and ${row.draining} that finish` : ''}.\n`,
      )
    }
  })

  const recycle = pools
    .command('recycle')
    .argument('<name>', 'the pool')
    .description('replace the threads of a pool; the old ones finish what they have')
  withJson(withConfigOptions(recycle)).action(async (name: string, options: Options) => {
    const answer = (await client(options).request('pools.recycle', { name })) as { threads: number[] }
    if (options.json) printJson(terminal, answer)
    else if (answer.threads.length === 0) terminal.print(`Pool ${visible(name)} has no threads.\n`)
    else terminal.print(`Replaced; thread ${answer.threads.join(', ')} takes nothing new and finishes.\n`)
  })

  const top = program
    .command('top')
    .description('threads and the busiest actors, refreshing; once when the output is no terminal')
    .option('--every <seconds>', 'time between two screens', seconds, 2)
    .option('--count <screens>', 'end after so many', whole)
  withJson(withConfigOptions(top)).action((options: TopOptions) => runTop(client(options), terminal, options))
}

function whole(value: string): number {
  if (/^\d{1,9}$/.test(value)) return Number(value)
  throw new InvalidArgumentError('It must be a whole number.')
}

function seconds(value: string): number {
  const parsed = Number(value)
  if (value.trim() !== '' && parsed >= 0.1 && parsed <= 3_600) return parsed
  throw new InvalidArgumentError('It must be seconds, from 0.1 to 3600.')
}

/** Pools, then threads. */
export function poolsText({ pools, threads }: PoolList): string {
  const right = true
  const poolTable = tableText(
    [
      { title: 'POOL' },
      { title: 'THREADS', right },
      { title: 'MIN', right },
      { title: 'MAX', right },
      { title: 'PER THREAD', right },
      { title: 'ACTORS', right },
      { title: 'DRAINING', right },
      { title: 'RECYCLED', right },
      { title: 'STALLS', right },
      { title: 'CRASHES', right },
      { title: '' },
    ],
    pools.map((row) => [
      row.name,
      String(row.threads),
      String(row.minThreads),
      String(row.maxThreads),
      row.actorsPerThread === null ? 'any' : String(row.actorsPerThread),
      String(row.actors),
      String(row.draining),
      String(row.recycled),
      String(row.stalls),
      String(row.crashes),
      row.quarantinedMs > 0 ? `quarantined for ${spanText(row.quarantinedMs)}` : '',
    ]),
  )
  return `${poolTable}\n${threadsText(threads)}`
}

function threadsText(threads: readonly ThreadRow[]): string {
  const right = true
  return tableText(
    [
      { title: 'THREAD', right },
      { title: 'POOL' },
      { title: 'STATE' },
      { title: 'ACTORS', right },
      { title: 'STARTED', right },
      { title: 'BUSY', right },
      { title: 'HEAP', right },
      { title: 'UP', right },
      { title: 'STALLS', right },
      { title: '' },
    ],
    threads.map((row) => [
      String(row.thread),
      row.pool,
      row.state ?? '',
      String(row.actors),
      String(row.started ?? ''),
      `${Math.round(100 * row.utilization)}%`,
      octetsText(row.heapBytes),
      row.uptimeMs === undefined ? '' : spanText(row.uptimeMs),
      String(row.stalls ?? 0),
      (row.stalledMs ?? 0) > 0 ? `stuck for ${spanText(row.stalledMs ?? 0)}` : '',
    ]),
  )
}

interface Sample {
  readonly at: number
  readonly list: PoolList
  readonly actors: ReadonlyMap<number, TreeNode>
}

/** Actors shown, those that handled most since the screen before. */
const mostActors = 15

async function runTop(client: ControlClient, terminal: Terminal, options: TopOptions): Promise<void> {
  const isLive = terminal.isTerminal && options.json !== true
  const screens = options.count ?? (isLive ? Number.POSITIVE_INFINITY : 1)
  let before: Sample | undefined
  for (let screen = 1; screen <= screens; screen++) {
    const now = await sample(client)
    if (options.json)
      printJson(terminal, { ...now.list, actors: busiest(now, before).map(([node]) => row(node)) })
    else terminal.print(`${isLive ? '\u001b[H\u001b[2J' : ''}${topText(now, before)}`)
    before = now
    if (screen < screens) await sleep(options.every * 1_000)
  }
}

async function sample(client: ControlClient): Promise<Sample> {
  const [list, tree] = await Promise.all([client.request('pools.list'), client.request('tree')])
  const actors = new Map<number, TreeNode>()
  const add = (node: TreeNode): void => {
    actors.set(node.id, node)
    node.children.forEach(add)
  }
  add(tree as TreeNode)
  return { at: performance.now(), list: list as PoolList, actors }
}

/** Actors with the messages they handled since `before`, or ever; most first, then those with the longest queues. */
function busiest(now: Sample, before: Sample | undefined): (readonly [TreeNode, number])[] {
  const rated = [...now.actors.values()].map(
    (node) => [node, node.handled - (before?.actors.get(node.id)?.handled ?? 0)] as const,
  )
  rated.sort(([one, a], [other, b]) => b - a || other.queueLength - one.queueLength || one.id - other.id)
  return rated.slice(0, mostActors)
}

function row({ children: _, ...node }: TreeNode): Omit<TreeNode, 'children'> {
  return node
}

/** One screen. */
export function topText(now: Sample, before: Sample | undefined): string {
  const right = true
  const spanS = before === undefined ? undefined : (now.at - before.at) / 1_000
  const actors = tableText(
    [
      { title: 'ACTOR', right },
      { title: 'NAME' },
      { title: 'THREAD', right },
      { title: 'STATE' },
      { title: 'INBOX', right },
      { title: spanS === undefined ? 'HANDLED' : 'PER SECOND', right },
      { title: 'RESTARTS', right },
      { title: 'MESSAGE' },
    ],
    busiest(now, before).map(([node, handled]) => [
      String(node.id),
      node.name,
      String(node.thread),
      node.state,
      String(node.queueLength),
      spanS === undefined ? String(handled) : (handled / spanS).toFixed(0),
      String(node.restarts),
      node.current === undefined
        ? ''
        : `${node.current}${node.currentMs === undefined ? '' : ` for ${spanText(node.currentMs)}`}`,
    ]),
  )
  return `${now.actors.size} actors\n\n${poolsText(now.list)}\n${actors}`
}
