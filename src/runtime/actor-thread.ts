/** What main keeps of one actor thread, and how two of them are joined. */
import type { MessagePort } from 'node:worker_threads'
import type { Remote, ThreadControl } from './control.ts'
import type { Host } from './host.ts'
import type { PeerHalves } from './peers.ts'
import type { Pool } from './pool.ts'
import type { ThreadState } from './pool-events.ts'
import { createLink, halfPorts } from './transport/index.ts'
import type { Pulse } from './watchdog.ts'

/** One actor thread, as main sees it. */
export interface ActorThread {
  readonly thread: number
  readonly slot: number
  readonly pool: Pool
  readonly host: Host
  readonly doorbell: SharedArrayBuffer
  readonly control: Remote<ThreadControl>
  readonly ports: readonly MessagePort[]
  readonly abort: AbortController
  /** Settles when it is gone. */
  readonly gone: Promise<void>
  readonly startedAt: number
  readonly pulse: Pulse
  state: ThreadState
  idleSince: number
  /** Actors it had started at the last look. */
  started: number
  /** When a thread that drains is hurried; for ever moved on once it was. */
  hurryAt: number
  /** Heap at the last looks: garbage comes and goes, what it never falls below is in use. */
  heap: number[]
}

/** Whether it counts for the size of its pool. */
export function isActive({ state }: ActorThread): boolean {
  return state !== 'draining'
}

/** So often that a stall is told from the pause between two signs of life. */
export function beatMs({ limits }: Pool): number {
  return limits.stallMs === 0 ? 250 : Math.min(250, Math.max(limits.stallMs / 12, 10))
}

export function stuckMessage(pulse: Pulse, silentMs: number): string {
  const { component, message } = pulse.culprit()
  const where = component === undefined ? '' : ` in ${component}.${message}`
  return `it was stuck for ${Math.round(silentMs)} ms${where}`
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export function exitMessage({ abort }: ActorThread, error: unknown): string {
  if (abort.signal.aborted) return messageOf(abort.signal.reason).replace(/^killed$/, 'it was killed')
  if (error === undefined) return 'it was asked to end'
  return error instanceof Error ? error.message : String(error)
}

export interface Joint {
  readonly thread: number
  readonly doorbell: SharedArrayBuffer
}

/** Two links between two threads: the halves for the first, and those for the second. */
export function join(
  first: Joint,
  second: Joint,
): { readonly first: PeerHalves; readonly second: PeerHalves } {
  const there = createLink(second.doorbell)
  const back = createLink(first.doorbell)
  return {
    first: { thread: second.thread, outbox: there.outbox, inbox: back.inbox },
    second: { thread: first.thread, outbox: back.outbox, inbox: there.inbox },
  }
}

export function portsOf({ outbox, inbox }: PeerHalves): MessagePort[] {
  return [...halfPorts(outbox), ...halfPorts(inbox)]
}
