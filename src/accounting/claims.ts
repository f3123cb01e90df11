/** Things that one session at a time may have. Others wait, the first to come first. */

interface Waiter {
  readonly owner: number
  readonly answer: (got: boolean) => void
}

interface Claim {
  owner: number
  readonly waiters: Waiter[]
}

/** Owners are ids of actors. */
export class Claims {
  readonly #claims = new Map<string, Claim>()

  /** Calls back with true at once or when the owner gives it up, with false by `giveUp`. */
  claim(what: string, owner: number, answer: (got: boolean) => void): void {
    const claim = this.#claims.get(what)
    if (claim !== undefined && claim.owner !== owner) {
      claim.waiters.push({ owner, answer })
      return
    }
    if (claim === undefined) this.#claims.set(what, { owner, waiters: [] })
    answer(true)
  }

  /** Somebody waits no longer. */
  giveUp(what: string, owner: number): void {
    const waiters = this.#claims.get(what)?.waiters ?? []
    const at = waiters.findIndex((waiter) => waiter.owner === owner)
    if (at !== -1) waiters.splice(at, 1)[0]!.answer(false)
  }

  release(what: string, owner: number): void {
    const claim = this.#claims.get(what)
    if (claim?.owner !== owner) return
    const next = claim.waiters.shift()
    if (next === undefined) {
      this.#claims.delete(what)
      return
    }
    claim.owner = next.owner
    next.answer(true)
  }

  /** The owner has ended. */
  forget(owner: number): void {
    for (const [what, claim] of this.#claims) {
      const at = claim.waiters.findIndex((waiter) => waiter.owner === owner)
      if (at !== -1) claim.waiters.splice(at, 1)
      this.release(what, owner)
    }
  }

  get size(): number {
    return this.#claims.size
  }
}
