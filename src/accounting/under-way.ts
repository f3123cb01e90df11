/** How many of a kind are under way, and in which sessions. */
export class UnderWay {
  readonly #counts = new Map<string, number>()
  readonly #sessions = new Map<string, { readonly monitor: number; readonly kinds: string[] }>()

  get size(): number {
    return this.#counts.size
  }

  /** False: there are `limit` already. `monitor` is asked for when the session has nothing else under way. */
  begin(session: string, kind: string, limit: number, monitor: () => number): boolean {
    const count = this.#counts.get(kind) ?? 0
    if (count >= limit) return false
    this.#counts.set(kind, count + 1)
    const known = this.#sessions.get(session)
    if (known === undefined) this.#sessions.set(session, { monitor: monitor(), kinds: [kind] })
    else known.kinds.push(kind)
    return true
  }

  /** Its monitor; undefined: it had nothing under way. */
  finish(session: string): number | undefined {
    const known = this.#sessions.get(session)
    if (known === undefined) return undefined
    this.#sessions.delete(session)
    for (const kind of known.kinds) {
      const left = this.#counts.get(kind)! - 1
      if (left === 0) this.#counts.delete(kind)
      else this.#counts.set(kind, left)
    }
    return known.monitor
  }
}
