/**
 * Stateless work for the processor: functions of modules, run by a second pool of threads that hosts no actors. The threads
 * start with the first job.
 */
import { availableParallelism } from 'node:os'
import type { ResourceLimits } from 'node:worker_threads'
import type { Piscina } from 'piscina'
import { type Logger, MailactorsError, UsageError } from '../actors/index.ts'
import { rememberJob } from './made-jobs.ts'
import type { PoolStatistics } from './pool-events.ts'
import { checkPoolSize, checkResourceLimits, type PoolChange, type PoolSize } from './pool-options.ts'
import type { PoolHost, Recycling } from './pools.ts'
import { startNoMore, workerOptions } from './workers.ts'

/** Limits of the pool of jobs. */
export interface JobsOptions {
  /** Threads kept running once there was a job. Default 0. */
  readonly minThreads?: number
  /** Most threads. Default: as many as there are cores. */
  readonly maxThreads?: number
  /** Most jobs that may wait; more fail with `MA_OVERLOADED`. Default 10 000. */
  readonly maxQueue?: number
  /** Milliseconds without a job after which a thread beyond `minThreads` ends. Default 100 s. */
  readonly maxIdleMs?: number
  /** Milliseconds a job may take, its time in the queue included, unless it says otherwise. Default: as long as it takes. */
  readonly timeoutMs?: number
  /** All threads are replaced after so many jobs each; 0: never. Default 0. */
  readonly maxUse?: number
  readonly resourceLimits?: ResourceLimits
}

export interface JobOptions {
  /** Milliseconds until it is given up; the thread that runs it is terminated and replaced. */
  readonly timeoutMs?: number
  /** Gives the job up; the thread that runs it is terminated and replaced. */
  readonly signal?: AbortSignal
}

/** A function that other threads can find: `name` is exported by `module`. */
export interface JobFunction<A extends readonly unknown[], R> {
  /** `import.meta.url` of the module. */
  readonly module: string
  /** Name of its export, which is the result of `job()`, or the function itself. */
  readonly name: string
  /** For the compiler: what it takes and gives. */
  readonly run?: (...args: A) => R | Promise<R>
}

/**
 * Defines a job. Export it under its name from the module it names:
 *
 *     export const digest = job({ module: import.meta.url, name: 'digest' }, (text: string) => sha256(text))
 *     await system.jobs.run(digest, ['text'])
 *
 * Arguments and result are copied as by `structuredClone`.
 */
export function job<A extends readonly unknown[], R>(
  where: { readonly module: string; readonly name: string },
  run: (...args: A) => R | Promise<R>,
): JobFunction<A, R> & { readonly run: (...args: A) => R | Promise<R> } {
  checkJob(where)
  rememberJob(where.module, where.name, run)
  return Object.freeze({ module: where.module, name: where.name, run })
}

/** Why there is no result, other than that the job itself threw: then its error is passed on. */
export type JobFailure = 'timeout' | 'cancelled' | 'overloaded' | 'thread_exit'

const failureCodes = {
  timeout: 'MA_TIMEOUT',
  cancelled: 'MA_CANCELLED',
  overloaded: 'MA_OVERLOADED',
  thread_exit: 'MA_DOWN',
} as const

/** The job did not finish. What it did until then, it did. */
export class JobError extends MailactorsError {
  readonly code: (typeof failureCodes)[JobFailure]
  readonly failure: JobFailure

  constructor(failure: JobFailure, job: { readonly name: string }, why: string, cause?: unknown) {
    super(`job ${job.name}: ${why}`, { job: job.name }, cause === undefined ? {} : { cause })
    this.code = failureCodes[failure]
    this.failure = failure
  }
}

/** The name of the pool of jobs in `system.pools`. */
export const jobsPool = 'jobs'

/** Threads that run jobs. */
interface Host {
  readonly piscina: Promise<Piscina>
  /** Once it is there. */
  made: Piscina | undefined
  /** Those that run or wait. */
  jobs: number
  /** Called when there are none left. */
  idle: () => void
}

