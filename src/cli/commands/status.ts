import type { Command } from 'commander'
import type { TreeNode } from '../../admin/contract.ts'
import type { Status } from '../../admin/status.ts'
import { ControlClient } from '../control-client.ts'
import { octetsText, spanText, tableText, visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'
import { printSessions } from './sessions.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
  readonly sessions?: boolean
}

/** `mailactors status` and `mailactors tree`. */
export function addStatusCommands(program: Command, terminal: Terminal): void {
  const ask = async (options: ConfigOptions, command: string) =>
    await new ControlClient(loadOrFail(terminal, options).config.data_dir).request(command)

  const status = program
    .command('status')
    .description('one screen about the running service: listeners, sessions, queue, cache, threads')
    .option('--sessions', 'who is connected: user, address, since when, idle, what it does, octets')
  withJson(withConfigOptions(status)).action(async (options: Options) => {
    if (options.sessions) {
      await printSessions(terminal, options)
      return
    }
    const found = (await ask(options, 'status')) as Status
    if (options.json) printJson(terminal, found)
    else terminal.print(statusText(found))
  })

  const tree = program
    .command('tree')
    .description('the live supervision tree: actor, thread, state, restarts, inbox length')
  withJson(withConfigOptions(tree)).action(async (options: Options) => {
    const found = (await ask(options, 'tree')) as TreeNode
    if (options.json) printJson(terminal, found)
    else terminal.print(treeText(found))
  })
}

/** One screen for people. */
export function statusText(status: Status): string {
  const { queue, cache } = status
  const sessions = Object.entries(status.sessions)
  const listed = sessions.map(([service, count]) => `${count} ${service}`).join(', ')
  const { destinationHits, destinationMisses, endpointHits, endpointMisses } = cache.total
  const hits = destinationHits + endpointHits
  const lookups = hits + destinationMisses + endpointMisses
  const facts = [
    `${visible(status.hostname)}: mailactors ${status.version}, process ${status.pid}`,
    `up ${spanText(status.uptimeMs)}, memory ${octetsText(status.rssBytes)}`,
    `sessions  ${listed === '' ? 'none' : listed}`,
    `queue     ${queue.incoming} incoming, ${queue.active} active, ${queue.deferred} deferred, ${queue.hold} on hold, ${queue.corrupt} corrupt`,
    `cache     ${lookups === 0 ? 'not asked yet' : `${hits} of ${lookups} lookups hit (${Math.floor((100 * hits) / lookups)}%)`}`,
  ]
  const listeners = tableText(
    [
      { title: 'SERVICE' },
      { title: 'ADDRESS' },
      { title: 'TLS' },
      { title: 'ACCEPTED', right: true },
      { title: 'REFUSED', right: true },
    ],
    status.listeners.map((row) => [
      row.service,
      row.address,
      row.tls,
      String(row.accepted),
      String(row.refused),
    ]),
  )
  const threads = tableText(
    [
      { title: 'POOL' },
      { title: 'THREAD', right: true },
      { title: 'ACTORS', right: true },
      { title: 'BUSY', right: true },
      { title: 'HEAP', right: true },
    ],
    status.threads.map((row) => [
      row.pool,
      String(row.thread),
      String(row.actors),
      `${Math.round(100 * row.utilization)}%`,
      octetsText(row.heapBytes),
    ]),
  )
  return `${facts.join('\n')}\n\n${listeners}\n${threads}`
}

/** The tree for people: the shape by indentation, then a column each. */
export function treeText(root: TreeNode): string {
  const rows: string[][] = []
  let crashed = false
  const add = (node: TreeNode, branch: string, below: string) => {
    crashed ||= node.lastCrash !== undefined
    rows.push([
      `${branch}${node.name}`,
      String(node.thread),
      node.state,
      String(node.restarts),
      String(node.queueLength),
      String(node.handled),
      node.lastCrash ?? '',
    ])
    node.children.forEach((child, index) => {
      const isLast = index === node.children.length - 1
      add(child, `${below}${isLast ? '└─ ' : '├─ '}`, `${below}${isLast ? '   ' : '│  '}`)
    })
  }
  add(root, '', '')
  if (!crashed) for (const row of rows) row.pop()
  return tableText(
    [
      { title: 'ACTOR' },
      { title: 'THREAD', right: true },
      { title: 'STATE' },
      { title: 'RESTARTS', right: true },
      { title: 'INBOX', right: true },
      { title: 'HANDLED', right: true },
      ...(crashed ? [{ title: 'LAST CRASH' }] : []),
    ],
    rows,
  )
}
