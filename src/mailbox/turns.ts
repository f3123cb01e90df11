/**
 * Long work in turns: a mailbox of a million mails is read in seconds, and the thread it is read on has others to serve
 * meanwhile. Such work is a generator that yields at points where it may be interrupted.
 */
export type Steps<T> = Generator<void, T, void>

/** How long one turn may keep the thread. */
const turnMs = 8

export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  let until = performance.now() + turnMs
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
    if (performance.now() < until) continue
    await new Promise<void>((resolve) => setImmediate(resolve))
    until = performance.now() + turnMs
  }
}

/** For who has nobody else to serve. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done === true) return value
  }
}

/** Items that one step handles. */
export const stepLength = 512

const runLength = 2_048

/** Sorts as `Array.sort` does, equal ones in their order. */
export function* sorted<T>(items: readonly T[], compare: (a: T, b: T) => number): Steps<T[]> {
  let runs: T[][] = []
  for (let i = 0; i < items.length; i += runLength) {
    runs.push(items.slice(i, i + runLength).sort(compare))
    yield
  }
  while (runs.length > 1) {
    const merged: T[][] = []
    for (let i = 0; i < runs.length; i += 2) {
      merged.push(i + 1 < runs.length ? yield* merge(runs[i]!, runs[i + 1]!, compare) : runs[i]!)
    }
    runs = merged
  }
  return runs[0] ?? []
}

function* merge<T>(left: readonly T[], right: readonly T[], compare: (a: T, b: T) => number): Steps<T[]> {
  const all: T[] = []
  let l = 0
  let r = 0
  while (l < left.length && r < right.length) {
    all.push(compare(left[l]!, right[r]!) <= 0 ? left[l++]! : right[r++]!)
    if (all.length % stepLength === 0) yield
  }
  while (l < left.length) all.push(left[l++]!)
  while (r < right.length) all.push(right[r++]!)
  return all
}
