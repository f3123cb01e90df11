/**
 * One worker thread, through a piscina of its own: it loads the runtime as soon as it is made, runs one task, and is not used
 * again. A piscina of many would give a worker whose task has ended to the next one, together with all that the modules
 * of the first still hold; and when a worker cannot load, the task that was to wait for it would wait for ever.
 */
import type { MessagePort } from 'node:worker_threads'
import { Piscina } from 'piscina'
import type { ThreadTask } from './control.ts'
import { startNoMore, type WorkerOptions, workerOptions } from './workers.ts'

export interface HostOptions extends WorkerOptions {
  /** It failed without a task: while it loaded, or after the end. */
  readonly onError: (error: unknown) => void
}

/** A thread that is to end is left to load so long: killed while it does, it would leave files open. */
const loadMs = 5_000

export class Host {
  readonly #piscina: Piscina
  /** Settles when it has loaded, or ended before. */
  readonly #loaded: Promise<void>
  /** Settles when the thread is gone. */
  readonly gone: Promise<void>
  #isLoading = true

  constructor(options: HostOptions) {
    this.#piscina = new Piscina({
      ...workerOptions('thread-entry', options),
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
    })
    startNoMore(this.#piscina)
    this.#piscina.on('error', options.onError)
    const [worker] = this.#piscina.threads
    this.gone = new Promise((resolve) => worker?.once('exit', () => resolve()))
    this.#loaded = new Promise((resolve) => {
      const loaded = (): void => {
        this.#isLoading = false
        resolve()
      }
      // Piscina's own, sent when it has imported the entry.
      worker?.once('message', loaded)
      worker?.once('exit', loaded)
    })
  }

  /** Settles when the task has ended; rejects with what ended the thread before. `signal` ends it at once. */
  run(task: ThreadTask, ports: readonly MessagePort[], signal: AbortSignal): Promise<unknown> {
    type Ports = NonNullable<NonNullable<Parameters<Piscina['run']>[1]>['transferList']>
    return this.#piscina.run(task, { transferList: ports as unknown as Ports, signal })
  }

  /** Ends the thread, whatever it does. */
  async end(): Promise<void> {
    if (this.#isLoading) {
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, loadMs)
      })
      await Promise.race([this.#loaded, late])
      clearTimeout(timer)
    }
    await this.#piscina.destroy()
  }
}
