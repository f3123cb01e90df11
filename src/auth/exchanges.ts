/** SASL exchanges that wait for the client's next answer: numbered, bounded, forgotten when they last too long. */
import type { Asker } from './contract.ts'
import type { SaslExchange } from './sasl/mechanism.ts'

export interface OpenExchange {
  readonly mechanism: string
  readonly exchange: SaslExchange
  readonly asker: Asker
  /** Of a client certificate that was verified; empty: none. */
  readonly certificateName: string
  /** On the clock that never jumps. */
  readonly startedAt: number
}

/** Beyond it the oldest is forgotten. */
const maxOpen = 10_000
/** The sessions themselves give their clients little longer. */
const lifetimeMs = 150_000

export class Exchanges {
  readonly #open = new Map<number, OpenExchange>()
  #newest = 0

  get size(): number {
    return this.#open.size
  }

  nextNumber(): number {
    return ++this.#newest
  }

  put(number: number, exchange: OpenExchange): void {
    this.#open.set(number, exchange)
    if (this.#open.size <= maxOpen) return
    const [oldest] = this.#open.keys()
    if (oldest !== undefined) this.#open.delete(oldest)
  }

  /** Takes one out: while it computes nobody else can go on with it. */
  take(number: number): OpenExchange | undefined {
    const exchange = this.#open.get(number)
    this.#open.delete(number)
    return exchange
  }

  expire(now: number): void {
    for (const [number, { startedAt }] of this.#open) {
      if (now - startedAt >= lifetimeMs) this.#open.delete(number)
    }
  }
}