/** @internal How the message begins when a module does not export the job. */
export const missing = ({ name }: { readonly name: string }): string => `job ${name} is not exported by `

export class Jobs implements PoolHost {
  readonly #options: Required<Omit<JobsOptions, 'resourceLimits'>> & Pick<JobsOptions, 'resourceLimits'>
  readonly #log: Logger
  readonly #entry: string | undefined
  #size: Required<PoolSize>
  #hosts: Host | undefined
  /** Those that finish what they have. */
  readonly #draining = new Set<Host>()
  #pending = 0
  #done = 0
  #recycled = 0
  #isStopped = false

  /** @internal */
  constructor(options: JobsOptions, log: Logger, entry?: string) {
    this.#entry = entry
    const { minThreads = 0, maxThreads = Math.max(availableParallelism(), minThreads) } = options
    this.#size = { minThreads, maxThreads, actorsPerThread: 1 }
    checkPoolSize(jobsPool, this.#size)
    checkResourceLimits(jobsPool, options.resourceLimits)
    this.#options = {
      minThreads,
      maxThreads,
      maxQueue: options.maxQueue ?? 10_000,
      maxIdleMs: options.maxIdleMs ?? 100_000,
      timeoutMs: options.timeoutMs ?? Number.POSITIVE_INFINITY,
      maxUse: options.maxUse ?? 0,
      ...(options.resourceLimits === undefined ? {} : { resourceLimits: options.resourceLimits }),
    }
    this.#log = log
  }

