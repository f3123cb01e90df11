import type {
  ActorRef,
  AnyRef,
  AskOptions,
  StreamOptions,
  StreamReader,
  TellOptions,
} from '../actors/index.ts'
import { UsageError } from '../actors/index.ts'
import type { ActorCell } from './cell.ts'
import type { ThreadRuntime } from './thread-runtime.ts'
import { WireRef } from './transport/wire-ref.ts'

const defaultAskOptions: AskOptions = {}

/** A message that may lie for longer wants a timer. */
const longestWithinMs = 60_000

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
    if (typeof type !== 'string') refuseType(type)
    return this.#cell === undefined
      ? this.#runtime.tellRemote(this, type, body)
      : this.#cell.accept(type, body, undefined)
  }

  tellWith({ withinMs = 0 }: TellOptions, type: string, ...body: unknown[]): boolean {
    if (typeof type !== 'string') refuseType(type)
    if (!(withinMs >= 0 && withinMs <= longestWithinMs)) {
      throw new UsageError(`withinMs has to be 0 to ${longestWithinMs} milliseconds`, { withinMs })
    }
    return this.#cell === undefined
      ? this.#runtime.tellRemote(this, type, body, withinMs)
      : this.#cell.accept(type, body, undefined)
  }

  /** @internal */
  override get home(): object {
    return this.#runtime.home
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

/** @throws UsageError: whatever else it is, between threads it could be taken for something of the runtime's own. */
export function refuseType(type: unknown): never {
  throw new UsageError(`the type of a message is its name, and nothing of type ${typeof type}`)
}

/** The ref `home` knows behind one that a user gave back. @throws UsageError for what is none of this system. */
export function ownRef(ref: AnyRef, home: object): Ref {
  if (ref instanceof Ref && ref.home === home) return ref
  throw new UsageError('not an ActorRef of this system')
}
