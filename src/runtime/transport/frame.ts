/**
 * What crosses threads: a msgpack array `[to, from, type, seq, ...body]`. `type` is a message's name, or the number of
 * one of the runtime's own kinds.
 */
export interface Frame {
  readonly to: number
  readonly from: number
  readonly type: string | number
  readonly seq: number
  readonly body: readonly unknown[]
}

/** The frame in hand: a decoder fills the same one again and again. */
export class DecodedFrame implements Frame {
  to = 0
  from = 0
  type: string | number = 0
  seq = 0
  body: unknown[] = []
}
