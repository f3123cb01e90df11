import type { MessagePort } from 'node:worker_threads'
import type { Codec } from './codec.ts'
import { Sleeper } from './doorbell.ts'
import type { Frame } from './frame.ts'
import type { InboxHalf } from './link.ts'
import type { FrameVisitor } from './ring.ts'
import { RingReader } from './ring.ts'

/** Takes one frame, which is valid during the call; its body remains. `link` is the key the link was added with. */
export type FrameHandler = (frame: Frame, link: number) => void

export interface InboxOptions {
  /** The SLEEP word of this thread, made by `createDoorbell`. */
  readonly doorbell: SharedArrayBuffer
  readonly codec: Codec
  /** There may be frames while the inbox sleeps: drain, then `sleep` again. Also after a spurious nudge. */
  readonly onReady: () => void
  /** The producer's end is gone: its thread died or closed it. What it published is still there: `finish` reads it. */
  readonly onClose?: (from: number) => void
  /** A frame that cannot be decoded was left out. Default: throws it out of `drain`. */
  readonly onBadFrame?: (error: unknown, from: number) => void
  /** Microseconds to look for new frames before sleeping, with this thread blocked. Default 0. */
  readonly spinUs?: number
  /** Called before spinning: the others must see our frames, or both sides would wait. */
  readonly beforeSpin?: () => void
}

interface Source {
  readonly from: number
  readonly reader: RingReader
  readonly visit: FrameVisitor
  readonly nudge: MessagePort
  readonly side: MessagePort
}

/** Frames of one ring before the next one gets its turn. */
const framesPerRing = 64

/** The receiving end of all links into one thread. */
export class Inbox {
  readonly #sleeper: Sleeper
  readonly #codec: Codec
  readonly #onReady: () => void
  readonly #onClose: ((from: number) => void) | undefined
  readonly #onBadFrame: (error: unknown, from: number) => void
  readonly #spinUs: number
  readonly #beforeSpin: (() => void) | undefined
  /** Replaced, never changed: a handler may add or finish links. */
  #sources: readonly Source[] = []
  #handler: FrameHandler = () => {}
  #next = 0
  #keepsAlive = true

  constructor(options: InboxOptions) {
    this.#sleeper = new Sleeper(options.doorbell)
    this.#codec = options.codec
    this.#onReady = options.onReady
    this.#onClose = options.onClose
    this.#onBadFrame =
      options.onBadFrame ??
      ((error) => {
        throw error
      })
    this.#spinUs = options.spinUs ?? 0
    this.#beforeSpin = options.beforeSpin
  }

  /** Receives from another link. `from` is unique among the links of this inbox: the producer's thread number. */
  add(from: number, half: InboxHalf): void {
    const nudge = half.nudge
    const source: Source = {
      from,
      reader: new RingReader(half.ring, half.side, () => nudge.postMessage(0)),
      visit: (bytes, start, end, limit, owned) => this.#visit(from, bytes, start, end, limit, owned),
      nudge,
      side: half.side,
    }
    this.#sources = [...this.#sources, source]
    nudge.on('message', this.#onReady)
    if (!this.#keepsAlive) nudge.unref()
    nudge.on('close', () => {
      if (!this.#sources.includes(source)) return
      // It may have died between taking the duty to nudge and nudging, for frames of its own or as well for none.
      this.#onReady()
      this.#onClose?.(from)
    })
    // Frames published before this inbox knew the ring.
    this.#onReady()
  }

  /**
   * Reads at most `maxFrames` frames from all rings in turn and returns how many. The order within a link is
   * kept. What `handler` throws comes out; the frame counts as read. Not to be called from a handler.
   */
  drain(maxFrames: number, handler: FrameHandler): number {
    this.#handler = handler
    const sources = this.#sources
    const count = sources.length
    let total = 0
    let idle = 0
    while (total < maxFrames && idle < count) {
      this.#next = (this.#next + 1) % count
      const source = sources[this.#next]!
      const frames = source.reader.read(Math.min(framesPerRing, maxFrames - total), source.visit)
      if (frames === 0) idle++
      else idle = 0
      total += frames
    }
    return total
  }

  #visit(from: number, bytes: Buffer, start: number, end: number, limit: number, owned: boolean): void {
    let frame: Frame
    try {
      frame = this.#codec.decode(bytes, start, end, limit, owned)
    } catch (error) {
      this.#onBadFrame(error, from)
      return
    }
    this.#handler(frame, from)
  }

  /**
   * Goes to sleep: `onReady` is called when there are frames. `false`: there are some already, and the inbox is
   * awake: drain on.
   */
  sleep(): boolean {
    if (this.#spinUs > 0 && this.#spin()) return false
    this.#sleeper.lieDown()
    if (!this.#hasFrames()) return true
    this.#sleeper.getUp()
    return false
  }

  #hasFrames(): boolean {
    for (const source of this.#sources) if (source.reader.hasFrames()) return true
    return false
  }

  #spin(): boolean {
    this.#beforeSpin?.()
    const end = performance.now() + this.#spinUs / 1000
    do {
      if (this.#hasFrames()) return true
    } while (performance.now() < end)
    return false
  }

  /**
   * Reads all that a link's producer published and removes the link. For a producer that is dead, or has closed; a
   * living one sees its end close. Returns how many frames there were.
   */
  finish(from: number, handler: FrameHandler): number {
    const source = this.#sources.find((one) => one.from === from)
    if (source === undefined) return 0
    this.#handler = handler
    let frames = 0
    // Bounded by the ring: a living producer could otherwise keep us here.
    for (let turn = 0; turn < 64; turn++) {
      const read = source.reader.read(1 << 16, source.visit)
      frames += read
      if (read === 0) break
    }
    this.#sources = this.#sources.filter((one) => one !== source)
    source.nudge.close()
    source.side.close()
    // It may have taken the duty to nudge for others' frames too.
    this.#onReady()
    return frames
  }

  /** Whether the thread is kept alive by its inbox. Default true. */
  keepAlive(on: boolean): void {
    this.#keepsAlive = on
    for (const source of this.#sources) {
      if (on) source.nudge.ref()
      else source.nudge.unref()
    }
  }

  /** Closes all links without reading them. */
  close(): void {
    const sources = this.#sources
    this.#sources = []
    for (const source of sources) {
      source.nudge.close()
      source.side.close()
    }
  }
}

/** Frames handled before the event loop gets a turn. */
export const framesPerTurn = 256

/**
 * Runs an inbox by itself: at most 256 frames a turn, continued by `setImmediate`, asleep when all rings are empty. For threads
 * without a run queue of their own.
 */
export function runInbox(options: Omit<InboxOptions, 'onReady'>, handler: FrameHandler): Inbox {
  let scheduled = false
  const schedule = () => {
    if (scheduled) return
    scheduled = true
    setImmediate(turn)
  }
  const inbox = new Inbox({ ...options, onReady: schedule })
  const turn = () => {
    scheduled = false
    let more = true
    try {
      more = inbox.drain(framesPerTurn, handler) === framesPerTurn || !inbox.sleep()
    } finally {
      if (more) schedule()
    }
  }
  return inbox
}
