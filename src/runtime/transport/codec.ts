/**
 * Frames as octets: the one file that knows msgpack. A frame is an array `[to, from, type, seq, ...body]`, encoded
 * without records, so that each can be read alone, by a thread that has seen none before it.
 *
 * What arrives is what was sent, with these exceptions:
 * - `undefined` stays `undefined`, also as a property's value or an array's element.
 * - `-0` becomes `0`, lone surrogates in strings become U+FFFD or stay, a key `__proto__` becomes `__proto_`.
 * - A `Uint8Array` arrives as a `Buffer` with memory of its own (of the frame, if it was larger than the ring takes).
 * - An actor's ref or definition arrives as what the hooks make of it.
 * - bigints of any size stay bigints.
 *
 * Other objects than plain ones cannot be sent: `check` finds them before msgpack turns them into something else.
 *
 * Most frames do not get to msgpackr, see `plain-format.ts`. Its options that were tried and are not used: `useBuffer`
 * and `position` belong to the module, not to the instance, so writing straight into the ring would let any other user
 * of the library write there too.
 */
// The parts, and not the whole: that loads a native reader of strings, which takes 15 ms of the start of each thread, is
// slower than V8 by now (1.3 us for a frame with a Cyrillic text instead of 0.4), and looks at Node's own file on the way,
// which a thread ended in that moment leaves open for good.
import { addExtension, Packr } from 'msgpackr/pack'
import { Unpackr } from 'msgpackr/unpack'
import { Definition } from '../../actors/definition.ts'
import { UsageError } from '../../actors/errors.ts'
import { DecodedFrame, type Frame } from './frame.ts'
import { KnownNames } from './known-names.ts'
import { PlainDecoder } from './plain-decoder.ts'
import { PlainEncoder } from './plain-encoder.ts'
import { maxPlain, plainMark, plainSlack, refType } from './plain-format.ts'
import type { RingWriter } from './ring.ts'
import { label, refuseUnsendable } from './unsendable.ts'
import { WireRef } from './wire-ref.ts'

/** What becomes of refs and definitions at their arrival. Called while a frame is decoded: must not decode itself. */
export interface CodecHooks {
  reviveRef(thread: number, id: number): unknown
  /** `module` and `name` as the definition has them. The module may not be loaded in this thread. */
  reviveDefinition(module: string, name: string): unknown
}

export interface CodecOptions {
  readonly hooks?: CodecHooks
  /** Looks for values that cannot be sent before it encodes; costs about as much as encoding. Default false. */
  readonly check?: boolean
  /** Of the refs that may be sent, see `WireRef`. */
  readonly home?: object
  /** Octets of the largest frame. Default 64 MiB: content travels as files, not in messages. */
  readonly maxFrame?: number
}

// Types of msgpack extensions, of 0 to 127. msgpackr has taken 0 and some letters from B on; refs have 0x41.
const definitionType = 0x44

/*
 * msgpackr keeps extensions per module, not per instance, and calls readers without a receiver: whose hooks are
 * meant is known only by noting it before each decode, which is synchronous. The note is found by a symbol because
 * two copies of this package may share one msgpackr, and the last to register wins.
 */
const noteKey = Symbol.for('mailactors.transport.decoding')
const holder = globalThis as { [noteKey]?: { hooks: CodecHooks; home?: object | undefined } }
const asPlainData: CodecHooks = {
  reviveRef: (thread, id) => ({ thread, id }),
  reviveDefinition: (module, name) => ({ kind: 'actor', module, name }),
}
holder[noteKey] ??= { hooks: asPlainData }
const decoding = holder[noteKey]

addExtension({
  Class: WireRef,
  type: refType,
  write(ref: WireRef) {
    if (ref.home !== decoding.home) throw new UsageError('a ref of another system cannot be sent')
    return [ref.thread, ref.id]
  },
  read: ([thread, id]: [number, number]) => decoding.hooks.reviveRef(thread, id),
} as unknown as Parameters<typeof addExtension>[0])
addExtension({
  Class: Definition,
  type: definitionType,
  write: (definition: Definition) => [definition.module, definition.name],
  read: ([module, name]: [string, string]) => decoding.hooks.reviveDefinition(module, name),
} as unknown as Parameters<typeof addExtension>[0])

/** An encoded frame: its octets from `start` to `end`, valid until the next `encode` in this thread. */
export type Encoded = Buffer & { readonly start: number; readonly end: number }

// msgpackr's flags for `pack`: return the buffer itself with `start` and `end` set, and use it again from there.
const reuseBuffer = 512
const resetBuffer = 1024

/** Frames up to this size are decoded from a copy that is used again and again. */
const scratchSize = 1 << 16

