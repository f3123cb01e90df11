/**
 * Postfix's smtp-sink as the far end of a relay. It takes mail faster than anything that is measured here, and its
 * running counters go to a file, so that counting costs neither side more than one small write per mail.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, openSync, readSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePorts, waitForPort } from '../../test/support/ports.ts'
import { atEnd, findProgram, stopChild } from './processes.ts'

export interface SinkOptions {
  /** Where the counters are written. */
  readonly dir: string
  /** One file per mail in this directory, which must be writable by nobody. */
  readonly dumpDir?: string
}

export class CountingSink {
  readonly port: number
  readonly #child: ChildProcess
  readonly #file: string
  readonly #fd: number
  readonly #stop: () => Promise<void>

  private constructor(port: number, child: ChildProcess, file: string, fd: number) {
    this.port = port
    this.#child = child
    this.#file = file
    this.#fd = fd
    this.#stop = atEnd(async () => {
      await stopChild(child)
      closeSync(fd)
    })
  }

  static async start(options: SinkOptions): Promise<CountingSink> {
    const [port = 0] = await freePorts(1)
    const file = join(options.dir, `sink.${port}`)
    rmSync(file, { force: true })
    const out = openSync(file, 'w')
    // As root smtp-sink insists on another user.
    const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
    const dump = options.dumpDir === undefined ? [] : ['-d', join(options.dumpDir, '%Y%m%d%H%M%S.')]
    const child = spawn(
      findProgram('smtp-sink') ?? 'smtp-sink',
      [...user, ...dump, '-c', '-m', '1000', `127.0.0.1:${port}`, '1000'],
      { stdio: ['ignore', out, 'ignore'] },
    )
    closeSync(out)
    const sink = new CountingSink(port, child, file, openSync(file, 'r'))
    await waitForPort(port)
    return sink
  }

  /** Mails received so far. */
  count(): number {
    const { size } = fstatSync(this.#fd)
    const length = Math.min(size, 80)
    const tail = Buffer.alloc(length)
    readSync(this.#fd, tail, 0, length, size - length)
    const counts = [...tail.toString('latin1').matchAll(/mesg=(\d+)\r/g)]
    return Number(counts.at(-1)?.[1] ?? 0)
  }

  /** Waits until `total` mails have come, and returns the time of that (`performance.now()`), exact to 2 ms. */
  async waitFor(total: number, timeoutMs: number): Promise<number> {
    const end = performance.now() + timeoutMs
    while (this.count() < total) {
      if (this.#child.exitCode !== null) throw new Error('smtp-sink ended')
      if (performance.now() > end) {
        throw new Error(`${this.count()} of ${total} mails at the sink after ${timeoutMs / 1000} s`)
      }
      await sleep(2)
    }
    return performance.now()
  }

  async stop(): Promise<void> {
    await this.#stop()
    rmSync(this.#file, { force: true })
  }
}
