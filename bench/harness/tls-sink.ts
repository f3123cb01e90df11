/**
 * A server with STARTTLS as the far end of a relay, in a process of its own, so that its work is not counted with
 * that of the relay. Run as a program it is the server; `TlsSink` starts it and asks how far it is.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Authority } from '../../test/support/certificates.ts'
import { SmtpSink } from '../../test/support/smtp-sink.ts'
import { atEnd, stopChild } from './processes.ts'

export interface SinkCounts {
  readonly mails: number
  readonly connections: number
  readonly handshakes: number
}

interface Started {
  readonly port: number
}

export class TlsSink {
  readonly port: number
  readonly #child: ChildProcess
  readonly stop: () => Promise<void>

  private constructor(child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
    this.stop = atEnd(() => stopChild(child))
  }

  static async start({ tls = true, host = '127.0.0.1' } = {}): Promise<TlsSink> {
    const child = fork(fileURLToPath(import.meta.url), [`${tls}`, host])
    const { port } = await new Promise<Started>((resolve, reject) => {
      child.once('message', (message) => resolve(message as Started))
      child.once('exit', (code) => reject(new Error(`the sink ended with ${code}`)))
    })
    return new TlsSink(child, port)
  }

  counts(): Promise<SinkCounts> {
    return new Promise((resolve) => {
      this.#child.once('message', (message) => resolve(message as SinkCounts))
      this.#child.send('counts')
    })
  }

  /** Answers with the time at which so many mails were there, on the clock of `performance.now`. */
  async waitFor(mails: number, timeoutMs: number): Promise<number> {
    const end = performance.now() + timeoutMs
    for (;;) {
      const counts = await this.counts()
      if (counts.mails >= mails) return performance.now()
      if (performance.now() > end) throw new Error(`${counts.mails} of ${mails} mails after ${timeoutMs} ms`)
      await sleep(20)
    }
  }
}

async function serve(isSecured: boolean, host: string): Promise<void> {
  const { cert, key } = await (await Authority.make()).issue({ names: ['sink.test'] })
  const sink = await SmtpSink.start({ host, keep: false, ...(isSecured ? { tls: { cert, key } } : {}) })
  const counts = (): SinkCounts => ({
    mails: sink.count,
    connections: sink.connections,
    handshakes: sink.handshakes,
  })
  process.on('message', () => process.send?.(counts()))
  process.on('disconnect', () => process.exit())
  process.send?.({ port: sink.port })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [isSecured, host = '127.0.0.1'] = process.argv.slice(2)
  await serve(isSecured === 'true', host)
}
