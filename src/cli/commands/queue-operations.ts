import { join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import type { Command } from 'commander'
import type { Config } from '../../config/settings.ts'
import type { QueueName, QueueOperation, QueueSelection } from '../../queue/contract.ts'
import { operateStored } from '../../queue/stored-queue.ts'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { takeLock } from '../lock-file.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { withStoredQueue } from '../stored-queue.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface OperationOptions extends ConfigOptions {
  readonly site?: string
  readonly sender?: string
  readonly recipient?: string
  readonly queue?: readonly QueueName[]
  readonly dryRun?: boolean
  readonly now?: boolean
  readonly json?: boolean
}

interface Described {
  readonly operation: QueueOperation
  readonly does: string
  /** What is said at the end. */
  readonly done: string
}

const operations: readonly Described[] = [
  { operation: 'flush', does: 'try mail now; without arguments all of it', done: 'will be tried now' },
  {
    operation: 'hold',
    does: 'keep mail from delivery and from expiry until it is released',
    done: 'on hold',
  },
  { operation: 'release', does: 'take mail out of hold, or out of corrupt, and try it', done: 'released' },
  { operation: 'delete', does: 'remove mail for good; nobody is told', done: 'removed' },
  {
    operation: 'requeue',
    does: 'queue mail again as if it came in now, with a new id',
    done: 'queued again',
  },
  {
    operation: 'expire',
    does: 'return mail to its sender at the next attempt',
    done: 'will be returned at the next attempt',
  },
]

const queueNames: readonly QueueName[] = ['incoming', 'active', 'deferred', 'hold', 'corrupt']

/** `mailactors queue flush|hold|release|delete|requeue|expire`. */
export function addOperations(queue: Command, terminal: Terminal): void {
  for (const described of operations) {
    const command = queue
      .command(described.operation)
      .description(described.does)
      .argument('[id...]', 'queue ids; -: read them from stdin; ALL, or ALL and names of queues')
      .option(
        '--site <site>',
        'only mail with a recipient of this domain, or that waits for this next hop (or transport:nexthop)',
      )
      .option('--sender <pattern>', 'only mail of this sender: user@domain, @domain, with * or <>')
      .option('--recipient <pattern>', 'only mail with such a recipient')
      .option('--queue <name...>', `only mail in these queues (${queueNames.join(', ')})`)
      .option('--dry-run', 'say which mails it would be done to, and do nothing')
    if (described.operation === 'expire') command.option('--now', 'and make that attempt now')
    withJson(withConfigOptions(command)).action(async (ids: string[], options: OperationOptions) => {
      await operate(terminal, described, ids, options)
    })
  }
}

async function operate(
  terminal: Terminal,
  { operation, done }: Described,
  words: readonly string[],
  options: OperationOptions,
): Promise<void> {
  const { config } = loadOrFail(terminal, options)
  const selection = await readSelection(terminal, operation, words, options)
  const args = {
    operation,
    ...selection,
    all: true,
    dryRun: options.dryRun === true,
    now: options.now === true,
  }
  const mails: { readonly queueId: string; readonly newId?: string }[] = []
  const client = new ControlClient(config.data_dir)
  // All of them at once, by their times alone: the queue need not look at each.
  if (
    operation === 'flush' &&
    Object.keys(selection).every((key) => key === 'site') &&
    options.dryRun !== true
  ) {
    const { recipients } = (await client.request('queue.flush', { site: selection.site ?? '' })) as {
      recipients: number
    }
    if (options.json) printJson(terminal, { operation, recipients })
    else {
      const none = recipients > 0 || selection.site === undefined ? '' : ` (none waits for ${selection.site})`
      terminal.print(`${recipients} recipient${recipients === 1 ? '' : 's'} will be tried now${none}.\n`)
    }
    return
  }
  const isOffline = operation !== 'flush' && !(await client.isRunning())
  const { count, missing } = isOffline
    ? await withStoredQueue(config.data_dir, () =>
        offline(config, operation, selection, options, (mail) => mails.push(mail)),
      )
    : ((await client.request('queue.operate', args, {
        onItem: (mail) => mails.push(mail as { queueId: string; newId?: string }),
      })) as { count: number; missing: readonly string[] })
  if (options.json) {
    printJson(terminal, { operation, dryRun: options.dryRun === true, count, mails, missing })
  } else {
    const showsIds = options.dryRun === true || operation === 'requeue'
    for (const { queueId, newId } of showsIds ? mails : []) {
      terminal.print(newId === undefined ? `${queueId}\n` : `${queueId} -> ${newId}\n`)
    }
    const would = options.dryRun === true ? ' (nothing was done)' : ''
    terminal.print(`${count} mail${count === 1 ? '' : 's'} ${done}${would}.\n`)
  }
  if (missing.length > 0) {
    throw new CommandFailure(
      exitCodes.noInput,
      missing.map((id) => `${id}: no such mail for ${operation} (see mailactors queue list)`),
    )
  }
}

async function readSelection(
  terminal: Terminal,
  operation: QueueOperation,
  words: readonly string[],
  { site, sender, recipient, queue }: OperationOptions,
): Promise<QueueSelection> {
  const isAll = words[0] === 'ALL'
  const queues = [...(queue ?? []), ...((isAll ? words.slice(1) : []) as QueueName[])]
  const unknown = queues.find((name) => !queueNames.includes(name))
  if (unknown !== undefined) {
    throw new CommandFailure(
      exitCodes.usage,
      `queue ${operation}: no queue ${unknown} (there are ${queueNames.join(', ')})`,
    )
  }
  const ids = isAll || words.length === 0 ? undefined : await readIds(terminal, words)
  const selection = {
    ...(ids === undefined ? {} : { ids }),
    ...(queues.length === 0 ? {} : { queues }),
    ...(site === undefined ? {} : { site }),
    ...(sender === undefined ? {} : { sender }),
    ...(recipient === undefined ? {} : { recipient }),
  }
  if (Object.keys(selection).length === 0 && !isAll && operation !== 'flush') {
    throw new CommandFailure(
      exitCodes.usage,
      `queue ${operation}: which mails? (give queue ids, ALL, or --site, --sender, --recipient)`,
    )
  }
  return selection
}

/** `-` stands for the ids on stdin, one to a line; what follows on a line is ignored, and so are marks of a listing. */
async function readIds(terminal: Terminal, words: readonly string[]): Promise<readonly string[]> {
  if (!words.includes('-')) return words
  const lines = (await readAll(terminal.stdin)).split('\n')
  const read = lines.flatMap((line) => /^\s*([0-9A-Za-z]+)[*!#]*(?:\s|$)/.exec(line)?.[1] ?? [])
  return [...words.filter((word) => word !== '-'), ...read]
}

/** Without a service: on the stored queue, under the lock that keeps a service from starting. */
function offline(
  config: Config,
  operation: QueueOperation,
  selection: QueueSelection,
  options: OperationOptions,
  take: (mail: { readonly queueId: string }) => void,
): { readonly count: number; readonly missing: readonly string[] } {
  const taken = takeLock(join(config.data_dir, 'lock'))
  if ('holder' in taken) {
    throw new CommandFailure(
      exitCodes.temporary,
      `${config.data_dir}: process ${taken.holder.pid} uses it and does not answer (try again, or stop it)`,
    )
  }
  try {
    let count = 0
    const missing: string[] = []
    for (const result of operateStored(config, operation, selection, options)) {
      for (const mail of result.done) take(mail)
      count += result.done.length
      missing.push(...result.missing)
    }
    return { count, missing }
  } finally {
    taken.lock.release()
  }
}
