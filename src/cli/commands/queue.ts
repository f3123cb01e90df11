import { join } from 'node:path'
import type { Command } from 'commander'
import type { QueueListing } from '../../queue/contract.ts'
import { storedQueue } from '../../queue/stored-queue.ts'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { octetsText, spanText, visible } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
}

interface FlushOptions extends Options {
  readonly site?: string
}

/** `mailactors queue list|show|flush|delete`. */
export function addQueueCommand(program: Command, terminal: Terminal): void {
  const queue = program.command('queue').description('the outbound queue')
  const dataDir = (options: ConfigOptions) => loadOrFail(terminal, options).config.data_dir

  const list = queue
    .command('list', { isDefault: true })
    .description('mail that waits, oldest first; works without a service too')
  withJson(withConfigOptions(list)).action(async (options: Options) => {
    await listQueue(terminal, dataDir(options), options.json === true)
  })

  const show = queue
    .command('show')
    .description('one mail: envelope, state of each recipient, content')
    .argument('<id>', 'queue id')
  withJson(withConfigOptions(show)).action(async (id: string, options: Options) => {
    const mail = (await new ControlClient(dataDir(options)).request('queue.show', { ids: [id] })) as ShownMail
    if (options.json) printJson(terminal, mail)
    else terminal.print(shownText(mail, Date.now()))
  })

  const flush = queue
    .command('flush')
    .description('try deferred mail now')
    .option('--site <domain>', 'only what goes there')
  withJson(withConfigOptions(flush)).action(async (options: FlushOptions) => {
    const answer = await new ControlClient(dataDir(options)).request('queue.flush', {
      site: options.site ?? '',
    })
    const { recipients } = answer as { recipients: number }
    if (options.json) printJson(terminal, { recipients })
    else terminal.print(`${recipients} recipient${recipients === 1 ? '' : 's'} will be tried now.\n`)
  })

  const remove = queue
    .command('delete')
    .description('remove mail for good; nobody is told')
    .argument('<id...>', 'queue ids, or ALL')
  withJson(withConfigOptions(remove)).action(async (ids: string[], options: Options) => {
    const args = ids.length === 1 && ids[0] === 'ALL' ? { all: true } : { ids }
    const answer = await new ControlClient(dataDir(options)).request('queue.delete', args)
    const { removed, missing } = answer as { removed: readonly string[]; missing: readonly string[] }
    if (options.json) printJson(terminal, { removed, missing })
    else terminal.print(`Removed ${removed.length} mail${removed.length === 1 ? '' : 's'}.\n`)
    if (missing.length > 0) {
      throw new CommandFailure(
        exitCodes.noInput,
        missing.map((id) => `${id}: no such mail in the queue (see mailactors queue list)`),
      )
    }
  })
}

/** Prints the queue as it comes: it may be far larger than memory. */
export async function listQueue(terminal: Terminal, dataDir: string, asJson: boolean): Promise<void> {
  const printer = asJson ? jsonPrinter(terminal) : textPrinter(terminal)
  const client = new ControlClient(dataDir)
  if (await client.isRunning()) {
    await client.request('queue.list', {}, { onItem: (mail) => printer.add(mail as QueueListing) })
  } else {
    for (const mail of storedQueue(join(dataDir, 'queue'))) printer.add(mail)
  }
  printer.end()
}

interface Printer {
  add(mail: QueueListing): void
  end(): void
}

function jsonPrinter(terminal: Terminal): Printer {
  let count = 0
  return {
    add: (mail) => terminal.print(`${count++ === 0 ? '[\n' : ',\n'}${JSON.stringify(mail)}`),
    end: () => terminal.print(count === 0 ? '[]\n' : '\n]\n'),
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

/** One mail with its recipients, each with what it waits for. */
export function listingText(mail: QueueListing, now: number): string {
  const age = spanText(now - mail.arrivedAt)
  const head = `${mail.queueId.padEnd(18)}  ${age.padEnd(8)}  ${octetsText(mail.size).padStart(8)}  <${visible(mail.sender)}>  ${mail.queueName}`
  const recipients = mail.recipients.map((recipient) => {
    const waits = recipient.nextAttempt > now ? `next try in ${spanText(recipient.nextAttempt - now)}` : 'due'
    const tried =
      recipient.attempts === 0
        ? ''
        : `, tried ${recipient.attempts} time${recipient.attempts === 1 ? '' : 's'}`
    const reason = recipient.reason === null ? '' : `\n      ${visible(recipient.reason)}`
    return `    ${visible(recipient.address)}  ${mail.queueName === 'hold' ? 'on hold' : waits}${tried}${reason}\n`
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
