/**
 * Streams of replies. A stream is an ask that is answered item by item: the reader's end is a `PendingStream`, which
 * settles as asks do, the writer's end an `OpenStream` that hangs on its actor like a reply that is still owed. The
 * reader grants items; on other threads both talk by frames that carry the number of the reader's ask.
 */
import type {
  AskFailure,
  ExitReason,
  ReplyStream,
  StreamEnd,
  StreamOptions,
  StreamReader,
} from '../actors/index.ts'
import { AskError, errorReason, UsageError } from '../actors/index.ts'
import type { StreamOutlet } from '../actors/stream.ts'
import { PendingAsk } from './asks.ts'
import type { ActorCell } from './cell.ts'
import type { Cluster } from './cluster.ts'
import { frame, type StreamFrame } from './frames.ts'
import type { Asker, StreamSink, StreamSource } from './message.ts'
import type { Ref } from './ref.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import type { Timers } from './timers.ts'

const defaultWindow = 64
const maxWindow = 65_536

/** @throws UsageError */
export function windowOf(options: StreamOptions): number {
  const { window = defaultWindow } = options
  if (Number.isInteger(window) && window >= 1 && window <= maxWindow) return window
  throw new UsageError(`window must be an integer from 1 to ${maxWindow}`, { window })
}

interface Waiter {
  readonly resolve: (result: IteratorResult<unknown, undefined>) => void
  readonly reject: (error: unknown) => void
}

/** The reader's end. */
export class PendingStream extends PendingAsk implements StreamSink {
  override readonly stream: StreamSink = this
  readonly window: number
  readonly reader: StreamReader<unknown>
  readonly #timers: Timers
  readonly #timeoutMs: number
  #items: unknown[] = []
  readonly #waiters: Waiter[] = []
  #source: StreamSource | undefined
  /** Items taken since the last grant. */
  #taken = 0
  #error: AskError | undefined
  #gaveUp = false
  #markEnded: (end: StreamEnd) => void = () => {}

  constructor(
    target: Ref,
    type: string,
    owner: ActorCell | undefined,
    timers: Timers,
    options: StreamOptions,
  ) {
    const settle = { ended: (_error?: unknown): void => {} }
    super(
      target,
      type,
      owner,
      () => settle.ended(),
      (error) => settle.ended(error),
    )
    settle.ended = (error) => this.#ended(error)
    this.window = windowOf(options)
    this.#timers = timers
    this.#timeoutMs = options.timeoutMs ?? Infinity
    this.reader = new Reader(
      this,
      new Promise((resolve) => {
        this.#markEnded = resolve
      }),
    )
  }

  opened(source: StreamSource): void {
    if (this.settled) source.cancel()
    else this.#source = source
  }

  item(value: unknown): void {
    if (this.settled) return
    const waiter = this.#waiters.shift()
    if (waiter === undefined) {
      this.#items.push(value)
      return
    }
    if (this.#waiters.length === 0) this.cancelTimer()
    waiter.resolve({ done: false, value })
    this.#took()
  }

  done(): void {
    super.answer(undefined)
  }

  override answer(): void {
    this.refuse('down', 'its reply is not a stream', {
      kind: 'error',
      code: 'MA_USAGE',
      message: 'its reply is not a stream',
    })
  }

  /** The reader gives it up. */
  cancel(): void {
    this.#items = []
    this.#error = undefined
    this.#gaveUp = true
    this.refuse('cancelled', 'the reader gave up')
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    if (this.#items.length > 0) {
      const value = this.#items.shift()
      this.#took()
      return Promise.resolve({ done: false, value })
    }
    if (this.settled) {
      const error = this.#error
      // Once: whoever iterates on finds it at its end.
      this.#error = undefined
      return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error)
    }
    if (this.#waiters.length === 0) this.#timers.start(this, this.#timeoutMs)
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }))
  }

  #took(): void {
    this.#taken++
    // Half a window at a time: one grant for many items, and the writer need not run dry.
    if (this.#taken * 2 < this.window || this.settled) return
    this.#source?.grant(this.#taken)
    this.#taken = 0
  }

  #ended(thrown: unknown): void {
    const error = thrown === undefined ? undefined : asAskError(thrown)
    const source = this.#source
    this.#source = undefined
    if (error?.failure === 'cancelled') this.#items = []
    this.#markEnded(error === undefined ? { kind: 'done' } : { kind: error.failure, error })
    // The first who waits learns of the failure, the others of the end; who gave up knows.
    if (error !== undefined && !this.#gaveUp) {
      const first = this.#waiters.shift()
      if (first === undefined) this.#error = error
      else first.reject(error)
    }
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ done: true, value: undefined })
    if (error !== undefined) source?.cancel()
  }
}

