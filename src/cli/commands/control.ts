import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Command } from 'commander'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { lockHolder } from '../lock-file.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface StopOptions extends ConfigOptions {
  readonly now?: boolean
}

interface ReloadOptions extends ConfigOptions {
  readonly json?: boolean
}

/** Beyond the service's own shutdown time: it has to write its last lines too. */
const graceMs = 30_000

/** `mailactors reload` and `mailactors stop`. */
export function addControlCommands(program: Command, terminal: Terminal): void {
  const reload = program
    .command('reload')
    .description('make the running service read its configuration again')
  withJson(withConfigOptions(reload)).action(async (options: ReloadOptions) => {
    // Errors are found here already, where somebody reads them.
    const { config } = loadOrFail(terminal, options)
    const answer = await new ControlClient(config.data_dir).request('reload')
    const { unchanged = [] } = (answer ?? {}) as { unchanged?: readonly string[] }
    if (options.json) printJson(terminal, { unchanged })
    else if (unchanged.length === 0) terminal.print('Reloaded.\n')
    else terminal.print(`Reloaded. These change with the next start: ${unchanged.join(', ')}\n`)
  })

  const stop = program
    .command('stop')
    .description('stop the running service, and wait until it is gone')
    .option('--now', 'do not wait for running deliveries')
  withConfigOptions(stop).action(async (options: StopOptions) => {
    const { config } = loadOrFail(terminal, options)
    const lock = join(config.data_dir, 'lock')
    const holder = lockHolder(lock)
    await new ControlClient(config.data_dir).request('stop', { now: options.now === true })
    const deadline = performance.now() + config.shutdown_timeout + graceMs
    while (holder !== undefined && lockHolder(lock)?.pid === holder.pid) {
      if (performance.now() >= deadline) {
        throw new CommandFailure(
          exitCodes.temporary,
          `stop: process ${holder.pid} is still running (try stop --now)`,
        )
      }
      await sleep(50)
    }
  })
}
