import type { LoadTable } from './load-table.ts'
import type { ThreadStalledEvent } from './pool-events.ts'

/** Signs of life of one thread, as main sees them. It looks by its own clock: only whether the beats go on matters. */
export class Pulse {
  readonly #load: LoadTable
  readonly #slot: number
  readonly #names = new Map<number, { readonly component: string; readonly message: string }>()
  #beats = -1
  #since: number
  #isTold = false
  /** Stalls so far. */
  stalls = 0

  constructor(load: LoadTable, slot: number, now: number) {
    this.#load = load
    this.#slot = slot
    this.#since = now
  }

  /** What the thread calls one of its messages. */
  learn(code: number, component: string, message: string): void {
    this.#names.set(code, { component, message })
  }

  /** Nobody could look for a while: what happened meanwhile is not held against the thread. */
  forgive(now: number): void {
    this.#since = now
  }

  /** Milliseconds without a sign of life. */
  silentMs(now: number): number {
    const beats = this.#load.beats(this.#slot)
    if (beats !== this.#beats) {
      this.#beats = beats
      this.#since = now
      this.#isTold = false
    }
    return now - this.#since
  }

  /** `true` once for each stall that gets longer than `afterMs`. */
  isNewStall(silentMs: number, afterMs: number): boolean {
    if (silentMs < afterMs || this.#isTold) return false
    this.#isTold = true
    this.stalls++
    return true
  }

  get isStalled(): boolean {
    return this.#isTold
  }

  /** Whose handler it is stuck in. */
  culprit(): Pick<ThreadStalledEvent, 'component' | 'actor' | 'message' | 'isSuspected'> {
    const { code, actor } = this.#load.inHand(this.#slot)
    const known = this.#names.get(Math.abs(code))
    return known === undefined ? { isSuspected: false } : { ...known, actor, isSuspected: code < 0 }
  }
}
