/**
 * Opening files in folders that others can write to: whoever owns a Maildir must not be able to stop a thread that
 * serves everybody, or to have us write where they point.
 */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats, unlinkSync } from 'node:fs'
import { errnoOf } from './errors.ts'

/**
 * Opens a file. What is no file is an error at once: to open a FIFO would wait for somebody at its other end.
 * @throws file system errors; `EINVAL`: not a regular file
 */
export function openRegular(
  path: string | Buffer,
  flags = constants.O_RDONLY,
): { readonly fd: number; readonly octets: number; readonly stat: Stats } {
  const fd = openSync(path, flags | constants.O_NONBLOCK)
  try {
    const stat = fstatSync(fd)
    if (stat.isFile()) return { fd, octets: stat.size, stat }
    throw Object.assign(new Error(`EINVAL: not a regular file, open '${path}'`), { code: 'EINVAL', path })
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

export const openToRead = (path: string | Buffer): number => openRegular(path).fd

/** The whole file as latin1. */
export function readText(path: string): string {
  const fd = openToRead(path)
  try {
    return readFileSync(fd, 'latin1')
  } finally {
    closeSync(fd)
  }
}

/** Makes a file that takes the place of another one when it is complete. What a crash left under its name goes. */
export function createTemporary(path: string): number {
  try {
    unlinkSync(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
  return openSync(path, 'wx', 0o600)
}
