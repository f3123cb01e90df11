/**
 * What can cross a thread: the values that msgpack gives back as they went in.
 *
 * Not `Map`, `Set`, `Date`, `Error`, functions or class instances: they arrive as something else or not at
 * all. Two values of ours are exceptions with a msgpack extension of their own: an {@link ActorRef} and an
 * {@link ActorDefinition}.
 */
import type { AnyActorDefinition } from './definition.ts'
import type { AnyRef } from './ref.ts'

/** A value a message may carry. Bytes are copied when they cross a thread; in one thread they are shared. */
export type WireValue =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | AnyRef
  | AnyActorDefinition
  | readonly WireValue[]
  | { readonly [key: string]: WireValue }

/**
 * `T` when it can cross a thread, otherwise a type no value has: makes a contract that msgpack cannot carry
 * fail to compile. Interfaces count too, although they have no index signature.
 */
export type Wire<T> =
  // What is known to be sendable as a whole is not looked into: types that contain themselves would have no end.
  T extends WireValue
    ? T
    : T extends (...args: never[]) => unknown
      ? NotWire<'a function cannot cross a thread'>
      : T extends
            | ReadonlyMap<unknown, unknown>
            | ReadonlySet<unknown>
            | Date
            | Error
            | Promise<unknown>
            | RegExp
            | ArrayBufferView
            | ArrayBufferLike
        ? NotWire<'this object does not survive msgpack'>
        : T extends object
          ? { readonly [K in keyof T]: Wire<T[K]> }
          : NotWire<'this value cannot cross a thread'>

declare const notWire: unique symbol
export interface NotWire<Why extends string> {
  readonly [notWire]: Why
}
