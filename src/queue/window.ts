/**
 * How many deliveries may run at the same time to one site, learned from how they go. A delivery that says
 * nothing about the site (whatever became of its recipients) widens the window; one that says the site is in
 * trouble narrows it; a window's worth of trouble in a row and the site is dead for a while.
 */

/** Settings of all windows of a transport, normalised. */
export interface WindowSettings {
  /** Window of a site of which nothing is known. */
  readonly initial: number
  /** Widest window; 0: no limit. */
  readonly limit: number
  readonly positive: Feedback
  readonly negative: Feedback
  /** Failed windows in a row after which a site is dead; 0: never. */
  readonly failedCohortLimit: number
}

/** How much one result moves a window of the given width. */
export type Feedback = (width: number) => number

/**
 * Reads `NUMBER`, `NUMBER/concurrency` or `NUMBER/sqrt_concurrency`, the number from 0 to 1. Anything else is
 * undefined: the caller warns and takes 1.
 */
export function parseFeedback(text: string): Feedback | undefined {
  const match = /^\s*(\d+(?:\.\d*)?|\.\d+)\s*(?:\/\s*(sqrt_concurrency|concurrency)\s*)?$/.exec(text)
  const amount = Number(match?.[1])
  if (match === null || amount > 1) return undefined
  if (match[2] === 'concurrency') return (width) => amount / width
  if (match[2] === 'sqrt_concurrency') return (width) => amount / Math.sqrt(width)
  return () => amount
}

/** The window of one site. Width 0: dead. */
export class Window {
  #settings: WindowSettings
  #width: number
  #success = 0
  #failure = 0
  #failedCohorts = 0

  constructor(settings: WindowSettings) {
    this.#settings = settings
    this.#width = this.#first
  }

  /** Takes other settings; what was learned stays, within the new limit. */
  configure(settings: WindowSettings): void {
    this.#settings = settings
    if (settings.limit !== 0) this.#width = Math.min(this.#width, settings.limit)
  }

  /** Deliveries that may run at the same time; 0 while the site is dead. */
  get width(): number {
    return this.#width
  }

  get isDead(): boolean {
    return this.#width === 0
  }

  /** It grows no further: what is given ahead of time to one delivery is not overtaken by new ones. */
  get isWidest(): boolean {
    return this.#settings.limit !== 0 && this.#width >= this.#settings.limit
  }

  /** Gives a dead site another chance, with as much as is running there already, or as a new one. */
  revive(busy: number): void {
    this.#width = busy > 0 ? busy : this.#first
    this.#success = 0
    this.#failure = 0
    this.#failedCohorts = 0
  }

  /** A delivery ended without trouble with the site. `busy` counts it still. */
  succeeded(busy: number): void {
    this.#failedCohorts = 0
    if (this.isDead) {
      this.revive(busy)
      return
    }
    const { limit, initial, positive } = this.#settings
    if (limit !== 0 && this.#width >= limit) return
    // No wider than what is used, plus a step: a quiet site earns no window that it never tried.
    if (this.#width >= busy + initial) return
    const gain = positive(this.#width)
    this.#success += gain
    // Half a gain of hysteresis keeps a window from flapping between two widths.
    while (this.#success + gain / 2 >= 1) {
      this.#width += 1
      this.#success -= 1
      this.#failure = 0
      if (limit !== 0 && this.#width >= limit) {
        this.#width = limit
        break
      }
    }
  }

  /** A delivery ended because of trouble with the site. True: that killed it. */
  failed(): boolean {
    if (this.isDead) return false
    const { failedCohortLimit, negative } = this.#settings
    this.#failedCohorts += 1 / this.#width
    // Sums of thirds and fifths miss whole numbers by some bits; they must not cost one failure more.
    if (failedCohortLimit > 0 && this.#failedCohorts >= failedCohortLimit - 1e-9) {
      this.#width = 0
      return true
    }
    const loss = negative(this.#width)
    this.#failure -= loss
    while (this.#failure - loss / 2 < 0) {
      this.#width = Math.max(1, this.#width - 1)
      this.#success = 0
      this.#failure += 1
    }
    return false
  }

  get #first(): number {
    const { initial, limit } = this.#settings
    return limit === 0 ? initial : Math.min(initial, limit)
  }
}
