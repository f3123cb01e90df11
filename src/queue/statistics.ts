/** What the queue did since it started: numbers that only grow. */
import type { QueueStatistics } from './contract.ts'
import type { Written } from './results.ts'
import type { Scheduler } from './scheduler.ts'

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

  /** With what stands now. */
  snapshot(
    scheduler: Scheduler,
    standing: { readonly now: number; readonly recipientsInMemory: number; readonly heldUp: number },
  ): QueueStatistics {
    const sites = [...scheduler.sites()]
    return {
      accepted: this.accepted,
      refused: this.refused,
      commits: this.commits,
      results: this.results,
      notices: this.notices,
      recipientsInMemory: standing.recipientsInMemory,
      running: scheduler.running,
      waiting: scheduler.waiting,
      sites: sites.length,
      deadSites: sites.filter((site) => site.troubleAt(standing.now) !== undefined).length,
      heldUp: standing.heldUp,
    }
  }
}

function add(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1
}
