import type { ExitReason } from '../actors/index.ts'
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

/** Watches what happens on a thread. Nothing depends on it. */
export interface RuntimeObserver {
  terminated(event: TerminatedEvent): void
  restarted(event: RestartedEvent): void
  /** A message nobody will handle. */
  deadLetter?(ref: Ref, type: string, body: readonly unknown[]): void
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
  readonly queueLength: number
  readonly handled: number
  /** Type of the message in hand. */
  readonly current: string | undefined
}
