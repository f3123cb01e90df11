import { accessSync, constants, mkdirSync, type Stats, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Something is there that is not what it has to be. */
export class WrongKind extends Error {
  readonly code = 'ENOTDIR'

  constructor(found: Stats, wanted: 'directory' | 'file') {
    const kind = found.isDirectory() ? 'a directory' : found.isFile() ? 'a file' : 'a special file'
    super(`it is ${kind}, not a ${wanted}`)
  }
}

/**
 * Makes a directory, and those above it, for us alone where `mode` is not given. Level by level: where nothing can be
 * made, as in /proc, `recursive` of Node tries for ever.
 * @throws WrongKind; system errors.
 */
export function makeDirectory(path: string, mode = 0o700): void {
  const stat = statOf(path)
  if (stat?.isDirectory()) return
  if (stat !== undefined) throw new WrongKind(stat, 'directory')
  if (dirname(path) !== path) makeDirectory(dirname(path), mode)
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Another process was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** A directory in which files can be made, made where it is not there. @throws WrongKind; system errors. */
export function makeWritable(path: string, mode?: number): void {
  makeDirectory(path, mode)
  accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK)
}

export function statOf(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false })
}
