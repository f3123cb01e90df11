/**
 * Replies that are many. The contract says so with `ReplyStream`, the handler returns one, and the caller reads it:
 *
 *     type Log = Contract<{ follow(from: number): ReplyStream<string> }>
 *
 *     follow(from) {
 *       const lines = new ReplyStream<string>()
 *       followers.add(lines)
 *       lines.onClosed(() => followers.delete(lines))
 *       return lines
 *     }
 *
 *     for await (const line of log.stream('follow', 0)) show(line)
 *
 * The reader grants the writer a number of items, and more as it takes them: a slow reader slows its writer down and
 * nobody else. A stream ends once, with a reason, whichever side, actor or thread ends first.
 */
import type { AskError, AskFailure } from './errors.ts'

/** Items that wait in the writer for a reader that is behind. */
const defaultMaxWaiting = 256

/** Why a stream ended, for its writer: `done` and `failed` by itself, `cancelled` by its reader or the reader's end, `down` with its actor. */
export type StreamClosed = 'done' | 'failed' | 'cancelled' | 'down'

/** How a stream ended, for its reader: `done`, or as asks fail. */
export type StreamEnd = { readonly kind: 'done' } | { readonly kind: AskFailure; readonly error: AskError }

export interface StreamOptions {
  /** Items that may be under way or unread. Default 64. */
  readonly window?: number
  /** Longest wait for an item, in milliseconds; then the stream ends with `MA_TIMEOUT`. Default `Infinity`. */
  readonly timeoutMs?: number
  /** Gives the stream up with `MA_CANCELLED`. */
  readonly signal?: AbortSignal
}

/**
 * The reader's end of a stream. Iterating it ends normally when the writer is done and throws `AskError` otherwise,
 * after the items that arrived before; leaving the loop early tells the writer to stop. A reader that is neither
 * read to its end nor cancelled stays open until one of the two actors ends.
 */
export interface StreamReader<T> extends AsyncIterableIterator<T, undefined, undefined> {
  /** Resolves when the stream has ended, if there are items left to read or not. Never rejects. */
  readonly ended: Promise<StreamEnd>
  /** Gives the stream up: items that were not read are dropped. */
  cancel(): void
  next(): Promise<IteratorResult<T, undefined>>
  return(): Promise<IteratorReturnResult<undefined>>
  [Symbol.asyncIterator](): StreamReader<T>
}

/** @internal What carries the items away. */
export interface StreamOutlet {
  item(value: unknown): void
  done(): void
  failed(error: unknown): void
}

declare const item: unique symbol

/** The writer's end of a stream of replies; a handler returns it, and may have written already. */
export class ReplyStream<T> {
  declare readonly [item]: T
  readonly #maxWaiting: number
  readonly #waiting: T[] = []
  #outlet: StreamOutlet | undefined
  #granted = 0
  #closed: StreamClosed | undefined
  /** Ended by the writer while items wait. */
  #ending: { readonly error: unknown; readonly failed: boolean } | undefined
  #onRoom: (() => void) | undefined
  #onClosed: ((why: StreamClosed) => void) | undefined
  /** Of a stream made from an iterable. */
  #start: (() => void) | undefined
  #wake: (() => void) | undefined
  #leave: (() => void) | undefined

  /** `maxWaiting`: how many items may wait for the reader before `write` refuses. Default 256. */
  constructor(options: { readonly maxWaiting?: number } = {}) {
    this.#maxWaiting = options.maxWaiting ?? defaultMaxWaiting
  }

  /**
   * A stream of what `source` yields, asked for as the reader takes it. It runs between the messages of its actor;
   * what it throws ends the stream, not the actor. When the reader leaves, its `return` is called.
   */
  static from<T>(source: Iterable<T> | AsyncIterable<T>): ReplyStream<T> {
    const stream = new ReplyStream<T>()
    stream.#start = () => void stream.#pull(source)
    return stream
  }

  /** Sends an item. `false`: it was not taken, because the reader is behind or gone. */
  write(value: T): boolean {
    if (this.#closed !== undefined || this.#ending !== undefined) return false
    if (this.#outlet !== undefined && this.#granted > 0) {
      this.#outlet.item(value)
      this.#granted--
      return true
    }
    if (this.#waiting.length >= this.#maxWaiting) return false
    this.#waiting.push(value)
    return true
  }

  /** No more items: the reader gets those that wait, then the end. */
  end(): void {
    this.#finish(undefined, false)
  }

  /** The reader's stream ends with `MA_DOWN` and this error, after the items that wait. The actor goes on. */
  fail(error: unknown): void {
    this.#finish(error, true)
  }

  /** Whether items can still be written. */
  get isOpen(): boolean {
    return this.#closed === undefined && this.#ending === undefined
  }

  /** Calls back each time the reader has caught up after items had to wait. Bind it if it may throw. */
  onRoom(callback: () => void): void {
    this.#onRoom = callback
  }

  /** Calls back once, when the stream has ended, at once if it has. Bind it if it may throw. */
  onClosed(callback: (why: StreamClosed) => void): void {
    if (this.#closed === undefined) this.#onClosed = callback
    else callback(this.#closed)
  }

  #finish(error: unknown, failed: boolean): void {
    if (!this.isOpen) return
    this.#ending = { error, failed }
    this.#drain()
  }

  #drain(): void {
    const outlet = this.#outlet
    if (outlet === undefined || this.#closed !== undefined) return
    const waited = this.#waiting.length > 0
    while (this.#granted > 0 && this.#waiting.length > 0) {
      this.#granted--
      outlet.item(this.#waiting.shift())
    }
    if (this.#waiting.length > 0) return
    if (this.#ending === undefined) {
      this.#wake?.()
      if (waited) this.#onRoom?.()
      return
    }
    const { error, failed } = this.#ending
    if (failed) outlet.failed(error)
    else outlet.done()
    this.closed(failed ? 'failed' : 'done')
  }

  async #pull(source: Iterable<T> | AsyncIterable<T>): Promise<void> {
    try {
      const iterator = iteratorOf(source)
      // Its goodbye is its own affair.
      this.#leave = () => void (async () => iterator.return?.())().catch(() => {})
      while (this.isOpen) {
        if (this.#granted === 0) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
          continue
        }
        const next = await iterator.next()
        if (next.done === true) {
          this.#leave = undefined
          this.end()
        } else this.write(next.value)
      }
    } catch (error) {
      this.#leave = undefined
      this.fail(error)
    }
  }

  /** @internal The runtime connects the reader. */
  connect(outlet: StreamOutlet, window: number): void {
    this.#outlet = outlet
    this.#granted = window
    this.#drain()
    this.#start?.()
  }

  /** @internal The reader takes more. */
  granted(items: number): void {
    this.#granted += items
    this.#drain()
  }

  /** @internal It has ended. */
  closed(why: StreamClosed): void {
    if (this.#closed !== undefined) return
    this.#closed = why
    this.#waiting.length = 0
    this.#outlet = undefined
    const onClosed = this.#onClosed
    this.#onClosed = this.#onRoom = undefined
    this.#wake?.()
    this.#leave?.()
    onClosed?.(why)
  }
}

function iteratorOf<T>(source: Iterable<T> | AsyncIterable<T>): Iterator<T> | AsyncIterator<T> {
  if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]()
  return source[Symbol.iterator]()
}