function asAskError(thrown: unknown): AskError {
  if (thrown instanceof AskError) return thrown
  const reason = errorReason(thrown)
  return new AskError('down', reason.message ?? 'it failed', {}, reason)
}

class Reader implements StreamReader<unknown> {
  readonly ended: Promise<StreamEnd>
  readonly #pending: PendingStream

  constructor(pending: PendingStream, ended: Promise<StreamEnd>) {
    this.#pending = pending
    this.ended = ended
  }

  next(): Promise<IteratorResult<unknown, undefined>> {
    return this.#pending.next()
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.cancel()
    return { done: true, value: undefined }
  }

  cancel(): void {
    this.#pending.cancel()
  }

  [Symbol.asyncIterator](): StreamReader<unknown> {
    return this
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel()
  }
}

/** The writer's end. Stands among the askers its actor still owes a reply. */
export class OpenStream implements Asker, StreamSource, StreamOutlet {
  readonly stream: StreamSink
  readonly #asker: Asker
  readonly #stream: ReplyStream<unknown>
  #owed: Set<Asker> | undefined

  /** `owed`: the askers its actor owes replies, of which it takes itself out. */
  constructor(asker: Asker, sink: StreamSink, stream: ReplyStream<unknown>, owed: Set<Asker>) {
    this.#asker = asker
    this.stream = sink
    this.#stream = stream
    this.#owed = owed
    owed.add(this)
  }

