/** Answers that wait for their time, in its order. Bounded: beyond it the oldest is given early. */

interface Waiting {
  readonly due: number
  readonly answer: () => void
}

/** More do not wait. */
const maxWaiting = 10_000

export class DelayedAnswers {
  readonly #waiting: Waiting[] = []

  /** When the first has to be given. */
  get nextDue(): number | undefined {
    return this.#waiting[0]?.due
  }

  add(due: number, answer: () => void): void {
    // Mostly in order already: only a slow check comes late, and then by little.
    let at = this.#waiting.length
    while (at > 0 && (this.#waiting[at - 1]?.due ?? 0) > due) at--
    this.#waiting.splice(at, 0, { due, answer })
    if (this.#waiting.length > maxWaiting) this.#waiting.shift()?.answer()
  }

  /** Gives those whose time has come. */
  release(now: number): void {
    const count = this.#waiting.findIndex(({ due }) => due > now)
    for (const { answer } of this.#waiting.splice(0, count < 0 ? this.#waiting.length : count)) answer()
  }

  releaseAll(): void {
    this.release(Number.POSITIVE_INFINITY)
  }
}
