/** What a thread of the pool of jobs runs: finds the function, calls it. */
import { jobMadeIn } from './made-jobs.ts'

/** One call of a job. */
export interface JobTask {
  readonly module: string
  readonly name: string
  readonly args: readonly unknown[]
}

export async function runJob({ module, name, args }: JobTask): Promise<unknown> {
  const exported = (await import(module)) as Record<string, unknown>
  const found = exported[name] ?? jobMadeIn(module, name)
  const run = typeof found === 'function' ? found : (found as { run?: unknown } | undefined)?.run
  if (typeof run === 'function') return await run(...args)
  // `Jobs` knows it by these words.
  throw new Error(`job ${name} is not exported by ${module}`)
}
