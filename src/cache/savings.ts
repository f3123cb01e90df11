/** What the cache spared, by destination: connections that need not be made, and the time that making them takes. */

export interface SavingsRow {
  /** Destination label; empty: all those that are not named for lack of room. */
  readonly destination: string
  readonly hits: number
  readonly misses: number
  /** Handshakes: connection, greeting, EHLO, TLS, login. */
  readonly handshakesSpared: number
  readonly msSpared: number
}

type Counters = { -readonly [K in Exclude<keyof SavingsRow, 'destination'>]: number }

/** Destinations that are counted by name. */
const maxNamed = 1_000

export class Savings {
  /** The least recently used one is first. */
  readonly #byDestination = new Map<string, Counters>()
  readonly #others = counters()
  readonly #total = counters()

  /** A connection was found; `setupMs` is what it took to make it. */
  hit(destination: string, setupMs: number): void {
    this.#add(destination, { hits: 1, misses: 0, handshakesSpared: 1, msSpared: setupMs })
  }

  miss(destination: string): void {
    this.#add(destination, { hits: 0, misses: 1, handshakesSpared: 0, msSpared: 0 })
  }

  /** What was found turned out to be of no use: the server had gone. */
  wasted(destination: string, setupMs: number): void {
    this.#add(destination, { hits: 0, misses: 0, handshakesSpared: -1, msSpared: -setupMs })
  }

  #add(destination: string, change: Counters): void {
    let row = this.#byDestination.get(destination)
    if (row === undefined) row = counters()
    else this.#byDestination.delete(destination)
    this.#byDestination.set(destination, row)
    addTo(row, change)
    addTo(this.#total, change)
    if (this.#byDestination.size <= maxNamed) return
    const [oldest, dropped] = this.#byDestination.entries().next().value!
    this.#byDestination.delete(oldest)
    addTo(this.#others, dropped)
  }

  get total(): Omit<SavingsRow, 'destination'> {
    return { ...this.#total }
  }

  /** The `count` destinations that gained most, then the rest as one. */
  rows(count: number): readonly SavingsRow[] {
    const named = [...this.#byDestination]
      .map(([destination, row]) => ({ destination, ...row }))
      .sort((a, b) => b.msSpared - a.msSpared || b.hits - a.hits)
    const rest = { ...this.#others }
    for (const row of named.slice(count)) addTo(rest, row)
    const shown: SavingsRow[] = named.slice(0, count)
    return rest.hits + rest.misses === 0 ? shown : [...shown, { destination: '', ...rest }]
  }

  clear(): void {
    this.#byDestination.clear()
    Object.assign(this.#others, counters())
    Object.assign(this.#total, counters())
  }
}

function counters(): Counters {
  return { hits: 0, misses: 0, handshakesSpared: 0, msSpared: 0 }
}

function addTo(sum: Counters, change: Counters): void {
  sum.hits += change.hits
  sum.misses += change.misses
  sum.handshakesSpared += change.handshakesSpared
  sum.msSpared += change.msSpared
}
