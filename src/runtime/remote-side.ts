/** What one thread keeps of actors and askers of other threads. */
import type { AskFailure, ExitReason } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import type { Cluster } from './cluster.ts'
import type { Asker, StreamSink } from './message.ts'
import type { Ref } from './ref.ts'

/** An actor of another thread as this thread's actors relate to it. */
export class RemoteRelations {
  readonly ref: Ref
  /** Cells here that are linked to it. */
  readonly linked = new Set<ActorCell>()
  /** The cell here that started it and is linked to it: they end together. */
  parent: ActorCell | undefined
  readonly watching = new Map<number, ActorCell>()
  /** Called when its `init` is done or it ended before. */
  started: ((reason: ExitReason | undefined) => void) | undefined

  constructor(ref: Ref) {
    this.ref = ref
  }
}

/** Whoever asked from another thread. */
export class RemoteAsk implements Asker {
  readonly stream: StreamSink | undefined
  readonly #cluster: Cluster
  readonly #thread: number
  readonly #id: number

  constructor(cluster: Cluster, thread: number, id: number, stream: StreamSink | undefined) {
    this.#cluster = cluster
    this.#thread = thread
    this.#id = id
    this.stream = stream
  }

  answer(value: unknown): void {
    this.#cluster.answer(this.#thread, this.#id, value)
  }

  refuse(failure: AskFailure, why: string, reason?: ExitReason): void {
    this.#cluster.refuse(this.#thread, this.#id, failure, why, reason)
  }
}
