import type { InboxHalf, OutboxHalf } from '../../../src/runtime/transport/index.ts'
import { Codec, Outbox, runInbox } from '../../../src/runtime/transport/index.ts'
import { Random } from '../../../src/testing/random.ts'

/** From 0 to less than 1, the same from the same seed. */
export function random(seed: number): () => number {
  const numbers = new Random(seed)
  return () => numbers.next()
}

/** Mostly small payloads, some that fill a good part of the ring, a few larger than the ring. */
export function payloads(seed: number, ringSize: number): () => string | Buffer {
  const next = random(seed)
  return () => {
    const kind = next()
    const most = kind < 0.9 ? 300 : kind < 0.99 ? ringSize / 2 : ringSize * 3
    const size = Math.floor(next() * most)
    const fill = Math.floor(next() * 256)
    return next() < 0.5 ? Buffer.alloc(size, fill) : String.fromCharCode(32 + (fill % 400)).repeat(size)
  }
}

export interface TrafficOptions {
  readonly outbox: OutboxHalf
  readonly inbox: InboxHalf
  readonly doorbell: SharedArrayBuffer
  readonly ringSize: number
  readonly frames: number
  readonly sendSeed: number
  readonly receiveSeed: number
}

export interface TrafficResult {
  readonly received: number
  readonly refused: number
  /** What was wrong with the first bad frame. */
  readonly fault: string | undefined
}

/** Sends and receives `frames` random frames with random pauses, and compares each with what the seed says. */
export function traffic(options: TrafficOptions): Promise<TrafficResult> {
  const { frames, ringSize } = options
  const codec = new Codec()
  const outbox = new Outbox(options.outbox, { codec })
  const expected = payloads(options.receiveSeed, ringSize)
  const toSend = payloads(options.sendSeed, ringSize)
  const pause = random(options.sendSeed ^ 0x5555)
  return new Promise((resolve) => {
    let sent = 0
    let received = 0
    let fault: string | undefined
    let pending: string | Buffer | undefined
    const finished = () => {
      if (fault === undefined && (sent < frames || received < frames)) return
      resolve({ received, refused: outbox.statistics.refused, fault })
    }
    const inbox = runInbox({ doorbell: options.doorbell, codec }, (frame) => {
      const want = expected()
      const got = frame.body[0]
      const same = typeof want === 'string' ? want === got : Buffer.isBuffer(got) && want.equals(got)
      if (frame.seq !== received || !same)
        fault ??= `frame ${received} arrived as ${String(frame.seq)}, same: ${same}`
      received++
      finished()
    })
    inbox.add(1, options.inbox)
    const send = () => {
      while (sent < frames) {
        pending ??= toSend()
        if (!outbox.send(1, 2, 'traffic', sent, [pending])) {
          outbox.whenRoom(send)
          return
        }
        pending = undefined
        sent++
        const luck = pause()
        if (luck < 0.02) {
          setImmediate(send)
          return
        }
        if (luck < 0.021) {
          setTimeout(send, 1)
          return
        }
      }
      finished()
    }
    send()
  })
}