/** Encodes and decodes frames; one per thread and system is enough. */
export class Codec {
  // An options object for each: the constructors change it, and instances that shared one would share state.
  readonly #packr = new Packr({
    useRecords: false,
    variableMapSize: true,
    useBigIntExtension: true,
    // Else functions would arrive as undefined.
    writeFunction() {
      throw new TypeError('a function cannot be sent')
    },
  })
  // Without `copyBuffers` decoded octets are a view into the scratch buffer.
  readonly #unpackr = new Unpackr({ useRecords: false, copyBuffers: true })
  /** For payloads that belong to nobody else: a view of them is safe. */
  readonly #ownedUnpackr = new Unpackr({ useRecords: false })
  readonly #scratch = Buffer.allocUnsafeSlow(scratchSize)
  readonly #names = new KnownNames()
  readonly #plainEncoder: PlainEncoder
  readonly #plainDecoder: PlainDecoder
  /** Where plain frames are encoded that do not go straight into a ring. */
  readonly #plain: Buffer & { start: number; end: number }
  readonly #frame = new DecodedFrame()
  readonly #hooks: CodecHooks
  readonly #home: object | undefined
  readonly #check: boolean
  #isEncoding = false
  readonly #maxFrame: number

  constructor(options: CodecOptions = {}) {
    this.#hooks = options.hooks ?? asPlainData
    this.#home = options.home
    this.#plain = Object.assign(Buffer.allocUnsafeSlow(maxPlain + plainSlack), { start: 0, end: 0 })
    this.#plainEncoder = this.plainEncoder(this.#plain)
    this.#plainDecoder = new PlainDecoder(this.#hooks.reviveRef)
    this.#check = options.check ?? false
    this.#maxFrame = options.maxFrame ?? 1 << 26
  }

  /** For plain frames that are written straight into `memory`. What it does not take is for `encode`. */
  plainEncoder(memory: Buffer): PlainEncoder {
    return new PlainEncoder(memory, this.#names, this.#home)
  }

  /**
   * The octets of a frame.
   *
   * @throws UsageError naming the message type and the path of a value that cannot be sent; always for functions,
   * symbols and circular values, for other objects only with `check`.
   */
  encode(to: number, from: number, type: string | number, seq: number, body: readonly unknown[]): Encoded {
    this.#begin(type)
    try {
      return this.#encode(to, from, type, seq, body)
    } finally {
      this.#isEncoding = false
    }
  }

  /** As `encode`, straight into a ring, to which `plain` belongs. `false`: it has no room. */
  encodeInto(
    ring: RingWriter,
    plain: PlainEncoder,
    to: number,
    from: number,
    type: string | number,
    seq: number,
    body: readonly unknown[],
  ): boolean {
    this.#begin(type)
    try {
      const start = this.#check ? -1 : ring.reserve(maxPlain + plainSlack)
      if (start > 0) {
        const end = plain.encode(start, to, from, type, seq, body)
        if (end > 0) {
          ring.commit(end - start)
          return true
        }
      }
      const encoded = this.#encode(to, from, type, seq, body)
      return ring.write(encoded, encoded.start, encoded.end)
    } finally {
      this.#isEncoding = false
    }
  }

  /** A getter of the message in hand could send another one, into the very same memory. */
  #begin(type: string | number): void {
    if (this.#isEncoding) throw new UsageError(`${label(type)} is sent by a getter of another message`)
    this.#isEncoding = true
  }

  #encode(to: number, from: number, type: string | number, seq: number, body: readonly unknown[]): Encoded {
    if (this.#check) refuseUnsendable(type, body)
    const end = this.#plainEncoder.encode(0, to, from, type, seq, body)
    if (end > 0 && end <= this.#maxFrame) {
      this.#plain.end = end
      return this.#plain
    }
    let packed: Encoded
    decoding.home = this.#home
    try {
      packed = this.#packr.pack([to, from, type, seq, ...body], reuseBuffer | resetBuffer) as Encoded
    } catch (error) {
      if (error instanceof UsageError) throw error
      refuseUnsendable(type, body)
      throw new UsageError(`${label(type)} cannot be encoded`, {}, { cause: error })
    }
    if (packed.end - packed.start > this.#maxFrame) {
      throw new UsageError(`${label(type)} is larger than a frame may be`, {
        octets: packed.end - packed.start,
        maxOctets: this.#maxFrame,
      })
    }
    return packed
  }

  /**
   * Decodes one frame; what it returns is used again by the next call. `limit`: see `FrameVisitor`. With `owned` the
   * body may contain views of `bytes`, otherwise it has no part of it.
   */
  decode(bytes: Buffer, start: number, end: number, limit = end, owned = false): Frame {
    // In place: nothing of the result is part of `bytes`.
    if (bytes[start] === plainMark && bytes[start + 1] === 0 && bytes[start + 2]! < 16) {
      this.#plainDecoder.decode(bytes, start, end, limit, this.#frame)
      return this.#frame
    }
    this.#plainDecoder.forget()
    const [to, from, type, seq, ...body] = this.#unpack(bytes, start, end, owned) as [
      number,
      number,
      string | number,
      number,
      ...unknown[],
    ]
    return Object.assign(this.#frame, { to, from, type, seq, body })
  }

  /** Keeps no memory of rings any more. */
  release(): void {
    this.#plainDecoder.release()
    if (decoding.hooks === this.#hooks) decoding.hooks = asPlainData
    decoding.home = undefined
  }

  #unpack(bytes: Buffer, start: number, end: number, owned: boolean): unknown {
    decoding.hooks = this.#hooks
    if (owned) return this.#ownedUnpackr.unpack(bytes.subarray(start, end))
    const length = end - start
    if (length > scratchSize) return this.#ownedUnpackr.unpack(copyOf(bytes, start, end))
    bytes.copy(this.#scratch, 0, start, end)
    return this.#unpackr.unpack(this.#scratch, length)
  }
}

function copyOf(bytes: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(end - start)
  bytes.copy(copy, 0, start, end)
  return copy
}
