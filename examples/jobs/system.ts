import { ActorSystem, type ChildSpec } from 'mailactors'
import { queue } from './queue.ts'
import { worker } from './worker.ts'

const workers = 4

/** The queue on a thread of its own, and workers on two others. */
export function startJobs(file: string): Promise<ActorSystem> {
  const children: ChildSpec[] = [
    { id: 'queue', actor: queue, args: { file }, placement: { pool: 'storage' }, registerAs: 'queue' },
  ]
  for (let number = 1; number <= workers; number++) {
    children.push({ id: `worker-${number}`, actor: worker, placement: { pool: 'workers' } })
  }
  return ActorSystem.start({
    pools: { storage: { minThreads: 1 }, workers: { minThreads: 2 } },
    children,
    // A thread that dies takes several of them at once.
    intensity: 50,
    periodMs: 5_000,
  })
}
