/**
 * Writes log lines to a file descriptor so that a line whose log call returned cannot be lost: not by the end of
 * its thread, not by a kill of the process. Each line is one `write` of its own, at once. Measured: 0.6 us to
 * /dev/null, 1.6 us to a file, beside the 2.2 us pino takes to make the line. A buffer would be cheaper by that much
 * and lose lines.
 *
 * Threads write to the descriptor without knowing of each other. A write of at most 4096 octets (PIPE_BUF) to a pipe
 * happens whole or not at all, so lines are kept within that, and no line is cut by another thread's.
 */
import { writeSync } from 'node:fs'

/** Octets of the longest line, its newline included. */
export const maxLineOctets = 4096

/** Where finished lines go. */
export interface LineOutput {
  /** `line` ends in a newline. Returns after it is written. */
  write(line: string): void
}

const idle = new Int32Array(new SharedArrayBuffer(4))

/** Lines to a file descriptor, which stays the caller's to close. */
export class FdOutput implements LineOutput {
  readonly #fd: number
  readonly #stallMs: number
  #lost = 0

  /**
   * `stallMs`: how long a line waits for a reader that does not read, with the thread blocked; then it is lost and
   * counted. A blocking descriptor waits for ever, as every program does that prints to it.
   */
  constructor(fd: number, stallMs: number) {
    this.#fd = fd
    this.#stallMs = stallMs
  }

  /** Lines that could not be written: disk full, reader gone or stuck. Logging goes on with the next line. */
  get lost(): number {
    return this.#lost
  }

  write(line: string): void {
    let written = 0
    try {
      written = writeSync(this.#fd, line)
      if (written >= Buffer.byteLength(line)) return
    } catch (error) {
      if (!isBusy(error)) {
        this.#lost++
        return
      }
    }
    this.#writeRest(Buffer.from(line), written)
  }

  #writeRest(bytes: Buffer, from: number): void {
    const end = performance.now() + this.#stallMs
    let at = from
    let pauseMs = 1
    while (at < bytes.length) {
      try {
        at += writeSync(this.#fd, bytes, at)
        pauseMs = 1
        continue
      } catch (error) {
        if (!isBusy(error) || performance.now() > end) {
          this.#lost++
          return
        }
      }
      Atomics.wait(idle, 0, 0, pauseMs)
      pauseMs = Math.min(pauseMs * 2, 50)
    }
  }
}

function isBusy(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'EAGAIN' || code === 'EWOULDBLOCK' || code === 'EINTR'
}
