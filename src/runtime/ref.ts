import type { ActorRef, AnyRef, AskOptions, StreamOptions, StreamReader } from '../actors/index.ts'
import { UsageError } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import { WireRef } from './transport/wire-ref.ts'

const defaultAskOptions: AskOptions = {}

/** The runtime's ActorRef. There is no difference to see between an actor here and one on another thread. */
export class Ref extends WireRef implements ActorRef {
  override readonly id: number
  override readonly thread: number
  readonly #runtime: ThreadRuntime
  /** Set when the actor lives, or lived, on this thread. */
  readonly #cell: ActorCell | undefined

  constructor(runtime: ThreadRuntime, id: number, thread: number, cell: ActorCell | undefined) {
    super()
    this.#runtime = runtime
    this.id = id
    this.thread = thread
    this.#cell = cell
  }

  tell(type: string, ...body: unknown[]): boolean {
    return this.#cell === undefined
      ? this.#runtime.tellRemote(this, type, body)
      : this.#cell.accept(type, body, undefined)
  }

  ask(type: string, ...body: unknown[]): Promise<never> {
    return this.#runtime.ask(this, this.#cell, defaultAskOptions, type, body) as Promise<never>
  }

  askWith(options: AskOptions, type: string, ...body: unknown[]): Promise<never> {
    return this.#runtime.ask(this, this.#cell, options, type, body) as Promise<never>
  }

  stream(type: string, ...body: unknown[]): StreamReader<never> {
    return this.#runtime.stream(this, this.#cell, defaultAskOptions, type, body) as StreamReader<never>
  }

  streamWith(options: StreamOptions, type: string, ...body: unknown[]): StreamReader<never> {
    return this.#runtime.stream(this, this.#cell, options, type, body) as StreamReader<never>
  }

  override toString(): string {
    return `${this.#cell?.definition.name ?? 'actor'}#${this.id}@${this.thread}`
  }

  /** @internal */
  get cell(): ActorCell | undefined {
    return this.#cell
  }
}

/** The ref the runtime knows behind one that a user gave back. */
export function ownRef(ref: AnyRef): Ref {
  if (ref instanceof Ref) return ref
  throw new UsageError('not an ActorRef of this system')
}
