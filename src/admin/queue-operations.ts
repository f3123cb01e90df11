/** `queue hold|release|delete|requeue|expire|flush`: page by page, so that the queue does other work in between. */
import type { OperationResult, QueueName, QueueOperation, QueueSelection } from '../queue/contract.ts'
import { CommandError, usage } from './command-error.ts'
import type { SendItem } from './commands.ts'
import type { Administered } from './contract.ts'

const operations: readonly QueueOperation[] = ['hold', 'release', 'delete', 'requeue', 'expire', 'flush']
const queueNames: readonly QueueName[] = ['incoming', 'active', 'deferred', 'hold', 'corrupt']

/** Mails looked at in one step: bounds how long the queue does nothing else. */
const pageLength = 500
/** Their contents may have to be copied. */
const pageMs = 120_000

/** Sends each mail it was done to; returns how many there were, and which of those that were named were not there. */
export async function operateQueue(
  service: Administered,
  args: Readonly<Record<string, unknown>>,
  send: SendItem,
): Promise<{ readonly count: number; readonly missing: readonly string[] }> {
  const operation = operations.find((known) => known === args.operation)
  if (operation === undefined) throw new CommandError(usage, `queue: no operation ${String(args.operation)}`)
  const selection = readSelection(args)
  const page = { limit: pageLength, dryRun: args.dryRun === true, now: args.now === true }
  const missing: string[] = []
  let count = 0
  const step = async (part: QueueSelection, from: Pick<OperationResult, 'next' | 'until'> | undefined) => {
    const where = from === undefined ? { after: '' } : { after: from.next, until: from.until }
    const result = await service
      .queue()
      .askWith({ timeoutMs: pageMs }, 'operate', operation, part, { ...page, ...where })
    for (const done of result.done) await send(done)
    count += result.done.length
    missing.push(...result.missing)
    return result
  }
  const { ids } = selection
  if (ids === undefined) {
    for (let last = await step(selection, undefined); last.next !== ''; ) last = await step(selection, last)
  } else {
    for (let start = 0; start < ids.length; start += pageLength) {
      await step({ ...selection, ids: ids.slice(start, start + pageLength) }, undefined)
    }
  }
  return { count, missing }
}

function readSelection(args: Readonly<Record<string, unknown>>): QueueSelection {
  const text = (key: 'site' | 'sender' | 'recipient'): { [key: string]: string } => {
    const value = args[key]
    if (value === undefined) return {}
    if (typeof value !== 'string') throw new CommandError(usage, `queue: ${key} must be a string`)
    return { [key]: value }
  }
  const selection: QueueSelection = {
    ...(args.ids === undefined ? {} : { ids: strings(args.ids, 'ids') }),
    ...(args.queues === undefined ? {} : { queues: strings(args.queues, 'queues').map(queueName) }),
    ...text('site'),
    ...text('sender'),
    ...text('recipient'),
  }
  if (Object.keys(selection).length === 0 && args.all !== true) {
    throw new CommandError(
      usage,
      'queue: which mails? (give queue ids, ALL, or --site, --sender, --recipient)',
    )
  }
  return selection
}

function queueName(name: string): QueueName {
  const known = queueNames.find((queue) => queue === name)
  if (known === undefined) {
    throw new CommandError(usage, `queue: no queue ${name} (there are ${queueNames.join(', ')})`)
  }
  return known
}

function strings(value: unknown, name: string): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value
  throw new CommandError(usage, `queue: ${name} must be a list of strings`)
}
