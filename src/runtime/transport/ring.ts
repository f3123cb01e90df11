/**
 * One ring of shared memory: frames from one producer thread to one consumer thread, in order, without locks.
 *
 *     octet   0  HEAD       position behind the last published frame, written by the producer
 *            64  TAIL       position of the next frame to read, written by the consumer
 *            68  OVER_TAIL  octets of oversize payloads taken so far, written by the consumer
 *           128  PWAIT      1 while the producer waits for room
 *           192  data       a power of two octets
 *
 * HEAD, TAIL and PWAIT have a cache line each: the two threads would slow each other down on a shared one.
 * Positions only grow and wrap at 2^32; the place in the data is the position modulo its size.
 *
 * A frame is an int32 and the payload, padded to 4 octets. The int32 is the payload's length; -1 says "go on
 * at the start of the data"; with bit 30 the payload was too large for the ring and has been posted on the side
 * port before the frame was published. Frames never wrap around the end.
 *
 * The producer's plain stores become visible with `Atomics.store(HEAD)`. A producer that dies in between leaves
 * nothing half-written to see.
 */
import type { MessagePort } from 'node:worker_threads'
import { receiveMessageOnPort } from 'node:worker_threads'
import { UsageError } from '../../actors/errors.ts'

const HEAD = 0
const TAIL = 64 >> 2
const OVER_TAIL = 68 >> 2
const PWAIT = 128 >> 2
const DATA = 192
const DATA_WORD = DATA >> 2

const SKIP = -1
const OVERSIZE = 1 << 30
const LENGTH = OVERSIZE - 1

/** Octets of data of a ring when nothing else is said. */
export const defaultRingSize = 1 << 20
const minRingSize = 1 << 10
const maxRingSize = 1 << 28

/**
 * Memory for one ring with `size` octets of data. Growable, though it never grows: V8 maps such memory, takes it up page by
 * page as it is written to, and unmaps it at the end. Other shared memory comes from malloc, which, once a ring was freed,
 * cuts the next ones from a heap that small allocations behind them keep from shrinking.
 *
 * @throws UsageError unless `size` is a power of two from 1 KiB to 256 MiB.
 */
export function createRing(size: number = defaultRingSize): SharedArrayBuffer {
  if (!Number.isInteger(size) || size < minRingSize || size > maxRingSize || (size & (size - 1)) !== 0) {
    throw new UsageError('ring: the size must be a power of two from 1 KiB to 256 MiB', { size })
  }
  const octets = DATA + size
  return new SharedArrayBuffer(octets, { maxByteLength: octets })
}

/** Views of a ring. Of a given length: those that follow the length of growable memory are many times slower. */
function viewsOf(ring: SharedArrayBuffer): { readonly words: Int32Array; readonly bytes: Buffer } {
  return {
    words: new Int32Array(ring, 0, ring.byteLength >> 2),
    bytes: Buffer.from(ring, 0, ring.byteLength),
  }
}

/**
 * Most octets of a payload that go into a ring of `size`; longer ones take the side port. With the skip before it a
 * frame takes no more than half the ring, so one fits whenever the ring is half empty.
 */
const inlineLimit = (size: number) => (size >> 2) - 8

/** The producer's end. Frames written are not visible to the consumer until `publish`. */
export class RingWriter {
  readonly #words: Int32Array
  readonly #bytes: Buffer
  readonly #side: MessagePort
  readonly #size: number
  readonly #inline: number
  readonly #maxOversize: number
  #head: number
  /** The room that was reserved last: where, and what is left out before it. */
  #reservedAt = 0
  #skipped = 0
  #published: number
  /** TAIL as last seen: reading the other thread's cache line for each frame would cost more than the frame. */
  #tail: number
  #overHead: number

