import { AskError, type AskFailure, type AskOptions, type ExitReason, UsageError } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import type { Asker, StreamSink } from './message.ts'
import { type Ref, refuseType } from './ref.ts'
import { Timer } from './timers.ts'

/** @throws UsageError */
export function checkAsk({ timeoutMs, signal }: AskOptions, type: string): void {
  if (typeof type !== 'string') refuseType(type)
  if (timeoutMs !== undefined && !(typeof timeoutMs === 'number' && timeoutMs >= 0)) {
    throw new UsageError(`ask ${type}: timeoutMs ${String(timeoutMs)} must be milliseconds, or Infinity`)
  }
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') {
    throw new UsageError(`ask ${type}: signal is not an AbortSignal`)
  }
}

/**
 * One ask that waits for its reply. It settles exactly once, whatever comes first: the reply, the end of the
 * callee or of its thread, the timeout, the abort signal, the end of the caller. What comes later is dropped.
 */
export class PendingAsk extends Timer implements Asker {
  readonly stream: StreamSink | undefined = undefined
  readonly #resolve: (value: unknown) => void
  readonly #reject: (error: unknown) => void
  readonly #type: string
  readonly #target: Ref
  /** The actor that asked, when it was an actor. */
  readonly #owner: ActorCell | undefined
  #stopWatching: (() => void) | undefined
  #settled = false
  /** Of asks to other threads: where it is kept, by its number. */
  #table: Map<number, PendingAsk> | undefined
  #number = 0

  constructor(
    target: Ref,
    type: string,
    owner: ActorCell | undefined,
    resolve: (value: unknown) => void,
    reject: (error: unknown) => void,
  ) {
    super()
    this.#target = target
    this.#type = type
    this.#owner = owner
    this.#resolve = resolve
    this.#reject = reject
    owner?.relations.addAsk(this)
  }

  get settled(): boolean {
    return this.#settled
  }

  /** Watches the caller's signal. */
  watch(options: { readonly signal?: AbortSignal }): void {
    const signal = options.signal
    if (signal === undefined) return
    const aborted = () => this.refuse('cancelled', 'the caller gave up')
    if (signal.aborted) {
      aborted()
      return
    }
    signal.addEventListener('abort', aborted)
    this.#stopWatching = () => signal.removeEventListener('abort', aborted)
  }

  /** Keeps it in `table` until it has settled. */
  keepIn(table: Map<number, PendingAsk>, number: number): void {
    table.set(number, this)
    this.#table = table
    this.#number = number
  }

  answer(value: unknown): void {
    if (this.#finish()) this.#resolve(value)
  }

  refuse(failure: AskFailure, why: string, reason?: ExitReason): void {
    if (!this.#finish()) return
    const details = { actor: this.#target.toString(), message: this.#type }
    this.#reject(
      new AskError(failure, `ask ${this.#type} of ${this.#target.toString()}: ${why}`, details, reason),
    )
  }

  /** It could not even be sent. */
  fail(error: unknown): void {
    if (this.#finish()) this.#reject(error)
  }

  /** The timeout. */
  override ring(): void {
    this.refuse('timeout', 'no reply in time')
  }

  #finish(): boolean {
    if (this.#settled) return false
    this.#settled = true
    this.cancelTimer()
    this.#owner?.relations.removeAsk(this)
    this.#stopWatching?.()
    this.#table?.delete(this.#number)
    return true
  }
}
