/** How TLS went with other servers since the start, for metrics: few kinds, and a count for each. */
import type { TlsLevel } from './levels.ts'
import type { TrustClass } from './plan.ts'
import type { FailureType } from './rpt/events.ts'

/** A session that TLS was put on. */
export interface SecuredSession {
  readonly kind: 'secured'
  readonly level: TlsLevel
  readonly protocol: string
  readonly cipher: string
  readonly class: TrustClass
  /** An earlier session went on. */
  readonly resumed: boolean
}

/**
 * TLS that did not come about, or not with the right server. `starttls-not-supported` at the level `may` costs nothing
 * but the protection; `policy`: there is none that can be followed, and the server was not used.
 */
export interface MissedTls {
  readonly kind: 'missed'
  /** Empty: the policy is not known. */
  readonly level: TlsLevel | ''
  readonly reason: FailureType | 'handshake' | 'policy'
}

export type TlsFact = SecuredSession | MissedTls

/** A fact, and how often it was so. */
export type CountedFact = TlsFact & { readonly count: number }

/** Kinds that are told apart: servers choose ciphers, within what OpenSSL knows. */
const maxKinds = 1_000

export class TlsCounts {
  readonly #counts = new Map<string, { readonly fact: TlsFact; count: number }>()

  add(fact: TlsFact): void {
    const key = Object.values(fact).join(' ')
    const known = this.#counts.get(key)
    if (known !== undefined) known.count++
    else if (this.#counts.size < maxKinds) this.#counts.set(key, { fact, count: 1 })
  }

  rows(): readonly CountedFact[] {
    return [...this.#counts.values()].map(({ fact, count }) => ({ ...fact, count }))
  }
}
