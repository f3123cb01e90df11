/**
 * A contract says which messages an actor takes: one method signature per message, its parameters the body,
 * its return type the reply. `void` marks a message that is usually told; asking it answers once handled.
 *
 *     export type Counter = Contract<{
 *       add(by: number): void
 *       total(): number
 *     }>
 *
 * The body is positional because frames between threads are: `[to, from, type, seq, ...body]`.
 */
import type { ReplyStream } from './stream.ts'
import type { Wire } from './wire.ts'

/** Any contract; use as a bound: `<C extends AnyContract>`. */
// biome-ignore lint/suspicious/noExplicitAny: a bound over all parameter lists has no other spelling
export type AnyContract = { readonly [type: string]: (...body: any[]) => any }

/** Checks at compile time that every parameter and reply of `C` can cross a thread. */
export type Contract<C extends { [K in keyof C]: (...body: never[]) => unknown }> = {
  readonly [K in keyof C as K extends ReservedName ? never : K]: C[K] extends (...body: infer B) => infer R
    ? (
        ...body: B extends Wire<B> ? B : Wire<B> extends readonly unknown[] ? Wire<B> : never
      ) => R extends void
        ? R
        : Awaited<R> extends ReplyStream<infer T>
          ? ReplyStream<Wire<T>>
          : Wire<Awaited<R>>
    : never
}

/** Names of the lifecycle callbacks, see `Handlers`. A contract cannot use them for messages. */
export type ReservedName = 'terminate' | 'handleDown' | 'handleExit'

/** The names of the messages of `C`. */
export type MessageType<C> = Extract<keyof C, string>

/** The positional body of message `K`. */
export type Body<C, K extends keyof C> = C[K] extends (...body: infer B) => unknown ? B : never

/** What may stand at place `N` of a message's body; undefined where some message has nothing there. */
type Part<C, N extends number> = {
  [K in MessageType<C>]: Body<C, K> extends { readonly [P in N]: infer V } ? V : undefined
}[MessageType<C>]

/** A function of a message: its type, and its body as far as it looks. */
export type KeyOf<C, R> = (
  type: MessageType<C>,
  first: Part<C, 0>,
  second: Part<C, 1>,
  third: Part<C, 2>,
) => R

/** What message `K` is replied with. */
export type Reply<C, K extends keyof C> = C[K] extends (...body: never[]) => infer R ? Awaited<R> : never

/** The items of message `K`, when its reply is a stream. */
export type StreamItem<C, K extends keyof C> = Reply<C, K> extends ReplyStream<infer T> ? T : never

/** The names of the messages that are replied with a stream. */
export type StreamType<C> = {
  [K in MessageType<C>]: Reply<C, K> extends ReplyStream<unknown> ? K : never
}[MessageType<C>]
