/** What our piscinas have in common. Does not load piscina: threads need none. */
import type { ResourceLimits } from 'node:worker_threads'
import type { Piscina } from 'piscina'
import { type EntryKind, entryFile } from './entry-file.ts'

/** Limits and entry of the threads of one pool. */
export interface WorkerOptions {
  /** Of a bundle, see `SystemOptions`. */
  readonly entry: string | undefined
  readonly resourceLimits: ResourceLimits | undefined
}

/** @throws UsageError as `entryFile`. */
export function workerOptions(kind: EntryKind, { entry, resourceLimits }: WorkerOptions) {
  return {
    ...entryFile(kind, entry),
    concurrentTasksPerWorker: 1,
    // Waiting for a task by atomics would stop every socket and timer of the thread.
    atomics: 'disabled' as const,
    // Flags of this process, a test runner's for instance, are not meant for our threads.
    execArgv: [],
    recordTiming: false,
    ...(resourceLimits === undefined ? {} : { resourceLimits }),
  }
}

/** From now on no worker is started in place of one that ends. */
export function startNoMore(piscina: Piscina): void {
  const options: { minThreads?: number } = piscina.options
  options.minThreads = 0
}
