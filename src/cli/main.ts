/** The command line: takes the arguments apart, runs one command, and turns its failure into a line and an exit code. */
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { Command, CommanderError } from 'commander'
import { addBenchCommand } from './commands/bench.ts'
import { addCacheCommand } from './commands/cache.ts'
import { addConfigCommand } from './commands/config.ts'
import { addControlCommands } from './commands/control.ts'
import { addMailboxCommand } from './commands/mailbox.ts'
import { addPoolsCommands } from './commands/pools.ts'
import { addQueueCommand } from './commands/queue.ts'
import { addResolveCommand } from './commands/resolve.ts'
import { addSendCommand } from './commands/send.ts'
import { addServeCommand } from './commands/serve.ts'
import { addSessionsCommands } from './commands/sessions.ts'
import { addStatusCommands } from './commands/status.ts'
import { addTlsPolicyCommand } from './commands/tls-policy.ts'
import { addTlsReportsCommand } from './commands/tls-reports.ts'
import { addTuneCommand } from './commands/tune.ts'
import { addUserCommand } from './commands/user.ts'
import { CommandFailure, databaseFailure, exitCodes, systemFailure } from './exit.ts'
import { processTerminal, type Terminal } from './terminal.ts'

/** Runs one command and sets the exit code of the process. */
export async function main(argv: readonly string[]): Promise<void> {
  // Patterns of lookup tables that would take exponential time are matched without backtracking instead. Before any
  // pattern is compiled, and for all threads.
  setFlagsFromString('--enable-experimental-regexp-engine-on-excessive-backtracks')
  const terminal = processTerminal()
  const program = buildProgram(terminal)
  try {
    await program.parseAsync(argv, { from: 'user' })
  } catch (error) {
    process.exitCode = report(terminal, error, commandIn(program, argv))
  }
}

/** All commands. Nothing happens until `parseAsync`. */
export function buildProgram(terminal: Terminal): Command {
  const program = new Command('mailactors')
    .description('A mail system of actors: SMTP, LMTP, POP3, queue and delivery.')
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print what a command does')
    .helpCommand('help [command]', 'print what a command does')
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ writeErr: () => {}, outputError: () => {} })
    .addHelpText(
      'after',
      '\nExit codes: 0 ok, 64 usage, 65 bad input data, 66 no such input, 69 service unavailable, 70 internal,\n' +
        '73 cannot create, 74 I/O, 75 temporary failure, 77 no permission, 78 bad configuration.',
    )
  addServeCommand(program, terminal)
  addConfigCommand(program, terminal)
  addUserCommand(program, terminal)
  addSendCommand(program, terminal)
  addMailboxCommand(program, terminal)
  addQueueCommand(program, terminal)
  addCacheCommand(program, terminal)
  addResolveCommand(program, terminal)
  addTlsPolicyCommand(program, terminal)
  addTlsReportsCommand(program, terminal)
  addStatusCommands(program, terminal)
  addSessionsCommands(program, terminal)
  addPoolsCommands(program, terminal)
  addControlCommands(program, terminal)
  addBenchCommand(program, terminal)
  addTuneCommand(program, terminal)
  return program
}

function version(): string {
  const packageJson = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(packageJson) as { version: string }).version
}

/** The command that the arguments name: the whole path of it. */
function commandIn(program: Command, argv: readonly string[]): Command {
  let command = program
  for (const word of argv) {
    const found = command.commands.find((one) => one.name() === word)
    if (found !== undefined) command = found
    else if (!word.startsWith('-')) break
  }
  return command
}

function report(terminal: Terminal, error: unknown, command: Command): number {
  if (error instanceof CommandFailure) {
    for (const line of error.lines) terminal.complain(line)
    return error.exitCode
  }
  if (error instanceof CommanderError) {
    // Asking for help or the version is not an error. A bare `mailactors` is: it did nothing.
    if (error.exitCode === 0) return exitCodes.ok
    terminal.complain(usageLine(error, command))
    return exitCodes.usage
  }
  const { stack, message, code, path } = error as NodeJS.ErrnoException
  const failure = databaseFailure(error, 'database')
  if (failure !== undefined) return report(terminal, failure, command)
  // Nobody expected it there, but it is the machine's word and not a mistake of ours.
  if (code !== undefined && path !== undefined && /^E[A-Z]+$/.test(code)) {
    const { why, exitCode } = systemFailure(error)
    terminal.complain(`${path}: ${why} (check owner, mode and place of it)`)
    return exitCode
  }
  const place = stack?.split('\n')[1]?.trim() ?? 'at an unknown place'
  terminal.complain(`internal error: ${message} ${place} (please report it)`)
  return exitCodes.internal
}

function usageLine(error: CommanderError, command: Command): string {
  const path = command.parent === null ? '' : pathOf(command)
  const help = `see mailactors ${path === '' ? '' : `${path} `}--help`
  const what = path === '' ? 'arguments' : path
  if (error.code === 'commander.help') return `${what}: which command? (${help})`
  if (error.code === 'commander.excessArguments' && command.commands.length > 0) {
    const names = command.commands.map((one) => one.name()).join(', ')
    return `${what}: unknown command (valid are ${names}; ${help})`
  }
  const [why = '', suggestion] = error.message.replace(/^error: /, '').split('\n')
  const hint = suggestion?.replace(/^\(Did (.*)\)$/, 'did $1')
  return `${what}: ${why.replace(/\.$/, '')} (${hint ?? help})`
}

function pathOf(command: Command): string {
  const above = command.parent === null || command.parent.parent === null ? '' : `${pathOf(command.parent)} `
  return `${above}${command.name()}`
}
