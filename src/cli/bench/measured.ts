/** What a load has shown: how many, how fast, how evenly. */

export class Measured {
  /** Milliseconds of each unit of work. */
  readonly times: number[] = []
  /** Units done in each slot of `slotMs` since the start. */
  readonly slots: number[] = []
  readonly #startedAt = performance.now()

  done(milliseconds: number): void {
    this.times.push(milliseconds)
    const slot = Math.floor((performance.now() - this.#startedAt) / slotMs)
    while (this.slots.length <= slot) this.slots.push(0)
    this.slots[slot]! += 1
  }

  get seconds(): number {
    return (performance.now() - this.#startedAt) / 1000
  }
}

export const slotMs = 100

export interface Result {
  readonly scenario: string
  readonly unit: string
  readonly count: number
  readonly perSecond: number
  /** Of the service; null: this system does not tell. */
  readonly perCpuSecond: number | null
  readonly p50Ms: number
  readonly p99Ms: number
  /** Units in each 100 ms. */
  readonly slots: readonly number[]
  /** Milliseconds at each percent from 0 to 100. */
  readonly percentiles: readonly number[]
}

export function resultOf(
  scenario: string,
  unit: string,
  measured: Measured,
  seconds: number,
  cpuSeconds: number | undefined,
): Result {
  const sorted = measured.times.toSorted((a, b) => a - b)
  const percentiles = Array.from({ length: 101 }, (_, p) => percentile(sorted, p))
  const count = sorted.length
  return {
    scenario,
    unit,
    count,
    perSecond: count / seconds,
    perCpuSecond: cpuSeconds === undefined || cpuSeconds === 0 ? null : count / cpuSeconds,
    p50Ms: percentiles[50]!,
    p99Ms: percentiles[99]!,
    slots: measured.slots,
    percentiles,
  }
}

/** Of ascending values; NaN without any. */
export const percentile = (sorted: readonly number[], p: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] ?? Number.NaN
