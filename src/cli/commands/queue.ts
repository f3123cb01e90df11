import { join } from 'node:path'
import type { Command } from 'commander'
import type { QueueListing } from '../../queue/contract.ts'
import { storedQueue } from '../../queue/stored-queue.ts'
import { ControlClient } from '../control-client.ts'
import { octetsText, spanText, visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { withStoredQueue } from '../stored-queue.ts'
import { printJson, type Terminal } from '../terminal.ts'
import { addAgeCommand } from './queue-age.ts'
import { addOperations } from './queue-operations.ts'
import { addWhyCommand } from './queue-why.ts'

export interface QueueOptions extends ConfigOptions {
  readonly json?: boolean
}

/** `mailactors queue list|show|why|age|flush|hold|release|delete|requeue|expire`. */
export function addQueueCommand(program: Command, terminal: Terminal): void {
  const queue = program.command('queue').description('the outbound queue')
  const dataDir = (options: ConfigOptions) => loadOrFail(terminal, options).config.data_dir

  const list = queue
    .command('list', { isDefault: true })
    .description('mail that waits, oldest first; works without a service too')
  withJson(withConfigOptions(list)).action(async (options: QueueOptions) => {
    await listQueue(terminal, dataDir(options), options.json === true)
  })

  const show = queue
    .command('show')
    .description('one mail: envelope, state of each recipient, content')
    .argument('<id>', 'queue id')
  withJson(withConfigOptions(show)).action(async (id: string, options: QueueOptions) => {
    const mail = (await new ControlClient(dataDir(options)).request('queue.show', { ids: [id] })) as ShownMail
    if (options.json) printJson(terminal, mail)
    else terminal.print(shownText(mail, Date.now()))
  })

  addWhyCommand(queue, terminal)
  addAgeCommand(queue, terminal)
  addOperations(queue, terminal)
}

/** Every mail of the queue, from the service or, when none runs, from the disk. */
export async function eachMail(dataDir: string, take: (mail: QueueListing) => void): Promise<void> {
  const client = new ControlClient(dataDir)
  if (await client.isRunning()) {
    await client.request('queue.list', {}, { onItem: (mail) => take(mail as QueueListing) })
    return
  }
  await withStoredQueue(dataDir, () => {
    for (const mail of storedQueue(join(dataDir, 'queue'))) take(mail)
  })
}

/** Prints the queue as it comes: it may be far larger than memory. */
export async function listQueue(terminal: Terminal, dataDir: string, asJson: boolean): Promise<void> {
  const printer = asJson ? jsonPrinter(terminal) : textPrinter(terminal)
  await eachMail(dataDir, (mail) => printer.add(mail))
  printer.end()
}

interface Printer {
  add(mail: QueueListing): void
  end(): void
}

/** One object a line, with the keys of `postqueue -j`; ours beside them. */
function jsonPrinter(terminal: Terminal): Printer {
  return {
    add: (mail) => terminal.print(`${JSON.stringify(jsonListing(mail))}\n`),
    end: () => {},
  }
}

function jsonListing(mail: QueueListing): object {
  return {
    queue_name: mail.queueName,
    queue_id: mail.queueId,
    arrival_time: Math.floor(mail.arrivedAt / 1000),
    message_size: mail.size,
    forced_expire: mail.forcedExpire,
    sender: mail.sender,
    recipients: mail.recipients.map((recipient) => ({
      address: recipient.address,
      ...(recipient.origTo === undefined ? {} : { orig_address: recipient.origTo }),
      ...(recipient.reason === null ? {} : { delay_reason: recipient.reason }),
      ...(recipient.bounceReason === null ? {} : { bounce_reason: recipient.bounceReason }),
      destination: recipient.destination,
      attempts: recipient.attempts,
      next_attempt: Math.floor(recipient.nextAttempt / 1000),
    })),
  }
}

function textPrinter(terminal: Terminal): Printer {
  const now = Date.now()
  let count = 0
  let octets = 0
  return {
    add: (mail) => {
      if (count++ === 0)
        terminal.print(`${'QUEUE ID'.padEnd(18)}  ${'AGE'.padEnd(8)}  ${'SIZE'.padStart(8)}  SENDER\n`)
      octets += mail.size
      terminal.print(listingText(mail, now))
    },
    end: () =>
      terminal.print(
        count === 0
          ? 'The queue is empty.\n'
          : `${count} mail${count === 1 ? '' : 's'}, ${octetsText(octets)}\n`,
      ),
  }
}

/** Marks of `postqueue -p`: active, on hold, to be returned at the next attempt. */
function marks({ queueName, forcedExpire }: QueueListing): string {
  return `${queueName === 'active' ? '*' : queueName === 'hold' ? '!' : ''}${forcedExpire ? '#' : ''}`
}

/** One mail with its recipients, each with what it waits for. */
export function listingText(mail: QueueListing, now: number): string {
  const age = spanText(now - mail.arrivedAt)
  const head = `${`${mail.queueId}${marks(mail)}`.padEnd(18)}  ${age.padEnd(8)}  ${octetsText(mail.size).padStart(8)}  <${visible(mail.sender)}>  ${mail.queueName}`
  const recipients = mail.recipients.map((recipient) => {
    const waits =
      recipient.bounceReason !== null
        ? 'failed, its sender is about to be told'
        : mail.queueName === 'hold'
          ? 'on hold'
          : recipient.nextAttempt > now
            ? `next try in ${spanText(recipient.nextAttempt - now)}`
            : 'due'
    const tried =
      recipient.attempts === 0
        ? ''
        : `, tried ${recipient.attempts} time${recipient.attempts === 1 ? '' : 's'}`
    const why = recipient.bounceReason ?? recipient.reason
    const reason = why === null ? '' : `\n      ${visible(why)}`
    return `    ${visible(recipient.address)}  ${waits}${tried}${reason}\n`
  })
  return `${head}\n${recipients.join('')}`
}

interface ShownMail extends QueueListing {
  /** The beginning of it. */
  readonly content?: string | null
}

function shownText(mail: ShownMail, now: number): string {
  const content = mail.content ?? ''
  // Tabs and line ends are what they are; everything else a terminal would obey is not shown.
  const printable = content.replace(/\r\n/g, '\n').replace(/[^\P{Cc}\n\t]/gu, '?')
  return `${listingText(mail, now)}\n${printable}${printable.endsWith('\n') || printable === '' ? '' : '\n'}`
}
