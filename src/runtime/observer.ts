import type { Crash, ExitReason } from '../actors/index.ts'
import type { Ref } from './ref.ts'

/** The end of an actor, as observers see it. */
export interface TerminatedEvent {
  readonly name: string
  readonly actorId: number
  readonly thread: number
  readonly reason: ExitReason
  readonly restarts: number
}

export interface RestartedEvent extends TerminatedEvent {
  /** Id of the child in its supervisor. */
  readonly childId: string
}

/** Messages nobody will handle, since the report before. */
export interface DeadLetterReport {
  readonly count: number
  /** How many of them were refused by the full message queue of an actor that lives; the rest came too late. */
  readonly overloaded: number
  /** Since the thread started. */
  readonly total: number
  /** The most frequent ones. `to` is the name of the definition, or `actor` where it is not known any more. */
  readonly most: readonly { readonly to: string; readonly type: string; readonly count: number }[]
}

export interface DeadLetterEvent extends DeadLetterReport {
  readonly thread: number
}

/** Watches what happens on a thread. Nothing depends on it. */
export interface RuntimeObserver {
  terminated(event: TerminatedEvent): void
  restarted(event: RestartedEvent): void
  /** A message nobody will handle. Called for each: for tests. */
  deadLetter?(ref: Ref, type: string, body: readonly unknown[]): void
  /** A kind crashed before its first job; nobody is to start it for so long. */
  quarantined?(kind: string, ms: number): void
  /** The same in summary, at a limited rate. */
  deadLetters?(event: DeadLetterEvent): void
}

/** One living actor, without its place in the tree. Plain data. */
export interface ActorRow {
  readonly id: number
  /** Name of its definition. */
  readonly name: string
  /** Id in its supervisor. */
  readonly childId: string | undefined
  readonly registeredAs: readonly string[]
  readonly type: 'worker' | 'supervisor'
  readonly thread: number
  readonly parent: number | undefined
  readonly state: 'starting' | 'idle' | 'running' | 'waiting' | 'stopping'
  readonly restarts: number
  /** How those before it failed, in the same place of the same supervisor: the last five, the latest last. */
  readonly crashes: readonly Crash[]
  readonly queueLength: number
  readonly handled: number
  /** Type of the message in hand. */
  readonly current: string | undefined
  /** Milliseconds since its handler began to await. */
  readonly currentMs: number | undefined
}
