import type { Logger } from '../actors/index.ts'
import type { LogLevelName } from './control.ts'

export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const

/** The log of a thread that has none of its own: sends each line to main. */
export class RemoteLog implements Logger {
  readonly #levels: ReadonlySet<string>
  readonly #bindings: object
  readonly #send: (level: LogLevelName, facts: object, text: string | undefined) => void

  constructor(
    levels: readonly string[],
    bindings: object,
    send: (level: LogLevelName, facts: object, text: string | undefined) => void,
  ) {
    this.#levels = new Set(levels)
    this.#bindings = bindings
    this.#send = send
  }

  trace(facts: object, text?: string): void {
    this.#write('trace', facts, text)
  }

  debug(facts: object, text?: string): void {
    this.#write('debug', facts, text)
  }

  info(facts: object, text?: string): void {
    this.#write('info', facts, text)
  }

  warn(facts: object, text?: string): void {
    this.#write('warn', facts, text)
  }

  error(facts: object, text?: string): void {
    this.#write('error', facts, text)
  }

  fatal(facts: object, text?: string): void {
    this.#write('fatal', facts, text)
  }

  isLevelEnabled(level: string): boolean {
    return this.#levels.has(level)
  }

  #write(level: LogLevelName, facts: object, text: string | undefined): void {
    if (!this.#levels.has(level)) return
    // Facts may hold anything, and an Error loses its text on the way.
    const plain = JSON.parse(JSON.stringify({ ...this.#bindings, ...facts }, plainErrors)) as object
    this.#send(level, plain, text)
  }
}

function plainErrors(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value)
  if (!(value instanceof Error)) return value
  const { name, message, stack } = value
  return { type: name, message, stack }
}
