/**
 * A link carries frames one way, from one thread to another: a ring, the consumer's doorbell, a port for nudges
 * (to the consumer: frames; to the producer: room) and a port for payloads too large for the ring.
 *
 * `createLink` runs anywhere and makes two halves that can be posted to their threads; `Outbox` and `Inbox` are
 * built from them there. When a thread dies its ports close: the other end sees `onClose`, other links are not
 * concerned, and what the dead thread had published can still be read.
 */
import type { MessagePort } from 'node:worker_threads'
import { MessageChannel } from 'node:worker_threads'
import { createRing, defaultRingSize } from './ring.ts'

/** The producer's half. Post it with `halfPorts(half)` as transfer list. */
export interface OutboxHalf {
  readonly ring: SharedArrayBuffer
  readonly doorbell: SharedArrayBuffer
  readonly nudge: MessagePort
  readonly side: MessagePort
}

/** The consumer's half. Its doorbell is the one its `Inbox` has. */
export interface InboxHalf {
  readonly ring: SharedArrayBuffer
  readonly nudge: MessagePort
  readonly side: MessagePort
}

/** A link to the thread whose inbox was made with `doorbell`. `ringSize` in octets, a power of two. */
export function createLink(
  doorbell: SharedArrayBuffer,
  ringSize: number = defaultRingSize,
): { readonly outbox: OutboxHalf; readonly inbox: InboxHalf } {
  const ring = createRing(ringSize)
  const nudge = new MessageChannel()
  const side = new MessageChannel()
  return {
    outbox: { ring, doorbell, nudge: nudge.port1, side: side.port1 },
    inbox: { ring, nudge: nudge.port2, side: side.port2 },
  }
}

/** What has to be transferred when a half is posted. */
export function halfPorts(half: OutboxHalf | InboxHalf): MessagePort[] {
  return [half.nudge, half.side]
}
