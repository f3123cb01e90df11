import type { AnyContract, Body, MessageType, Reply, StreamItem, StreamType } from './contract.ts'
import type { StreamOptions, StreamReader } from './stream.ts'

export interface AskOptions {
  /** How long to wait for the reply, in milliseconds. Default 5000, as OTP's `gen_server:call`; `Infinity` waits. */
  readonly timeoutMs?: number
  /** Gives the ask up with `MA_CANCELLED`. The callee is not told. */
  readonly signal?: AbortSignal
}

export interface TellOptions {
  /**
   * How long the message may lie there before the other thread is woken for it, in milliseconds. It comes sooner with
   * any other message; its place in the order stays. Default 0: at the end of this turn.
   */
  readonly withinMs?: number
}

declare const contract: unique symbol

/**
 * The address of an actor, on whatever thread. Cheap to copy, can be sent in messages and compared by `id`.
 * It stays valid as an address after the actor ended: telling it then does nothing.
 */
export interface ActorRef<C extends AnyContract = AnyContract> {
  /** Only for the compiler: a ref that takes more messages is one that takes fewer, and no other. */
  readonly [contract]?: C
  /** Unique for the life of the system; never used again for another actor. */
  readonly id: number
  /** Number of the thread the actor lives on: 0 is main. A thread that is replaced gets a new number. */
  readonly thread: number
  /**
   * Sends a message and does not wait. `false`: it was refused because the message queue or the ring to the
   * other thread is full, and the caller slows down or drops. `true` promises no more than that it was sent.
   */
  tell<K extends MessageType<C>>(type: K, ...body: Body<C, K>): boolean
  /** `tell` for what can wait for company: each wake-up of a thread costs as much as some messages. */
  tellWith<K extends MessageType<C>>(options: TellOptions, type: K, ...body: Body<C, K>): boolean
  /** Sends a message and waits for its reply, 5 s at most; rejects with `AskError`. */
  ask<K extends MessageType<C>>(type: K, ...body: Body<C, K>): Promise<Reply<C, K>>
  /** Asks for a stream of replies, see `ReplyStream`. */
  stream<K extends StreamType<C>>(type: K, ...body: Body<C, K>): StreamReader<StreamItem<C, K>>
  /** `stream` with another window, a timeout, or with an AbortSignal. */
  streamWith<K extends StreamType<C>>(
    options: StreamOptions,
    type: K,
    ...body: Body<C, K>
  ): StreamReader<StreamItem<C, K>>
  /** `ask` with another timeout, or with an AbortSignal. */
  askWith<K extends MessageType<C>>(options: AskOptions, type: K, ...body: Body<C, K>): Promise<Reply<C, K>>
}

/** A ref whatever its contract. Structural on purpose: method parameters would make refs of two contracts incompatible. */
export interface AnyRef {
  readonly id: number
  readonly thread: number
  // biome-ignore lint/suspicious/noExplicitAny: accepts every contract
  tell(type: any, ...body: any[]): boolean
}