  /** `maxOversize` bounds the octets that may wait on the side port; one payload is always let through. */
  constructor(ring: SharedArrayBuffer, side: MessagePort, maxOversize: number) {
    const { words, bytes } = viewsOf(ring)
    this.#words = words
    this.#bytes = bytes
    this.#side = side
    this.#size = ring.byteLength - DATA
    this.#inline = inlineLimit(this.#size)
    this.#maxOversize = maxOversize
    this.#head = this.#published = Atomics.load(this.#words, HEAD)
    this.#tail = Atomics.load(this.#words, TAIL)
    this.#overHead = Atomics.load(this.#words, OVER_TAIL)
  }

  /** Octets written and not yet published. */
  get unpublished(): number {
    return (this.#head - this.#published) | 0
  }

  /** The memory that `reserve` gives places in. */
  get bytes(): Buffer {
    return this.#bytes
  }

  /** Place for the payload of a frame of at most `most` octets, to be written before `commit`; -1 without room. */
  reserve(most: number): number {
    if (most > this.#inline || !this.#makeRoom(4 + ((most + 3) & ~3))) return -1
    return DATA + this.#reservedAt + 4
  }

  /** The payload has been written where `reserve` said, and has `length` octets. */
  commit(length: number): void {
    this.#take(4 + ((length + 3) & ~3), length)
  }

  /** Copies the payload `source[start, end)` in. `false`: no room, nothing was done. */
  write(source: Buffer, start: number, end: number): boolean {
    const length = end - start
    if (length > this.#inline) return this.#writeOversize(source, start, end)
    const at = this.reserve(length)
    if (at < 0) return false
    source.copy(this.#bytes, at, start, end)
    this.commit(length)
    return true
  }

  #writeOversize(source: Buffer, start: number, end: number): boolean {
    const length = end - start
    const waiting = (this.#overHead - Atomics.load(this.#words, OVER_TAIL)) | 0
    if (waiting > 0 && waiting + length > this.#maxOversize) return false
    if (!this.#makeRoom(4)) return false
    const payload = new Uint8Array(length)
    payload.set(source.subarray(start, end))
    this.#side.postMessage(payload, [payload.buffer])
    this.#overHead = (this.#overHead + length) | 0
    this.#take(4, length | OVERSIZE)
    return true
  }

  /** Looks for `need` contiguous octets, which are the next frame. */
  #makeRoom(need: number): boolean {
    const at = this.#head & (this.#size - 1)
    const toEnd = this.#size - at
    const skip = need > toEnd ? toEnd : 0
    if (((this.#head - this.#tail) | 0) + skip + need > this.#size) {
      this.#tail = Atomics.load(this.#words, TAIL)
      if (((this.#head - this.#tail) | 0) + skip + need > this.#size) return false
    }
    this.#skipped = skip
    this.#reservedAt = skip === 0 ? at : 0
    return true
  }

  /** The next frame takes `octets` of the room found, and begins with `header`. */
  #take(octets: number, header: number): void {
    if (this.#skipped > 0) this.#words[DATA_WORD + ((this.#head & (this.#size - 1)) >> 2)] = SKIP
    this.#head = (this.#head + this.#skipped + octets) | 0
    this.#words[DATA_WORD + (this.#reservedAt >> 2)] = header
  }

  /** Makes all that was written visible. `false` if there was nothing new. */
  publish(): boolean {
    if (this.#head === this.#published) return false
    this.#published = this.#head
    Atomics.store(this.#words, HEAD, this.#head)
    return true
  }

  /** Whether the consumer has not read all that was published. */
  get isUnread(): boolean {
    return Atomics.load(this.#words, TAIL) !== this.#published
  }

  /** Whether the ring is at most half full, on the side port too: time to go on after a refusal. */
  hasRoom(): boolean {
    this.#tail = Atomics.load(this.#words, TAIL)
    const overTail = Atomics.load(this.#words, OVER_TAIL)
    return (
      ((this.#head - this.#tail) | 0) <= this.#size >> 1 &&
      ((this.#overHead - overTail) | 0) <= this.#maxOversize >> 1
    )
  }

  /**
   * Asks the consumer for a nudge when there is room. `false`: there is room already, none will come. Setting PWAIT
   * and then reading TAIL mirrors what the consumer does, so one of the two sees the other.
   */
  awaitRoom(): boolean {
    Atomics.store(this.#words, PWAIT, 1)
    if (!this.hasRoom()) return true
    // Lost to the consumer: its nudge is under way and harmless.
    Atomics.compareExchange(this.#words, PWAIT, 1, 0)
    return false
  }
}

/**
 * Sees one payload: `bytes[start, end)`, valid during the call only unless `owned`. More follow up to `limit`, as long as
 * this `read` goes on.
 */
export type FrameVisitor = (bytes: Buffer, start: number, end: number, limit: number, owned: boolean) => void

/** The consumer's end. */
export class RingReader {
  readonly #words: Int32Array
  readonly #bytes: Buffer
  readonly #side: MessagePort
  readonly #size: number
  readonly #onRoom: () => void
  #head: number
  #tail: number
  #released: number
  #overTail: number

  /** `onRoom` is called when the producer waits and there is room: it sends the nudge back. */
  constructor(ring: SharedArrayBuffer, side: MessagePort, onRoom: () => void) {
    const { words, bytes } = viewsOf(ring)
    this.#words = words
    this.#bytes = bytes
    this.#side = side
    this.#size = ring.byteLength - DATA
    this.#onRoom = onRoom
    this.#head = this.#tail = this.#released = Atomics.load(this.#words, TAIL)
    this.#overTail = Atomics.load(this.#words, OVER_TAIL)
  }

  /** Whether there are published frames that were not read. */
  hasFrames(): boolean {
    if (this.#head !== this.#tail) return true
    this.#head = Atomics.load(this.#words, HEAD)
    return this.#head !== this.#tail
  }

  /**
   * Reads at most `maxFrames` frames and returns how many. What `visit` throws comes out; the frame it was given
   * counts as read.
   */
  read(maxFrames: number, visit: FrameVisitor): number {
    const size = this.#size
    const words = this.#words
    // Often enough that a producer with a full ring goes on while we still read.
    const releaseAfter = size >> 3
    let frames = 0
    try {
      while (frames < maxFrames && this.hasFrames()) {
        const at = this.#tail & (size - 1)
        const header = words[DATA_WORD + (at >> 2)]!
        if (header === SKIP) {
          this.#tail = (this.#tail + size - at) | 0
          continue
        }
        const length = header & LENGTH
        frames++
        if ((header & OVERSIZE) !== 0) {
          this.#tail = (this.#tail + 4) | 0
          const payload = this.#takeOversize(length)
          visit(payload, 0, length, length, true)
        } else {
          this.#tail = (this.#tail + 4 + ((length + 3) & ~3)) | 0
          const ahead = (this.#head - this.#tail) | 0
          const start = DATA + at + 4
          visit(this.#bytes, start, start + length, Math.min(start + length + ahead, DATA + size), false)
        }
        if (((this.#tail - this.#released) | 0) >= releaseAfter) this.#release()
      }
    } finally {
      this.#release()
    }
    return frames
  }

  #takeOversize(length: number): Buffer {
    this.#overTail = (this.#overTail + length) | 0
    const taken = receiveMessageOnPort(this.#side)?.message
    if (!(taken instanceof Uint8Array) || taken.length !== length) {
      throw new Error(`ring: oversize payload of ${length} octets is missing`)
    }
    return Buffer.from(taken.buffer, taken.byteOffset, taken.byteLength)
  }

  /** Gives what was read back to the producer, and wakes it if it waits and half the ring is free. */
  #release(): void {
    if (this.#released === this.#tail) return
    this.#released = this.#tail
    Atomics.store(this.#words, OVER_TAIL, this.#overTail)
    Atomics.store(this.#words, TAIL, this.#tail)
    if (Atomics.load(this.#words, PWAIT) !== 1) return
    if (((Atomics.load(this.#words, HEAD) - this.#tail) | 0) > this.#size >> 1) return
    if (Atomics.compareExchange(this.#words, PWAIT, 1, 0) === 1) this.#onRoom()
  }
}
