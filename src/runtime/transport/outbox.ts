import type { MessagePort } from 'node:worker_threads'
import type { Codec } from './codec.ts'
import { isAsleep, mustNudge } from './doorbell.ts'
import type { OutboxHalf } from './link.ts'
import type { PlainEncoder } from './plain-encoder.ts'
import { RingWriter } from './ring.ts'

export interface OutboxOptions {
  readonly codec: Codec
  /**
   * Called with `flush` at the first frame after a flush: the caller runs it once, at the end of its turn. Default
   * `queueMicrotask`.
   */
  readonly schedule?: (flush: () => void) => void
  /** The consumer's end is gone: its thread died or closed it. Called once, not after `close`. */
  readonly onClose?: () => void
  /** Most octets of payloads waiting on the side port, beyond one. Default 8 MiB. */
  readonly maxOversize?: number
}

export interface OutboxStatistics {
  readonly frames: number
  /** Sends that found the ring full. */
  readonly refused: number
  readonly nudges: number
}

// So much is published before the turn ends: the consumer works while this thread still writes.
const publishAfter = 1 << 15

/** The sending end of a link. Frames are seen by the other thread after `flush`, once per turn. */
export class Outbox {
  readonly #writer: RingWriter
  readonly #sleep: Int32Array
  readonly #nudge: MessagePort
  readonly #side: MessagePort
  readonly #codec: Codec
  readonly #plain: PlainEncoder
  readonly #schedule: (flush: () => void) => void
  readonly #onClose: (() => void) | undefined
  #scheduled = false
  #closed = false
  #waiters: ((open: boolean) => void)[] = []
  #frames = 0
  #refused = 0
  #nudges = 0
  /** How long what was sent since the last flush may lie there; 0: the consumer is woken at once. */
  #patienceMs = Number.POSITIVE_INFINITY
  /** Wakes the consumer for what lies there, should nothing else have done so. */
  #alarm: NodeJS.Timeout | undefined
  #alarmAt = 0

  constructor(half: OutboxHalf, options: OutboxOptions) {
    this.#writer = new RingWriter(half.ring, half.side, options.maxOversize ?? 1 << 23)
    this.#sleep = new Int32Array(half.doorbell)
    this.#nudge = half.nudge
    this.#side = half.side
    this.#codec = options.codec
    this.#plain = options.codec.plainEncoder(this.#writer.bytes)
    this.#schedule = options.schedule ?? queueMicrotask
    this.#onClose = options.onClose
    this.#nudge.on('message', () => this.#tellWaiters())
    this.#nudge.on('close', () => {
      if (this.#closed) return
      this.close()
      this.#onClose?.()
    })
    // A thread lives for its work, not for its ports.
    this.#nudge.unref()
    this.#side.unref()
  }

  /**
   * Sends a frame. `false`: there is no room, or the link is closed; nothing was sent. `withinMs`: how long it may lie
   * there before a sleeping consumer is woken for it.
   *
   * @throws UsageError for a frame that cannot be encoded.
   */
  send(
    to: number,
    from: number,
    type: string | number,
    seq: number,
    body: readonly unknown[],
    withinMs = 0,
  ): boolean {
    if (this.#closed) return false
    if (!this.#codec.encodeInto(this.#writer, this.#plain, to, from, type, seq, body)) {
      this.#refused++
      // Else a full ring nobody was told of would stay full for the rest of this turn.
      this.#flushAtOnce()
      return false
    }
    this.#frames++
    if (withinMs < this.#patienceMs) this.#patienceMs = withinMs
    if (!this.#scheduled) {
      this.#scheduled = true
      this.#schedule(this.flush)
    } else if (this.#writer.unpublished >= publishAfter) {
      this.#publish()
    }
    return true
  }

  /** Makes all frames sent so far visible and wakes the consumer if it sleeps. Costs next to nothing without frames. */
  readonly flush = (): void => {
    this.#scheduled = false
    this.#publish()
  }

  /**
   * As `flush`, with something that the consumer drains at when it arrives: it takes the place of the nudge, which costs
   * both sides a wake-up. @throws what `carry` throws; the consumer is nudged then.
   */
  flushWith(carry: () => void): void {
    const nudges = this.#mustNudge()
    try {
      carry()
    } catch (error) {
      if (nudges) this.#ring()
      throw error
    }
  }

  #publish(): void {
    const patienceMs = this.#patienceMs
    if (patienceMs > 0 && patienceMs !== Number.POSITIVE_INFINITY) {
      this.#patienceMs = Number.POSITIVE_INFINITY
      // Published all the same: a consumer that is awake takes it along, and so it does should this thread die.
      if (!this.#closed && this.#writer.publish() && isAsleep(this.#sleep)) this.#ringWithin(patienceMs)
    } else if (this.#mustNudge()) this.#ring()
  }

  #flushAtOnce(): void {
    this.#patienceMs = 0
    this.flush()
  }

  #ringWithin(ms: number): void {
    const at = performance.now() + ms
    if (this.#alarm !== undefined) {
      if (this.#alarmAt <= at) return
      clearTimeout(this.#alarm)
    }
    this.#alarmAt = at
    this.#alarm = setTimeout(this.#onAlarm, ms).unref()
  }

  readonly #onAlarm = (): void => {
    this.#alarm = undefined
    if (!this.#closed && this.#writer.isUnread && mustNudge(this.#sleep)) this.#ring()
  }

  #mustNudge(): boolean {
    this.#patienceMs = Number.POSITIVE_INFINITY
    if (this.#closed) return false
    const isNew = this.#writer.publish()
    return (isNew || this.#alarm !== undefined) && mustNudge(this.#sleep)
  }

  #ring(): void {
    this.#nudges++
    this.#nudge.postMessage(0)
  }

  /**
   * Calls back once when at least half of the ring is free, in a later turn; with `false` if the link was closed
   * instead. For after a refused send.
   */
  whenRoom(callback: (open: boolean) => void): void {
    this.#flushAtOnce()
    this.#waiters.push(callback)
    if (this.#waiters.length > 1) return
    if (this.#closed || !this.#writer.awaitRoom()) setImmediate(() => this.#tellWaiters())
    // The only thing that may keep a thread alive here is the wait for room.
    else this.#nudge.ref()
  }

  #tellWaiters(): void {
    if (this.#waiters.length === 0) return
    // The consumer looks at the ring alone; payloads on the side port may still be too many.
    if (!this.#closed && !this.#writer.hasRoom() && this.#writer.awaitRoom()) return
    const waiters = this.#waiters
    this.#waiters = []
    if (!this.#closed) this.#nudge.unref()
    for (const waiter of waiters) waiter(!this.#closed)
  }

  get isClosed(): boolean {
    return this.#closed
  }

  get statistics(): OutboxStatistics {
    return { frames: this.#frames, refused: this.#refused, nudges: this.#nudges }
  }

  /** Publishes what was sent and closes this end; the consumer reads the rest. Who waits for room is told so. */
  close(): void {
    if (this.#closed) return
    this.#flushAtOnce()
    clearTimeout(this.#alarm)
    this.#closed = true
    this.#nudge.close()
    this.#side.close()
    if (this.#waiters.length > 0) setImmediate(() => this.#tellWaiters())
  }
}
