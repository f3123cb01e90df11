/** Jobs by module and name as they are made, for bundles: of what is in them they export little. */

type Run = (...args: never[]) => unknown

const made = new Map<string, Run | 'several'>()

/** Jobs are few and made once. A program that makes them by the thousand has to export them. */
const mostMade = 10_000

export function rememberJob(module: string, name: string, run: Run): void {
  const key = `${module}\n${name}`
  if (made.has(key)) made.set(key, 'several')
  else if (made.size < mostMade) made.set(key, run)
}

/** The function of the only job of that name that the module made in this thread. */
export function jobMadeIn(module: string, name: string): Run | undefined {
  const run = made.get(`${module}\n${name}`)
  return run === 'several' ? undefined : run
}
