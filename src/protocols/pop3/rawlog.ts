/**
 * `pop3.rawlog_dir`: what a session and its client say to each other after login, one file for each direction, every
 * line with its time. The passwords were before. A folder that is not there, or is full, costs no session anything.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { timeStamp } from './time-stamp.ts'

type Direction = 'in' | 'out'

export class RawLog {
  readonly #fds: Record<Direction, number | undefined> = { in: undefined, out: undefined }
  readonly #atLineStart: Record<Direction, boolean> = { in: true, out: true }
  readonly #now: () => number

  /** `number`: no other session of this process has it. */
  constructor(dir: string, number: number, now: () => number) {
    this.#now = now
    const time = timeStamp(now()).replaceAll(/[-:]/g, '').replace(' ', '-')
    for (const direction of ['in', 'out'] as const) {
      try {
        const path = join(dir, `${time}.${process.pid}.${number}.${direction}`)
        this.#fds[direction] = openSync(path, 'wx', 0o600)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === undefined) throw error
      }
    }
  }

  /** One character per octet. */
  write(direction: Direction, text: string): void {
    const fd = this.#fds[direction]
    if (fd === undefined || text === '') return
    const now = this.#now()
    const stamp = `${Math.floor(now / 1000)}.${String(Math.floor(now % 1000)).padStart(3, '0')}000 `
    const stamped = text.replaceAll(/\n(?!$)/g, `\n${stamp}`)
    const all = this.#atLineStart[direction] ? stamp + stamped : stamped
    this.#atLineStart[direction] = text.endsWith('\n')
    try {
      writeSync(fd, all, null, 'latin1')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      this.close()
    }
  }

  close(): void {
    for (const direction of ['in', 'out'] as const) {
      const fd = this.#fds[direction]
      this.#fds[direction] = undefined
      if (fd !== undefined) closeSync(fd)
    }
  }
}