  open(): void {
    this.stream.opened(this)
    if (this.#owed !== undefined) this.#stream.connect(this, this.stream.window)
  }

  #finish(): boolean {
    if (this.#owed === undefined) return false
    this.#owed.delete(this)
    this.#owed = undefined
    this.stream.release?.()
    return true
  }

  // --- From the writer

  item(value: unknown): void {
    if (this.#owed !== undefined) this.stream.item(value)
  }

  done(): void {
    if (this.#finish()) this.stream.done()
  }

  failed(error: unknown): void {
    if (!this.#finish()) return
    const reason = errorReason(error)
    this.#asker.refuse('down', reason.message ?? 'it failed', reason)
  }

  // --- From the reader

  grant(items: number): void {
    if (this.#owed !== undefined) this.#stream.granted(items)
  }

  cancel(): void {
    if (this.#finish()) this.#stream.closed('cancelled')
  }

  // --- From the actor, at its end

  answer(): void {}

  refuse(failure: AskFailure, why: string, reason?: ExitReason): void {
    if (!this.#finish()) return
    this.#asker.refuse(failure, why, reason)
    this.#stream.closed('down')
  }
}

/** A reader on another thread, seen from the writer's. */
class RemoteSink implements StreamSink {
  readonly window: number
  readonly #streams: Streams
  readonly #thread: number
  readonly #ask: number

  constructor(streams: Streams, thread: number, ask: number, window: number) {
    this.#streams = streams
    this.#thread = thread
    this.#ask = ask
    this.window = window
  }

  opened(source: StreamSource): void {
    this.#streams.opened(this.#thread, this.#ask, source)
  }

  item(value: unknown): void {
    this.#streams.cluster?.stream(this.#thread, this.#ask, frame.streamItem, 0, value)
  }

  release(): void {
    this.#streams.close(this.#thread, this.#ask)
  }

  done(): void {
    this.#streams.cluster?.stream(this.#thread, this.#ask, frame.streamDone, 0)
  }
}

/** The streams between this thread and others. */
export class Streams {
  cluster: Cluster | undefined
  readonly #askOf: (thread: number, id: number) => PendingAsk | undefined
  /** Writers here, by the thread of their reader and the number of its ask. */
  readonly #sources = new Map<number, Map<number, StreamSource>>()

  constructor(askOf: (thread: number, id: number) => PendingAsk | undefined) {
    this.#askOf = askOf
  }

  /** For an ask of another thread; without a window it wants one reply. */
  sink(thread: number, ask: number, window: number): StreamSink | undefined {
    return window > 0 ? new RemoteSink(this, thread, ask, window) : undefined
  }

  opened(thread: number, ask: number, source: StreamSource): void {
    if (this.cluster?.isAlive(thread) !== true) {
      source.cancel()
      return
    }
    let sources = this.#sources.get(thread)
    if (sources === undefined) {
      sources = new Map()
      this.#sources.set(thread, sources)
    }
    sources.set(ask, source)
    // A reader that has left meanwhile answers with a cancel.
    this.cluster.stream(thread, ask, frame.streamOpened, 0)
  }

  /** The stream has ended. */
  close(thread: number, ask: number): StreamSource | undefined {
    const source = this.#sources.get(thread)?.get(ask)
    this.#sources.get(thread)?.delete(ask)
    return source
  }

  arrived(what: StreamFrame, thread: number, ask: number, items: number, value: unknown): void {
    if (what === frame.streamGrant) {
      this.#sources.get(thread)?.get(ask)?.grant(items)
      return
    }
    if (what === frame.streamCancel) {
      this.close(thread, ask)?.cancel()
      return
    }
    const pending = this.#askOf(thread, ask)
    const stream = pending?.stream
    if (stream === undefined) {
      if (what !== frame.streamDone) this.#tell(thread, ask, frame.streamCancel, 0)
      pending?.refuse('down', 'its reply is a stream', {
        kind: 'error',
        code: 'MA_USAGE',
        message: 'its reply is a stream',
      })
    } else if (what === frame.streamItem) stream.item(value)
    else if (what === frame.streamDone) stream.done()
    else {
      stream.opened({
        grant: (more) => this.#tell(thread, ask, frame.streamGrant, more),
        cancel: () => this.#tell(thread, ask, frame.streamCancel, 0),
      })
    }
  }

  #tell(thread: number, ask: number, what: StreamFrame, items: number): void {
    this.cluster?.stream(thread, ask, what, items)
  }

  /** The readers of that thread are gone. */
  threadDown(thread: number): void {
    const sources = this.#sources.get(thread)
    this.#sources.delete(thread)
    if (sources !== undefined) for (const source of [...sources.values()]) source.cancel()
  }
}

/**
 * An ask passed on to another actor on behalf of who asked: its settlement is theirs. Ends with them only by their
 * own doing, since they may be on any thread.
 */
export class ForwardedAsk extends PendingAsk {
  override readonly stream: StreamSink | undefined = undefined

  constructor(target: Ref, type: string, asker: Asker) {
    super(
      target,
      type,
      undefined,
      (value) => {
        if (asker.stream === undefined) asker.answer(value)
        else {
          asker.stream.done()
          asker.stream.release?.()
        }
      },
      (error) => {
        const { failure, message, exitReason } = asAskError(error)
        asker.refuse(failure, message, exitReason)
      },
    )
    const sink = asker.stream
    if (sink === undefined) return
    this.stream = {
      window: sink.window,
      opened: (source) =>
        sink.opened({
          grant: (items) => source.grant(items),
          cancel: () => {
            source.cancel()
            this.refuse('cancelled', 'the reader gave up')
          },
        }),
      item: (value) => sink.item(value),
      done: () => super.answer(undefined),
    }
  }

  override answer(value: unknown): void {
    if (this.stream === undefined) super.answer(value)
    else this.refuse('down', 'its reply is not a stream')
  }
}

/** An ask whose settlement is counted, also that of a message which nobody asked. */
export class CountedAsk implements Asker {
  readonly stream: StreamSink | undefined
  readonly #runtime: ThreadRuntime
  readonly #to: Ref
  readonly #message: readonly [string, readonly unknown[]]
  readonly #asker: Asker | undefined
  #settled: (() => void) | undefined

  constructor(
    runtime: ThreadRuntime,
    to: Ref,
    type: string,
    body: readonly unknown[],
    asker: Asker | undefined,
    settled: () => void,
  ) {
    this.#runtime = runtime
    this.#to = to
    this.#message = [type, body]
    this.#asker = asker
    this.#settled = settled
    const sink = asker?.stream
    if (sink === undefined) return
    this.stream = {
      window: sink.window,
      opened: (source) => sink.opened(source),
      item: (value) => sink.item(value),
      done: () => sink.done(),
      release: () => {
        this.#settle()
        sink.release?.()
      },
    }
  }

  answer(value: unknown): void {
    this.#settle()
    this.#asker?.answer(value)
  }

  refuse(failure: AskFailure, why: string, reason?: ExitReason): void {
    this.#settle()
    if (this.#asker !== undefined) this.#asker.refuse(failure, why, reason)
    else if (failure !== 'down')
      this.#runtime.deadLetter(this.#to, ...this.#message, failure === 'overloaded')
  }

  #settle(): void {
    const settled = this.#settled
    this.#settled = undefined
    settled?.()
  }
}
