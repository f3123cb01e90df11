/**
 * Frames between simulated threads: a list in place of a ring, with the same order, bound and end. They are encoded and
 * decoded as on their way between real threads, so what cannot cross there cannot cross here.
 */
import { Definition } from '../actors/definition.ts'
import type { AnyActorDefinition } from '../actors/index.ts'
import type { Transport } from '../runtime/peers.ts'
import type { Codec, FrameHandler, InboxHalf, InboxOptions, OutboxHalf } from '../runtime/transport/index.ts'

export interface Frame {
  readonly bytes: Buffer
  readonly label: string
  /** Not to be delivered before, on the virtual clock. */
  readonly dueMs: number
  /** The sender's turn it was sent in. */
  readonly turn: number
}

/** What the links need of the simulation. */
export interface LinkHost {
  /** A frame was sent, or room was made. */
  wake(): void
  /** When a frame sent now is due. */
  dueMs(): number
  /** Runs later, as a step of its own on this thread. */
  later(thread: number, text: string, run: () => void): void
  turnOf(thread: number): number
}

/** One way from one thread to another. */
export class SimulatedLink {
  readonly from: number
  readonly to: number
  readonly capacity: number
  readonly host: LinkHost
  frames: Frame[] = []
  priority = 0
  /** Delivers nothing while more than 0. */
  held = 0
  /** Refuses everything while more than 0, as a full ring does. */
  refusing = 0
  isClosed = false
  waiters: ((open: boolean) => void)[] = []

  constructor(host: LinkHost, from: number, to: number, capacity: number) {
    this.host = host
    this.from = from
    this.to = to
    this.capacity = capacity
  }

  get hasRoom(): boolean {
    return this.refusing === 0 && this.frames.length <= this.capacity / 2
  }

  /** After frames were taken, or room was made otherwise. */
  tellWaiters(): void {
    if (this.waiters.length === 0 || (!this.hasRoom && !this.isClosed)) return
    this.host.later(this.from, `finds room on the way to t${this.to}`, () => {
      const waiters = this.waiters
      this.waiters = []
      for (const waiter of waiters) waiter(!this.isClosed)
    })
  }

  close(): void {
    this.isClosed = true
    this.tellWaiters()
  }
}

/** The inbox of one simulated thread: hands on what the simulation let through. */
export class SimulatedInbox {
  readonly #options: InboxOptions
  readonly #links = new Map<number, SimulatedLink>()
  #letThrough: { readonly from: number; readonly frame: Frame } | undefined

  constructor(options: InboxOptions) {
    this.#options = options
  }

  knows(link: SimulatedLink): boolean {
    return this.#links.get(link.from) === link
  }

  /** Delivers the first frame of a link. */
  deliver(link: SimulatedLink): void {
    const frame = link.frames.shift()
    if (frame === undefined) return
    this.#letThrough = { from: link.from, frame }
    this.#options.onReady()
    link.tellWaiters()
  }

  add(from: number, half: InboxHalf): void {
    this.#links.set(from, half as unknown as SimulatedLink)
  }

  drain(_maxFrames: number, handler: FrameHandler): number {
    const one = this.#letThrough
    if (one === undefined) return 0
    this.#letThrough = undefined
    handler(this.#decode(one.frame), one.from)
    return 1
  }

  #decode({ bytes }: Frame) {
    return this.#options.codec.decode(bytes, 0, bytes.length, bytes.length, true)
  }

  sleep(): boolean {
    return true
  }

  finish(from: number, handler: FrameHandler): number {
    const link = this.#links.get(from)
    if (link === undefined) return 0
    this.#links.delete(from)
    const frames = link.frames.splice(0)
    for (const frame of frames) handler(this.#decode(frame), from)
    return frames.length
  }

  close(): void {
    this.#links.clear()
  }
}

/** The transport of one simulated thread. `definitions` is shared by all: they share their modules too. */
export function simulatedTransport(
  definitions: Map<string, AnyActorDefinition>,
  inboxMade: (inbox: SimulatedInbox) => void,
): Transport {
  return {
    outbox: (half: OutboxHalf, codec: Codec) => outbox(half as unknown as SimulatedLink, codec, definitions),
    inbox(options) {
      const inbox = new SimulatedInbox(options)
      inboxMade(inbox)
      return inbox
    },
    reviveDefinition: (module, name) => definitions.get(keyOf(module, name)),
  }
}

function outbox(link: SimulatedLink, codec: Codec, definitions: Map<string, AnyActorDefinition>) {
  return {
    get isClosed() {
      return link.isClosed
    },
    send(to: number, from: number, type: string | number, seq: number, body: readonly unknown[]): boolean {
      if (link.isClosed) return false
      noteDefinitions(body, definitions, 0)
      const { buffer, byteOffset, start, end } = codec.encode(to, from, type, seq, body)
      if (link.refusing > 0 || link.frames.length >= link.capacity) return false
      const bytes = Buffer.from(Buffer.from(buffer, byteOffset + start, end - start))
      const { host } = link
      const label = labelOf(to, from, type)
      link.frames.push({ bytes, label, dueMs: host.dueMs(), turn: host.turnOf(link.from) })
      host.wake()
      return true
    },
    whenRoom(callback: (open: boolean) => void): void {
      link.waiters.push(callback)
      if (link.waiters.length === 1) link.tellWaiters()
    },
    flush(): void {},
    flushWith: (carry: () => void): void => carry(),
    close: () => link.close(),
  }
}

const keyOf = (module: string, name: string): string => `${module}\n${name}`

/** Definitions cross as module and name; here the other side gets the very same one, exported or not. */
function noteDefinitions(value: unknown, definitions: Map<string, AnyActorDefinition>, depth: number): void {
  if (typeof value !== 'object' || value === null || depth > 8 || value instanceof Uint8Array) return
  if (value instanceof Definition) {
    definitions.set(keyOf(value.module, value.name), value as unknown as AnyActorDefinition)
    return
  }
  for (const part of Object.values(value)) noteDefinitions(part, definitions, depth + 1)
}

const kinds = [
  '',
  'answer',
  'refusal',
  'start',
  'started',
  'exit',
  'link-exit',
  'down',
  'kill',
  'link',
  'unlink',
  'watch',
  'unwatch',
  'name',
  'no name',
  'conflict',
]

function labelOf(to: number, from: number, type: string | number): string {
  if (typeof type === 'string') return `${type} to #${to}`
  const kind = kinds[type] ?? String(type)
  return to === 0
    ? `${kind} of #${from}`
    : `${kind} to ${kind === 'answer' || kind === 'refusal' ? 'ask ' : '#'}${String(to)}`
}
