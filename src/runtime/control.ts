/**
 * The control plane: how main starts, configures, asks and stops an actor thread, as calls through comlink. Never
 * actor messages. All methods are synchronous, so calls take effect in the order they were made.
 */
import type { MessagePort } from 'node:worker_threads'
import * as comlink from 'comlink'
import type { ExitReason } from '../actors/index.ts'
import type { LogOptions } from './log.ts'
import type { ActorRow, DeadLetterEvent, RestartedEvent, TerminatedEvent } from './observer.ts'
import type { PeerHalves } from './peers.ts'
import type { Topology } from './topology.ts'

/** What a thread offers to main. */
export interface ThreadControl {
  /** Answers when the thread runs. */
  ping(): void | Promise<void>
  connect(peer: PeerHalves): void
  setTopology(topology: Topology): void
  threadDown(thread: number, reason: ExitReason): void
  configure(settings: Readonly<Record<string, unknown>>): void
  /** From now on it takes no new actors: those that a supervisor elsewhere keeps running move. May be called again. */
  drain(): void
  /** Ends the thread if no actor but those that belong to it is left. */
  stopIfDrained(): void
  /** Asks all actors to end; what is left at the second call is killed, and the thread ends. */
  hurry(): void
  /** Nobody here starts an actor of this kind for so long. */
  quarantineKind(kind: string, ms: number): void
  rows(): ActorRow[]
  statistics(): { readonly actors: number; readonly heapBytes: number }
  /** Kills what is left and ends the thread's task. */
  stop(): void
}

/** What main offers to a thread. */
export interface MainControl {
  /** Ends that are not expected; the others stay on their thread. */
  terminated(event: TerminatedEvent): void
  restarted(event: RestartedEvent): void
  deadLetters(event: DeadLetterEvent): void
  /** What a thread calls one of its messages in the load table. */
  learn(code: number, component: string, message: string): void
  /** The thread took a place in the growth table, and this number, for a new thread of the pool. */
  startThread(pool: string, thread: number): void
  /** The thread asks to be drained and replaced. */
  recycleMe(): void
  quarantineKind(kind: string, ms: number): void
  /** A line of a thread whose log is main's. */
  log(level: LogLevelName, facts: object, text: string | undefined): void
}

export type LogLevelName = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'

/** What a thread is started with; the argument of piscina's task. */
export interface ThreadTask {
  readonly thread: number
  readonly slot: number
  readonly ids: SharedArrayBuffer
  readonly load: SharedArrayBuffer
  readonly growth: SharedArrayBuffer
  readonly doorbell: SharedArrayBuffer
  /** Milliseconds between two signs of life. */
  readonly beatMs: number
  readonly pool: string
  readonly hooks: string | undefined
  readonly settings: Readonly<Record<string, unknown>>
  /** A log of its own, or the levels that main wants to hear of. */
  readonly log: { readonly options: LogOptions } | { readonly levels: readonly string[] }
  readonly checkMessages: boolean
  readonly spinUs: number
  readonly control: MessagePort
  readonly main: MessagePort
  readonly sockets: MessagePort
  /** The links with main; other threads are connected by calls. */
  readonly peer: PeerHalves
  readonly topology: Topology
}

/** A surface as the other side sees it. Not comlink's own type, whose declarations need a browser's. */
export type Remote<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R
    ? (...args: A) => Promise<Awaited<R>>
    : never
}

// Node's MessagePort has all that comlink uses of the browser's.
const endpoint = (port: MessagePort): comlink.Endpoint => port as unknown as comlink.Endpoint

/** Lets the other end of `port` call `surface`. */
export function offer(surface: object, port: MessagePort): void {
  comlink.expose(surface, endpoint(port))
}

/** The surface offered at the other end of `port`. A call never settles when that thread is gone. */
export function reach<T>(port: MessagePort): Remote<T> {
  return comlink.wrap<T>(endpoint(port)) as unknown as Remote<T>
}

/**
 * Closes a port of one of the two. Calls that wait for an answer are forgotten: comlink keeps their listeners with the port, and
 * the port as long as the surface, which those who wait hold on to.
 */
export function hangUp(port: MessagePort): void {
  port.close()
  port.removeAllListeners('message')
}

/** Marks `value` as an argument whose ports move to the other thread. */
export function withPorts<T extends object>(value: T, ports: readonly MessagePort[]): T {
  return comlink.transfer(value, ports as unknown as Transferable[])
}

type Transferable = Parameters<typeof comlink.transfer>[1][number]
