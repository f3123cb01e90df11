import { accessSync, constants, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { CommandFailure, exitCodes, systemFailure } from './exit.ts'
import { type Lock, takeLock } from './lock-file.ts'

/** Makes the data directory and takes its lock. Fails with 73 when it cannot be written, 75 when a service has it. */
export function claimDataDir(dataDir: string): Lock {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    if (!statSync(dataDir).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK)
    const path = join(dataDir, 'lock')
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
    throw new CommandFailure(
      exitCodes.cannotCreate,
      `data directory ${dataDir}: cannot be used: ${why} (choose another data_dir, or change its owner or mode)`,
    )
  }
}
