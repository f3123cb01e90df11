/** What a process has open, to see whether something stays behind. */
import { existsSync, readdirSync } from 'node:fs'
import { expect } from 'vitest'

/** Handles, requests and timers of this process by kind, with what belongs to the test runner. */
export function resources(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1
  // Come and go with the runner's own work.
  for (const kind of ['Immediate', 'FSReqPromise', 'CloseReq', 'WriteWrap']) delete counts[kind]
  return counts
}

/** The runner's own timers come and go, and a spare thread that loads has a port: fewer is well, and more is given time to go. */
export async function expectNoMore(before: Record<string, number>): Promise<void> {
  const more = () => Object.entries(resources()).filter(([kind, count]) => count > (before[kind] ?? 0))
  for (let i = 0; i < 1_500 && more().length > 0; i++) await new Promise((resolve) => setTimeout(resolve, 20))
  expect(more()).toEqual([])
}

/** What the kernel has of this process; nothing where there is no /proc. */
export function ofTheSystem(): { readonly threads: number; readonly files: number } {
  const count = (dir: string): number => (existsSync(dir) ? readdirSync(dir).length : 0)
  return { threads: count('/proc/self/task'), files: count('/proc/self/fd') }
}
