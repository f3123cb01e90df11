/**
 * One actor per key: messages go to the partition their key names. Partitions start with their first message and are
 * retired when they have been idle; of one key there is never more than one, and no message is lost by retirement.
 */
import { anyMessage } from './any-message.ts'
import type { ActorContext, Placement } from './context.ts'
import type { AnyContract, KeyOf } from './contract.ts'
import { type ActorDefinition, type ActorOptions, actor } from './definition.ts'
import { UsageError } from './errors.ts'
import { errorReason } from './exit-reason.ts'
import type { AnyRef } from './ref.ts'

export interface PartitionsOptions<C extends AnyContract, P, A> {
  readonly name: string
  readonly module: string
  readonly maxQueue?: number
  /** What runs for each key. */
  readonly partition: ActorDefinition<C, P>
  /** The key of a message. What it throws refuses the message. */
  readonly key: KeyOf<C, string>
  /** Arguments of the partition of `key`. `args` are those of the router. */
  partitionArgs(key: string, args: A): P
  readonly placement?: Placement
  /** How long a partition that owes no reply may do nothing. Default 60 s. */
  readonly idleMs?: number
  /** Most partitions at once. With all of them busy messages for another key fail with `MA_OVERLOADED`. Default 10 000. */
  readonly maxPartitions?: number
  /** How long a partition may take to stop before it is killed. Default 5 s. */
  readonly shutdownMs?: number
}

/** Message by which it looks for idle partitions. */
const sweep = 'partitions.sweep'

interface Partition {
  readonly key: string
  readonly ref: AnyRef
  /** Messages it has not finished. */
  busy: number
  lastUsed: number
  isStopping: boolean
}

/**
 * Defines the router of a partitioned actor, which is used as one actor of contract `C`. A partition that fails takes
 * its waiting messages with it, as any actor; the next message starts it anew. Messages must come through the router:
 * those sent to a partition's own ref do not keep it from being retired.
 */
export function partitions<C extends AnyContract, P, A = undefined>(
  options: PartitionsOptions<C, P, A>,
): ActorDefinition<C, A> {
  const { idleMs = 60_000, maxPartitions = 10_000 } = options
  if (!(idleMs > 0)) throw new UsageError('partitions: idleMs must be more than 0', { name: options.name })
  if (!(maxPartitions >= 1)) {
    throw new UsageError('partitions: maxPartitions must be at least 1', { name: options.name })
  }
  const definition = {
    name: options.name,
    module: options.module,
    ...(options.maxQueue === undefined ? {} : { maxQueue: options.maxQueue }),
    init(context: ActorContext, args: A) {
      const all = new Partitions(context, options as unknown as AnyOptions, args)
      return all.start()
    },
  }
  return actor(definition as unknown as ActorOptions<C, A>)
}

type AnyOptions = Omit<PartitionsOptions<AnyContract, unknown, unknown>, 'key'> & {
  key(type: string, ...body: readonly unknown[]): unknown
}

class Partitions {
  readonly #context: ActorContext
  readonly #options: AnyOptions
  readonly #args: unknown
  readonly #idleMs: number
  readonly #byKey = new Map<string, Partition>()
  readonly #byRef = new Map<number, Partition>()

  constructor(context: ActorContext, options: AnyOptions, args: unknown) {
    this.#context = context
    this.#options = options
    this.#args = args
    this.#idleMs = options.idleMs ?? 60_000
  }

  start(): object {
    this.#context.trapExit()
    this.#context.runtime.hearEndsFirst()
    this.#sweepLater()
    return anyMessage((type, body) => this.#route(type, body), {
      [sweep]: () => this.#sweep(),
      handleExit: (ref: AnyRef) => this.#ended(this.#byRef.get(ref.id)),
      terminate: () => this.#stopAll(),
    })
  }

  #route(type: string, body: readonly unknown[]): unknown {
    const { runtime, clock } = this.#context
    let partition: Partition | undefined
    try {
      const key = this.#options.key(type, ...body)
      if (typeof key !== 'string') throw new UsageError('a key must be a string')
      partition = this.#byKey.get(key)
      // Not before its predecessor has ended: there is one at a time.
      if (partition?.isStopping === true) return this.#context.stash()
      if (partition === undefined) {
        const room = this.#makeRoom()
        if (room === 'soon') return this.#context.stash()
        if (room === 'none') return runtime.refuse('overloaded', 'all partitions are busy')
        partition = this.#spawn(key)
      }
    } catch (error) {
      const reason = errorReason(error)
      return runtime.refuse('down', reason.message ?? 'its partition did not start', reason)
    }
    const one = partition
    one.busy++
    one.lastUsed = clock.monotonic()
    return runtime.passOn(one.ref, type, body, () => {
      one.busy--
      one.lastUsed = clock.monotonic()
    })
  }

  #makeRoom(): 'now' | 'soon' | 'none' {
    if (this.#byKey.size < (this.#options.maxPartitions ?? 10_000)) return 'now'
    let oldest: Partition | undefined
    let isStopping = false
    for (const partition of this.#byKey.values()) {
      if (partition.isStopping) isStopping = true
      else if (partition.busy === 0 && partition.lastUsed < (oldest?.lastUsed ?? Infinity)) oldest = partition
    }
    if (oldest !== undefined) this.#retire(oldest)
    return oldest !== undefined || isStopping ? 'soon' : 'none'
  }

  #spawn(key: string): Partition {
    const { partition: definition, partitionArgs, placement } = this.#options
    let partition: Partition | undefined
    const ref = this.#context.runtime.spawnChild(
      definition,
      partitionArgs(key, this.#args),
      { childId: key, restarts: 0, ...(placement === undefined ? {} : { placement }) },
      (reason) => {
        if (reason !== undefined) this.#ended(partition)
      },
    )
    partition = { key, ref, busy: 0, lastUsed: 0, isStopping: false }
    this.#byKey.set(key, partition)
    this.#byRef.set(ref.id, partition)
    return partition
  }

  #ended(partition: Partition | undefined): void {
    if (partition === undefined || !this.#byRef.delete(partition.ref.id)) return
    this.#byKey.delete(partition.key)
    // Messages for its key among them; the others are put aside again.
    this.#context.unstashAll()
  }

  #retire(partition: Partition): Promise<void> {
    partition.isStopping = true
    return new Promise((resolve) => {
      this.#context.runtime.stopChild(partition.ref, this.#options.shutdownMs ?? 5_000, () => {
        this.#ended(partition)
        resolve()
      })
    })
  }

  #sweepLater(): void {
    const { sendAfter } = this.#context as unknown as { sendAfter(ms: number, type: string): number }
    // Retired at the latest a quarter of the time too late.
    sendAfter.call(this.#context, Math.max(1, this.#idleMs / 4), sweep)
  }

  #sweep(): void {
    const before = this.#context.clock.monotonic() - this.#idleMs
    for (const partition of this.#byKey.values()) {
      const { isStopping, busy, lastUsed } = partition
      if (!isStopping && busy === 0 && lastUsed <= before) void this.#retire(partition)
    }
    this.#sweepLater()
  }

  async #stopAll(): Promise<void> {
    const running = [...this.#byKey.values()].filter(({ isStopping }) => !isStopping)
    await Promise.all(running.map((partition) => this.#retire(partition)))
  }
}
