/** Who is connected to the running service, and the end of it. */
import type { Command } from 'commander'
import type { SessionFacts, SessionInfo } from '../../accounting/contract.ts'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { octetsText, spanText, tableText } from '../format.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly json?: boolean
}

type Row = SessionInfo & { readonly facts: SessionFacts | null }

interface KickOptions extends Options {
  readonly user?: string
  readonly session?: string
  readonly address?: string
}

/** `mailactors kick`. */
export function addSessionsCommands(program: Command, terminal: Terminal): void {
  const kick = program
    .command('kick')
    .description(
      'end sessions of the running service; a mail that is being sent breaks off, marks for deletion are dropped',
    )
    .option('--user <name>', 'all sessions of this user')
    .option('--address <ip>', 'all sessions from this address')
    .option('--session <id>', 'the session that `status --sessions` and the log name so')
    .addHelpText('after', '\nSessions have to fit all that is given. Exit code 66: there was none.')
  withJson(withConfigOptions(kick)).action(async ({ user, session, address, ...options }: KickOptions) => {
    const filter = Object.fromEntries(
      Object.entries({ user, session, address }).filter(([, value]) => value !== undefined),
    )
    if (Object.keys(filter).length === 0) {
      throw new CommandFailure(exitCodes.usage, 'kick: whom? (give --user, --address or --session)')
    }
    const { kicked } = (await client(terminal, options).request('kick', filter)) as { kicked: string[] }
    if (options.json) printJson(terminal, { kicked })
    else terminal.print(`Ended ${kicked.length} session${kicked.length === 1 ? '' : 's'}.\n`)
    if (kicked.length === 0) throw new CommandFailure(exitCodes.noInput, 'kick: no such session')
  })
}

const client = (terminal: Terminal, options: ConfigOptions) =>
  new ControlClient(loadOrFail(terminal, options).config.data_dir)

/** `mailactors status --sessions`. */
export async function printSessions(terminal: Terminal, options: Options): Promise<void> {
  const rows: Row[] = []
  await client(terminal, options).request('sessions', {}, { onItem: (row) => rows.push(row as Row) })
  if (options.json) {
    printJson(
      terminal,
      rows.map(({ facts, ...info }) => ({ ...info, ...facts })),
    )
  } else if (rows.length === 0) terminal.print('Nobody is connected.\n')
  else terminal.print(sessionsText(rows, Date.now()))
}

/** A line for each session. */
export function sessionsText(rows: readonly Row[], now: number): string {
  return tableText(
    [
      { title: 'SERVICE' },
      { title: 'USER' },
      { title: 'ADDRESS' },
      { title: 'SINCE', right: true },
      { title: 'IDLE', right: true },
      { title: 'STATE' },
      { title: 'TLS' },
      { title: 'IN', right: true },
      { title: 'OUT', right: true },
      { title: 'SESSION' },
    ],
    rows.map(({ service, user, address, since, session, facts }) => [
      service,
      user === '' ? '-' : user,
      facts?.address ?? address,
      spanText(now - since),
      facts === null ? '' : spanText(facts.idleMs),
      facts?.state ?? '',
      facts?.tls ?? '',
      facts === null ? '' : octetsText(facts.input),
      facts === null ? '' : octetsText(facts.output),
      session,
    ]),
  )
}
