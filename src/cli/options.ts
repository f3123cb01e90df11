/** Options that commands share. */
import type { Command } from 'commander'
import { ConfigError, ConfigFileError } from '../config/errors.ts'
import { type LoadedConfig, type LoadOptions, loadSettings } from '../config/loader.ts'
import { CommandFailure, exitCodes, systemFailure } from './exit.ts'
import type { Terminal } from './terminal.ts'

export interface ConfigOptions {
  readonly config?: string
  readonly set?: readonly string[]
}

/** Adds `-c FILE` and `--set key=value`. */
export function withConfigOptions(command: Command): Command {
  return command
    .option(
      '-c, --config <file>',
      'configuration file (default: mailactors.toml here, then in the user’s and the system’s folder)',
    )
    .option('--set <key=value>', 'override one setting; may be given again', collect, [] as string[])
}

/** Adds `--json`. */
export function withJson(command: Command): Command {
  return command.option('--json', 'print data as JSON')
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value]
}

export function loadOptions(terminal: Terminal, { config, set = [] }: ConfigOptions): LoadOptions {
  return { set, env: terminal.env, cwd: terminal.cwd, ...(config === undefined ? {} : { file: config }) }
}

/** Loads the configuration; what is wrong with it ends the command, every error on a line of its own. */
export function loadOrFail(terminal: Terminal, options: ConfigOptions): LoadedConfig {
  try {
    return loadSettings(loadOptions(terminal, options))
  } catch (error) {
    throw configFailure(error)
  }
}

/** A failure to load as the lines to print; anything else as it is. */
export function configFailure(error: unknown): unknown {
  if (error instanceof ConfigError) {
    return new CommandFailure(
      exitCodes.badConfig,
      error.problems.map(({ where, what }) => `${where}: ${what}`),
    )
  }
  if (error instanceof ConfigFileError) {
    const { why, exitCode } = systemFailure({ code: error.errno, message: error.message })
    // A configuration that is not there is a wrong one; one that may not be read is a matter of permission.
    const code = exitCode === exitCodes.noPermission ? exitCode : exitCodes.badConfig
    return new CommandFailure(
      code,
      `${error.path}: configuration cannot be read: ${why} (check -c and the file's mode)`,
    )
  }
  return error
}
