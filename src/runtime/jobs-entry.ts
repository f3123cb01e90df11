/** What a thread of the pool of jobs runs: finds the function, calls it. */

interface Task {
  readonly module: string
  readonly name: string
  readonly args: readonly unknown[]
}

export default async function runJob({ module, name, args }: Task): Promise<unknown> {
  const found = ((await import(module)) as Record<string, unknown>)[name]
  const run = typeof found === 'function' ? found : (found as { run?: unknown } | undefined)?.run
  if (typeof run === 'function') return await run(...args)
  throw Object.assign(new Error(`job ${name} is not exported by ${module}`), { code: 'MA_JOB_MISSING' })
}
