/** What the queue did since it started: numbers that only grow. */
import type { Written } from './results.ts'

export class Statistics {
  accepted = 0
  refused = 0
  commits = 0
  readonly results: Record<string, number> = {}
  readonly notices: Record<string, number> = {}

  written({ judged, changes }: Written): void {
    this.commits += 1
    for (const { statuses } of judged) for (const status of statuses) add(this.results, status)
    for (const { notices } of changes) for (const { notice } of notices) add(this.notices, notice.kind)
  }
}

function add(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1
}
