/** How many mails are in which state, without asking the database each time. */
import type { ActiveSet } from './active.ts'
import type { QueueCounts } from './contract.ts'
import type { MailState } from './store.ts'

export class MailCounts {
  readonly #states: Record<MailState, number>

  /** @param states As the database has them at the start; changes after a commit are told to this object. */
  constructor(states: Record<MailState, number>) {
    this.#states = states
  }

  get total(): number {
    const { active, deferred, hold, corrupt } = this.#states
    return active + deferred + hold + corrupt
  }

  add(state: MailState): void {
    this.#states[state] += 1
  }

  take(state: MailState): void {
    this.#states[state] -= 1
  }

  move(from: MailState, to: MailState): void {
    this.take(from)
    this.add(to)
  }

  /** As operators see it: what is in memory is active, whatever it was before. */
  counts(memory: Pick<ActiveSet, 'size' | 'deferred'>): QueueCounts {
    const { active, deferred, hold, corrupt } = this.#states
    return {
      incoming: Math.max(0, active - (memory.size - memory.deferred)),
      active: memory.size,
      deferred: Math.max(0, deferred - memory.deferred),
      hold,
      corrupt,
    }
  }
}
