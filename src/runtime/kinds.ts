/** What holds for all actors of a kind, that is of one definition, on one thread: where they may be, and quarantine. */
import { type AnyActorDefinition, MailactorsError, UsageError } from '../actors/index.ts'
import type { PoolPlaces } from './topology.ts'

/** The kind crashed before any actor of it had done anything; it is not started again for `ActorOptions.throttleMs`. */
export class QuarantineError extends MailactorsError {
  readonly code = 'MA_QUARANTINED'
}

/** What a kind is called between threads. */
export function kindOf({ module, name }: AnyActorDefinition): string {
  return `${module}\n${name}`
}

/**
 * @throws UsageError when a solitary kind is to be put in a pool that may have several threads, or an unlimited one where
 * the number of actors is bounded.
 */
export function checkPlace(definition: AnyActorDefinition, pool: string, places: PoolPlaces): void {
  const { limit, name } = definition
  if (limit === 'solitary' && places.maxThreads !== 1) {
    throw new UsageError(`${name} is solitary: pool ${pool} must have maxThreads 1`, { kind: name, pool })
  }
  if (limit === 'unlimited' && places.actorsPerThread !== Number.POSITIVE_INFINITY) {
    throw new UsageError(`${name} is unlimited: pool ${pool} must have actorsPerThread Infinity`, {
      kind: name,
      pool,
    })
  }
}

/** Registered name of the one actor of a solitary kind. */
export const solitaryName = ({ name }: AnyActorDefinition): string => `solitary ${name}`

export class Quarantines {
  readonly #until = new Map<string, number>()
  /** Kinds of which an actor on this thread has done something. */
  readonly #proven = new Set<string>()

  add(kind: string, ms: number, now: number): void {
    this.#until.set(kind, now + ms)
  }

  get areNone(): boolean {
    return this.#until.size === 0
  }

  /** @throws QuarantineError */
  check(definition: AnyActorDefinition, now: number): void {
    const kind = kindOf(definition)
    const until = this.#until.get(kind)
    if (until === undefined) return
    if (until <= now) {
      this.#until.delete(kind)
      return
    }
    throw new QuarantineError(
      `${definition.name} is quarantined for ${Math.ceil((until - now) / 1000)} s more: it crashed before its first job`,
      { kind: definition.name, remainingMs: until - now },
    )
  }

  /** An actor ended. `true`: its kind has to be quarantined. `handled` counts the message it crashed in. */
  ended(definition: AnyActorDefinition, isCrash: boolean, handled: number): boolean {
    const kind = kindOf(definition)
    if (!isCrash || handled > 1) {
      this.#proven.add(kind)
      return false
    }
    return !this.#proven.has(kind)
  }
}
