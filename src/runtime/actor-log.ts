import type { Logger } from '../actors/index.ts'

/** Adds an actor's facts to each line of its thread's log. Made per actor, so it has to be cheap to make. */
export class ActorLog implements Logger {
  readonly #log: Logger
  readonly #facts: object

  constructor(log: Logger, facts: object) {
    this.#log = log
    this.#facts = facts
  }

  trace(facts: object, text?: string): void {
    if (this.#log.isLevelEnabled('trace')) this.#log.trace({ ...this.#facts, ...facts }, text)
  }

  debug(facts: object, text?: string): void {
    if (this.#log.isLevelEnabled('debug')) this.#log.debug({ ...this.#facts, ...facts }, text)
  }

  info(facts: object, text?: string): void {
    if (this.#log.isLevelEnabled('info')) this.#log.info({ ...this.#facts, ...facts }, text)
  }

  warn(facts: object, text?: string): void {
    this.#log.warn({ ...this.#facts, ...facts }, text)
  }

  error(facts: object, text?: string): void {
    this.#log.error({ ...this.#facts, ...facts }, text)
  }

  fatal(facts: object, text?: string): void {
    this.#log.fatal({ ...this.#facts, ...facts }, text)
  }

  isLevelEnabled(level: string): boolean {
    return this.#log.isLevelEnabled(level)
  }
}
