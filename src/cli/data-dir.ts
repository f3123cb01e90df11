import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { ConfigError } from '../config/errors.ts'
import { socketPathProblem } from '../config/listener-address.ts'
import type { Config } from '../config/settings.ts'
import { makeWritable, statOf, WrongKind } from './directory.ts'
import { CommandFailure, exitCodes, systemFailure } from './exit.ts'
import { type Lock, takeLock } from './lock-file.ts'

/** What has to be of this kind, if it is there. */
const parts: readonly (readonly [name: string, kind: 'directory' | 'file'])[] = [
  ['lock', 'file'],
  ['mail', 'directory'],
  ['queue', 'directory'],
  ['queue/content', 'directory'],
  ['queue/queue.db', 'file'],
]

/** @throws ConfigError when its name leaves no room for that of the control socket. */
export function checkDataDir({ data_dir }: Config): void {
  const problem = socketPathProblem(join(data_dir, 'control.sock'))
  if (problem !== undefined) throw new ConfigError([{ where: 'data_dir', what: problem }])
}

/** Makes the data directory and takes its lock. Fails with 73 when it cannot be written, 75 when a service has it. */
export function claimDataDir(dataDir: string): Lock {
  let path = dataDir
  try {
    makeWritable(dataDir)
    for (const [name, kind] of parts) {
      path = join(dataDir, name)
      const stat = statOf(path)
      if (stat === undefined) continue
      if (kind === 'directory' ? !stat.isDirectory() : !stat.isFile()) throw new WrongKind(stat, kind)
      accessSync(path, constants.R_OK | constants.W_OK)
    }
    path = join(dataDir, 'lock')
    const result = takeLock(path)
    if ('lock' in result) return result.lock
    const { pid, since } = result.holder
    throw new CommandFailure(
      exitCodes.temporary,
      `data directory ${dataDir}: in use by the service with process ${pid} since ${since}, which holds ${path} ` +
        '(stop it with mailactors stop, or choose another data_dir)',
    )
  } catch (error) {
    if (error instanceof CommandFailure) throw error
    const { why } = systemFailure(error)
    const what = path === dataDir ? why : `${path}: ${why}`
    throw new CommandFailure(
      exitCodes.cannotCreate,
      `data directory ${dataDir}: cannot be used: ${what} (choose another data_dir, or change its owner or mode)`,
    )
  }
}