  /**
   * Runs a job on a thread of its own.
   *
   * @throws JobError, or what the job threw.
   * @throws UsageError when the module does not export such a function, or the system has stopped.
   */
  async run<A extends readonly unknown[], R>(
    job: JobFunction<A, R>,
    args: A,
    { timeoutMs = this.#options.timeoutMs, signal }: JobOptions = {},
  ): Promise<R> {
    checkJob(job)
    if (this.#isStopped) throw new UsageError('the system has stopped')
    if (signal?.aborted === true) throw new JobError('cancelled', job, 'given up before it started')
    if (this.#pending >= this.#options.maxQueue + this.#size.maxThreads) {
      throw new JobError('overloaded', job, 'too many jobs wait')
    }
    const abort = new AbortController()
    const cancel = () => abort.abort('cancelled')
    signal?.addEventListener('abort', cancel)
    const timer = Number.isFinite(timeoutMs) ? setTimeout(() => abort.abort('timeout'), timeoutMs) : undefined
    this.#pending++
    try {
      const { module, name } = job
      return (await this.#runOn(this.#started(), { module, name, args }, abort.signal)) as R
    } catch (error) {
      if (abort.signal.aborted) {
        const failure = abort.signal.reason as 'timeout' | 'cancelled'
        throw new JobError(
          failure,
          job,
          failure === 'timeout' ? `not done in ${timeoutMs} ms` : 'given up',
          error,
        )
      }
      throw this.#failure(job, error)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', cancel)
      this.#pending--
      this.#count()
    }
  }

  /** The error of the job as it is; that of its thread by our name. */
  #failure(job: { readonly name: string }, error: unknown): unknown {
    const { code, message } = error as { code?: string; message: string }
    // An error loses its code between threads.
    if (String(message).startsWith(missing(job))) return new UsageError(message, { job: job.name })
    const isThread =
      code === 'ERR_WORKER_OUT_OF_MEMORY' || /^worker exited|terminating worker/i.test(String(message))
    return isThread ? new JobError('thread_exit', job, String(message), error) : error
  }

  #count(): void {
    this.#done++
    const { maxUse } = this.#options
    if (maxUse > 0 && this.#done % (maxUse * this.#size.maxThreads) === 0) void this.recycle()
  }

  #started(): Host {
    if (this.#hosts !== undefined) return this.#hosts
    const host: Host = {
      // Not before there is a job: threads of actors load this file, too.
      piscina: import('piscina').then(({ Piscina }) => {
        host.made = this.#make(Piscina)
        return host.made
      }),
      made: undefined,
      jobs: 0,
      idle: () => {},
    }
    this.#hosts = host
    return host
  }

  async #runOn(host: Host, task: object, signal: AbortSignal): Promise<unknown> {
    host.jobs++
    try {
      const piscina = host.made ?? (await host.piscina)
      return await piscina.run(task, { signal })
    } finally {
      if (--host.jobs === 0) host.idle()
    }
  }

  #make(Threads: typeof Piscina): Piscina {
    const { minThreads, maxThreads } = this.#size
    const { resourceLimits, maxIdleMs } = this.#options
    const piscina = new Threads({
      ...workerOptions('jobs-entry', { entry: this.#entry, resourceLimits }),
      minThreads,
      maxThreads,
      idleTimeout: maxIdleMs,
    })
    piscina.on('error', (error: unknown) =>
      this.#log.warn({ event: 'thread.error', pool: jobsPool, error: String(error) }, 'thread failed'),
    )
    return piscina
  }

  // --- As a pool

  has(name: string): boolean {
    return name === jobsPool
  }

  pools(): PoolStatistics[] {
    return [
      {
        name: jobsPool,
        kind: 'jobs',
        ...this.#size,
        threads: this.#hosts?.made?.threads.length ?? 0,
        draining: [...this.#draining].reduce((sum, { made }) => sum + (made?.threads.length ?? 0), 0),
        actors: this.#pending,
        recycled: this.#recycled,
        stalls: 0,
        crashes: 0,
        quarantinedMs: 0,
      },
    ]
  }

  async resize(_name: string, size: PoolChange): Promise<void> {
    const { minThreads, maxThreads } = { ...this.#size, ...size }
    if (size.actorsPerThread !== undefined && size.actorsPerThread !== 1) {
      throw new UsageError('a thread of the pool jobs runs one job at a time', { pool: jobsPool })
    }
    checkPoolSize(jobsPool, { minThreads, maxThreads, actorsPerThread: 1 })
    this.#size = { minThreads, maxThreads, actorsPerThread: 1 }
    void this.#replace()
    this.#log.info({ event: 'pool.resized', pool: jobsPool, minThreads, maxThreads }, 'pool has another size')
  }

  async recycle(): Promise<Recycling> {
    const threads = this.#hosts?.made?.threads.map(({ threadId }) => threadId) ?? []
    this.#recycled += threads.length
    this.#log.info({ event: 'thread.recycled', pool: jobsPool, threads }, 'threads take no more jobs')
    return { threads, drained: this.#replace() }
  }

  /** The next job is for new threads; those that run or wait finish on the old ones. */
  async #replace(): Promise<void> {
    const old = this.#hosts
    this.#hosts = undefined
    if (old === undefined) return
    this.#draining.add(old)
    if (old.jobs > 0) {
      await new Promise<void>((resolve) => {
        old.idle = resolve
      })
    }
    this.#draining.delete(old)
    await endThreads(await old.piscina)
  }

  /** @internal Jobs that run or wait fail as `cancelled`. */
  async stop(): Promise<void> {
    this.#isStopped = true
    const hosts = [...this.#draining, ...(this.#hosts === undefined ? [] : [this.#hosts])]
    await Promise.all(hosts.map(async ({ piscina }) => endThreads(await piscina)))
  }
}

function checkJob({ module, name }: { readonly module: string; readonly name: string }): void {
  if (typeof module !== 'string' || !module.includes(':')) {
    throw new UsageError('job: module must be import.meta.url of the module that exports it', { job: name })
  }
  if (typeof name !== 'string' || name === '') throw new UsageError('job: name is missing', { module })
}

/**
 * Ends all threads of a piscina. It forgets that it was destroyed once that is done, and the late word of a thread that had
 * died just before would have it start its least number of threads again.
 */
async function endThreads(piscina: Piscina): Promise<void> {
  startNoMore(piscina)
  await piscina.destroy()
}
