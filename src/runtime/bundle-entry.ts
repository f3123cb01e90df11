import type { ThreadTask } from './control.ts'
import { type JobTask, runJob } from './jobs-entry.ts'
import { runActors } from './thread-entry.ts'

/**
 * What the threads of a bundled program run; never called by a program. A bundle that this package is part of exports it,
 * and names itself as `entry` of its systems: its threads have no other file to start with.
 */
export function runThread(task: ThreadTask | JobTask): Promise<unknown> {
  return 'peer' in task ? runActors(task) : runJob(task)
}
