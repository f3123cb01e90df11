import type { AskFailure, ExitReason } from '../actors/index.ts'
import type { Ref } from './ref.ts'

/** Whoever waits for a reply: an ask of this thread, or one of another thread. Answered once. */
export interface Asker {
  /** Set when it asked for a stream of replies. */
  readonly stream: StreamSink | undefined
  answer(value: unknown): void
  refuse(failure: AskFailure, why: string, reason?: ExitReason): void
}

/** The reader's side of a stream, as the writer's side sees it. */
export interface StreamSink {
  /** How many items it takes before it grants more. */
  readonly window: number
  opened(source: StreamSource): void
  item(value: unknown): void
  done(): void
  /** The stream has ended, whoever ended it. */
  release?(): void
}

/** The writer's side of a stream, as the reader's side sees it. Both calls do nothing once the stream has ended. */
export interface StreamSource {
  grant(items: number): void
  cancel(): void
}

/** A message on its way to a handler. Queues are linked through `next`: a queue costs nothing while it is empty. */
export class Message {
  readonly type: string
  readonly body: readonly unknown[]
  readonly asker: Asker | undefined
  next: Message | undefined

  constructor(type: string, body: readonly unknown[], asker: Asker | undefined) {
    this.type = type
    this.body = body
    this.asker = asker
    this.next = undefined
  }
}

/**
 * What actors learn of each other's end. Signals and messages keep their order, and no queue bound applies to signals.
 * `exit`: someone asks the actor to end. `link`: a linked actor ended. `down`: a monitored actor ended.
 */
export class Signal {
  readonly kind: 'exit' | 'link' | 'down'
  readonly ref: Ref
  readonly reason: ExitReason
  /** Only `down`. */
  readonly monitor: number
  next: Signal | undefined
  /** How many messages are to be handled between the signal before it and this one. */
  messagesFirst: number
  /** Out of its turn: who comes upon it passes it over. */
  isTaken: boolean

  constructor(kind: Signal['kind'], ref: Ref, reason: ExitReason, monitor = 0) {
    this.kind = kind
    this.ref = ref
    this.reason = reason
    this.monitor = monitor
    this.next = undefined
    this.messagesFirst = 0
    this.isTaken = false
  }
}
