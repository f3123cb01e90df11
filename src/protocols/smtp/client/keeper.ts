/**
 * The keeper of a delivery thread holds its idle connections and watches them: a server that hangs up, says 421 or
 * anything else retires the connection at once. Which one is used again is the cache's to decide; deliveries of this
 * thread take it from here by its number.
 *
 * It outlives the deliveries: the first one that may keep a connection asks the cache to start it on its thread.
 */
import { type ActorContext, type ActorRef, actor } from '../../../actors/index.ts'
import type { CacheContract, KeeperContract } from '../../../cache/contract.ts'
import { lateAnswerMs, lentInTime } from '../../../cache/lending.ts'
import type { Config } from '../../../config/settings.ts'
import type { ConnectionFinder, KeepLabels, SessionKeeper } from './environment.ts'
import type { Run, Session, SessionListener } from './session.ts'

/**
 * The cache says when an idle connection ends. Should it have forgotten, or lent it to somebody who is no more, it ends
 * anyway: so much later than those who were lent one may take to come for it.
 */
const graceMs = 5_000
/** Limit for what QUIT of an idle connection may take. */
const quitMs = 10_000

class Keeper implements SessionKeeper {
  readonly #context: ActorContext<KeeperContract>
  readonly #run: Run
  readonly #idle = new Map<number, Session>()
  #lastNumber = 0

  constructor(context: ActorContext<KeeperContract>) {
    this.#context = context
    this.#run = context.bind((task: (argument: never) => void, argument: unknown) => task(argument as never))
  }

  put(session: Session, labels: KeepLabels): boolean {
    const cache = this.#context.whereis<CacheContract>('cache')
    if (cache === undefined || !session.alive || session.hasStrayInput) return false
    const connection = ++this.#lastNumber
    const known = cache.tell('save', {
      keeper: this.#context.self,
      connection,
      ...labels,
      endpoint: session.endpoint,
      setupMs: session.setupMs,
      relay: session.relay,
      tls: session.tls !== undefined,
      uses: session.uses,
    })
    if (!known) return false
    this.#idle.set(connection, session)
    session.attach(this.#watcher(connection), this.#run)
    session.expect(labels.ttlMs + this.#protocolMs + graceMs)
    return true
  }

  get #protocolMs(): number {
    return this.#context.setting<Config>('config')!.cache.protocol_timeout
  }

  /** Killed actors are not asked, and hear nothing of what they left open. */
  get isAlive(): boolean {
    let ran = false
    this.#run(() => {
      ran = true
    }, undefined)
    return ran
  }

  get ref(): ActorRef<KeeperContract> {
    return this.#context.self
  }

  take(connection: number): Session | undefined {
    const session = this.#idle.get(connection)
    if (session === undefined) return undefined
    this.#idle.delete(connection)
    session.detach()
    if (session.alive && !session.hasStrayInput && !session.damaged) return session
    session.destroy()
    return undefined
  }

  close(connection: number): void {
    const session = this.#idle.get(connection)
    this.#idle.delete(connection)
    session?.part({ waitMs: quitMs, waitForReply: false })
  }

  closeAll(): void {
    for (const connection of this.#idle.keys()) this.close(connection)
  }

  #watcher(connection: number): SessionListener {
    const gone = () => {
      const session = this.#idle.get(connection)
      if (session === undefined) return
      this.#idle.delete(connection)
      session.destroy()
      // If this gets lost, the next one who wants the connection will find out.
      this.#context.whereis<CacheContract>('cache')?.tell('gone', [connection], this.#context.self)
    }
    return { onInput: gone, onReply: gone, onEnd: gone }
  }
}

/** What the deliveries of one thread know of its keeper. */
interface KeeperPlace {
  keeper: Keeper | undefined
  /** When the start of one was asked for. */
  startedAt: number
}

/** Should a start get lost, it is asked for again after this long. */
const startRetryMs = 5_000

const placeOf = (context: ActorContext): KeeperPlace =>
  context.local<KeeperPlace>('smtp.keeper', () => ({
    keeper: undefined,
    startedAt: Number.NEGATIVE_INFINITY,
  }))

/** The keeper of this thread, if there is one. */
export function keeperOf(context: ActorContext): SessionKeeper | undefined {
  const place = placeOf(context)
  const { keeper } = place
  if (keeper === undefined || keeper.isAlive) return keeper
  leave(place)
  return undefined
}

/** The next delivery has another keeper started. */
function leave(place: KeeperPlace): void {
  const { keeper } = place
  place.keeper = undefined
  place.startedAt = Number.NEGATIVE_INFINITY
  keeper?.closeAll()
}

/** Idle connections of all threads, by way of the cache. */
export function connectionsOf(context: ActorContext, timeoutMs: number): ConnectionFinder {
  return {
    async find(endpoint, destination, onlyHere) {
      const cache = context.whereis<CacheContract>('cache')
      const here = placeOf(context).keeper?.ref
      if (cache === undefined || (onlyHere && here === undefined)) return undefined
      const only = onlyHere ? here! : null
      const asked = cache.askWith(
        { timeoutMs: lateAnswerMs + timeoutMs },
        'findEndpoint',
        endpoint,
        destination,
        only,
      )
      const lease = await lentInTime(asked, timeoutMs)
      return lease === null ? undefined : { lease, isHere: lease.keeper.id === here?.id }
    },
    wasted(destination, { connection, setupMs }) {
      placeOf(context).keeper?.close(connection)
      context.whereis<CacheContract>('cache')?.tell('wasted', destination, setupMs)
    },
  }
}

/** Has the keeper of this thread started if there is none. Does not wait: until it is there, nothing is kept. */
export function startKeeper(context: ActorContext): void {
  const place = placeOf(context)
  const now = performance.now()
  if (keeperOf(context) !== undefined || now - place.startedAt < startRetryMs) return
  const cache = context.whereis<CacheContract>('cache')
  if (cache === undefined) return
  place.startedAt = now
  cache.tell('startKeeper', keeper, context.self)
}

export const keeper = actor<KeeperContract, undefined>({
  name: 'keeper',
  module: import.meta.url,
  // Or its thread would never be idle, and never drained.
  resident: true,
  init(context) {
    const place = placeOf(context as unknown as ActorContext)
    if (keeperOf(context as unknown as ActorContext) !== undefined) {
      // Two deliveries asked at the same time: one keeper is enough.
      context.stop()
      return { close() {} }
    }
    const held = new Keeper(context)
    place.keeper = held
    return {
      close: (connection) => held.close(connection),
      terminate: () => leave(place),
    }
  },
})
