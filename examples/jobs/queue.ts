/**
 * The queue: one actor owns the jobs, so nothing needs a lock. A job is handed to one worker at a time and comes back
 * when that worker ends without its result; when the queue itself ends, all that were out come back at its restart.
 */
import { type ActorRef, type AnyRef, actor, type Contract } from 'mailactors'
import { type Job, JobStore } from './job-store.ts'
import type { Worker } from './worker.ts'

export type Queue = Contract<{
  /** Answered when the job is on the disk. */
  add(key: string, text: string): void
  /** The oldest job that waits; undefined when there is none, and the worker is told `wake` when there is again. */
  take(worker: AnyRef): Job | undefined
  done(worker: AnyRef, key: string, result: string): void
  result(key: string): string | undefined
  counts(): { waiting: number; taken: number; done: number; attempts: number }
}>

export const queue = actor<Queue, { file: string }>({
  name: 'queue',
  module: import.meta.url,
  init(context, { file }) {
    const store = new JobStore(file)
    /** What each worker has in hand, by the monitor that tells of its end. */
    const taken = new Map<number, { worker: number; key: string }>()
    const idle = new Map<number, ActorRef<Worker>>()

    /** Ends what is noted of a worker. Its jobs wait again, unless they are done. */
    const release = (worker: number): void => {
      for (const [monitor, lease] of taken) {
        if (lease.worker !== worker) continue
        taken.delete(monitor)
        context.demonitor(monitor)
        store.putBack(lease.key)
      }
    }
    const wakeOne = (): void => {
      for (const [id, worker] of idle) {
        idle.delete(id)
        worker.tell('wake')
        return
      }
    }
    return {
      add(key, text) {
        store.add(key, text)
        wakeOne()
      },
      take(worker) {
        // Who asks has nothing in hand: if it had, the answer to an earlier question never reached it.
        release(worker.id)
        const job = store.take()
        if (job === undefined) idle.set(worker.id, worker as ActorRef<Worker>)
        else taken.set(context.monitor(worker), { worker: worker.id, key: job.key })
        return job
      },
      done(worker, key, result) {
        store.done(key, result)
        release(worker.id)
      },
      result: (key) => store.result(key),
      counts: () => store.counts(),
      handleDown({ monitor, ref }) {
        idle.delete(ref.id)
        const lease = taken.get(monitor)
        if (lease === undefined) return
        taken.delete(monitor)
        store.putBack(lease.key)
        wakeOne()
      },
      terminate: () => store.close(),
    }
  },
})
