/**
 * Checks hashes that keep their thread busy, in the `jobs` pool. Its one actor is started when it is first needed and ends
 * when it was not needed for a while, and its thread with it.
 */
import {
  type ActorContext,
  type ActorRef,
  type AnyContract,
  type AnyRef,
  actor,
  type Contract,
  normal,
} from '../actors/index.ts'
import { readPassword } from './schemes.ts'

type HasherContract = Contract<{
  /** Whether a password fits a field of the passwd-file. */
  fits(field: string, password: string): boolean
}>

/** A hash of the highest cost takes a minute or so; others may be in front of it. */
const timeoutMs = 100_000

export const passwordHasher = actor<HasherContract>({
  name: 'password-hasher',
  module: import.meta.url,
  init: () => ({
    fits(field, password) {
      const stored = readPassword(field)
      return 'problem' in stored ? false : stored.verify(password)
    },
  }),
})

/** The hasher as its one user sees it, who has to trap exits and to pass them on. */
export class Hasher<C extends AnyContract> {
  readonly #context: ActorContext<C>
  #actor: ActorRef<HasherContract> | undefined
  #checks = 0
  #checksBefore = 0

  constructor(context: ActorContext<C>) {
    this.#context = context
  }

  /** Rejects when it could not be found out. */
  async fits(field: string, password: string): Promise<boolean> {
    this.#checks++
    this.#actor ??= this.#context.spawnLink(passwordHasher, undefined, { placement: { pool: 'jobs' } })
    return await this.#actor.askWith({ timeoutMs }, 'fits', field, password)
  }

  get isRunning(): boolean {
    return this.#actor !== undefined
  }

  /** To be called now and then: ends it when there was no check since the last call. */
  rest(): void {
    if (this.#actor !== undefined && this.#checks === this.#checksBefore) {
      this.#context.exit(this.#actor, normal)
      this.#actor = undefined
    }
    this.#checksBefore = this.#checks
  }

  /** A linked actor ended; the next check starts another. */
  ended(ref: AnyRef): void {
    if (this.#actor?.id === ref.id) this.#actor = undefined
  }
}
