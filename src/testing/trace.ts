/** What a simulated system did, step by step. */
import type { ActorCell } from '../runtime/cell.ts'
import { Message, Signal } from '../runtime/message.ts'

/** One message as its actor took it, in the order of handling. */
export interface RecordedMessage {
  /** Number of the step, from 1. */
  readonly step: number
  /** Virtual milliseconds since the start. */
  readonly atMs: number
  readonly thread: number
  /** Id of the actor. */
  readonly to: number
  /** Name of its definition. */
  readonly name: string
  readonly type: string
  readonly body: readonly unknown[]
}

interface TraceStep {
  readonly step: number
  readonly atMs: number
  readonly text: () => string
}

// Enough to see how it came to a failure, and no reason for a long test to run out of memory.
const maxSteps = 10_000
const maxMessages = 100_000

export class Trace {
  readonly #steps: TraceStep[] = []
  readonly messages: RecordedMessage[] = []
  step = 0

  add(atMs: number, text: () => string): void {
    this.#steps.push({ step: ++this.step, atMs, text })
    if (this.#steps.length > 2 * maxSteps) this.#steps.splice(0, maxSteps)
  }

  /** The turn of an actor that is about to come. */
  addTurn(atMs: number, cell: ActorCell): void {
    const { next, id, definition } = cell
    const { thread } = cell.runtime
    if (next instanceof Message) {
      const { type, body } = next
      this.add(atMs, () => `t${thread} ${definition.name}#${id} ${type}${bodyText(body)}`)
      this.messages.push({ step: this.step, atMs, thread, to: id, name: definition.name, type, body })
      if (this.messages.length > 2 * maxMessages) this.messages.splice(0, maxMessages)
      return
    }
    const what =
      next === undefined
        ? 'goes on'
        : next === 'init'
          ? 'init'
          : next instanceof Signal
            ? said(next)
            : `ends, ${next.kind}`
    this.add(atMs, () => `t${thread} ${definition.name}#${id} ${what}`)
  }

  /** The last `count` steps, one line each. */
  lines(count = maxSteps): string[] {
    return this.#steps.slice(-count).map(({ step, atMs, text }) => `${step} +${atMs}ms ${text()}`)
  }
}

function said({ kind, ref, reason }: Signal): string {
  return `is told: ${kind} of #${ref.id}, ${reason.kind}`
}

const maxText = 80

function bodyText(body: readonly unknown[]): string {
  const text = body.map(valueText).join(', ')
  return `(${text.length > maxText ? `${text.slice(0, maxText)}…` : text})`
}

function valueText(value: unknown): string {
  try {
    if (value instanceof Uint8Array) return `${value.length} octets`
    if (typeof value === 'bigint') return `${value}n`
    return JSON.stringify(value) ?? String(value)
  } catch {
    return '…'
  }
}
