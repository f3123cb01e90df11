/**
 * What processes used so far, read from /proc (Linux). A server is counted with all its descendants and with the
 * children it already waited for, so that one that forks for each session is counted in full. Take the difference
 * of two readings; a reading is exact to the tick of 10 ms per process.
 */
import { readdirSync, readFileSync } from 'node:fs'

/** USER_HZ, the same on every Linux. */
const TICKS_PER_SECOND = 100

interface Stat {
  readonly parent: number
  readonly ticks: number
}

/** Every process of the machine; one that ends meanwhile is left out. */
function processes(): Map<number, Stat> {
  const found = new Map<number, Stat>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const stat = readOptional(`/proc/${name}/stat`)
    if (stat === undefined) continue
    // The command name may hold anything; the fields start after the last ')'.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // utime, stime, and both of the children that were waited for
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0)
    found.set(Number(name), { parent: Number(fields[1]), ticks })
  }
  return found
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}

/** `root` and its descendants, as far as they live. */
function descendants(all: ReadonlyMap<number, Stat>, root: number): number[] {
  const children = new Map<number, number[]>()
  for (const [pid, { parent }] of all) {
    const siblings = children.get(parent)
    if (siblings === undefined) children.set(parent, [pid])
    else siblings.push(pid)
  }
  const tree: number[] = []
  const pending = all.has(root) ? [root] : []
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    tree.push(pid)
    pending.push(...(children.get(pid) ?? []))
  }
  return tree
}

/** User and system seconds of the trees below `roots`. */
export function cpuSeconds(roots: readonly number[]): number {
  const all = processes()
  let ticks = 0
  for (const root of roots) {
    for (const pid of descendants(all, root)) ticks += all.get(pid)?.ticks ?? 0
  }
  return ticks / TICKS_PER_SECOND
}

export interface Memory {
  readonly processes: number
  readonly rssKiB: number
  /** Shared pages divided among those that share them. */
  readonly pssKiB: number
}

/** Memory of the trees below `roots`. */
export function memory(roots: readonly number[]): Memory {
  const all = processes()
  const total = { processes: 0, rssKiB: 0, pssKiB: 0 }
  for (const root of roots) {
    for (const pid of descendants(all, root)) {
      const rollup = readOptional(`/proc/${pid}/smaps_rollup`)
      if (rollup === undefined) continue
      total.processes += 1
      total.rssKiB += Number(/^Rss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0)
      total.pssKiB += Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0)
    }
  }
  return total
}

/** Seconds in which the machine's cores were busy with anything. */
export function machineSeconds(): number {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? ''
  // cpu user nice system idle iowait irq softirq
  const [user, nice, system, , , irq, softirq] = line.trim().split(/\s+/).slice(1).map(Number)
  return ((user ?? 0) + (nice ?? 0) + (system ?? 0) + (irq ?? 0) + (softirq ?? 0)) / TICKS_PER_SECOND
}

/** A pid, or the pid that the named file holds. Throws when it holds none. */
export function pidFrom(text: string): number {
  const pid = Number(/^\d+$/.test(text) ? text : readFileSync(text, 'latin1').trim())
  if (!Number.isInteger(pid) || pid <= 0) throw new Error(`not a pid: ${text}`)
  return pid
}
