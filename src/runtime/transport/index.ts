/** Frames between threads. See `ring.ts` for the memory, `link.ts` for how the parts fit. */
export { Codec, type CodecHooks, type CodecOptions } from './codec.ts'
export { createDoorbell } from './doorbell.ts'
export type { Frame } from './frame.ts'
export { type FrameHandler, framesPerTurn, Inbox, type InboxOptions, runInbox } from './inbox.ts'
export { createLink, halfPorts, type InboxHalf, type OutboxHalf } from './link.ts'
export { Outbox, type OutboxOptions } from './outbox.ts'
export { defaultRingSize } from './ring.ts'
export { WireRef } from './wire-ref.ts'
