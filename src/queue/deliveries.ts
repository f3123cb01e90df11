/**
 * The supervisor of deliveries: a dynamic supervisor with temporary children, cut down to what the path of every
 * mail needs. One message starts a child, one says that it ended; nothing is asked and waited for. Registered as
 * `deliveries`, started before the queue and on its thread.
 */
import {
  type ActorContext,
  type ActorRef,
  type AnyActorDefinition,
  type AnyRef,
  actor,
  type ChildInfo,
  type Contract,
  type ExitReason,
  killed,
  MailactorsError,
} from '../actors/index.ts'
import type { DeliveryContract, DeliveryRequest } from './contract.ts'

export type DeliveriesContract = Contract<{
  /** From now on `owner` starts deliveries and hears of their ends. Those of an owner before are ended. */
  attach(owner: ActorRef<DeliveryOwnerContract>): void
  /** Starts a delivery, next to an actor or in the pool `deliveries`. `key` is the owner's name for it. */
  start(key: number, definition: AnyActorDefinition, request: DeliveryRequest, nextTo: AnyRef | null): void
  /** Gives a delivery that runs its next request. One that has ended meanwhile is heard of by `deliveryEnded`. */
  next(key: number, request: DeliveryRequest): void
  /** A delivery that waits for a request gets none any more. */
  end(key: number): void
  /** Ends a delivery without asking it. */
  kill(key: number): void
  whichChildren(): readonly ChildInfo[]
}>

/** What the owner takes. */
export type DeliveryOwnerContract = Contract<{
  /** A delivery is no more, for whatever reason; its reports came before. */
  deliveryEnded(key: number, reason: ExitReason): void
  /** A delivery could not be given its next request. Names one of its recipients. */
  returned(recipient: number, key: number): void
}>

interface Child {
  readonly key: number
  readonly ref: ActorRef<DeliveryContract>
  readonly name: string
  /** Of what it was given last. */
  queueId: string
}

class Deliveries {
  readonly #context: ActorContext<DeliveriesContract>
  readonly #byKey = new Map<number, Child>()
  readonly #byRef = new Map<number, Child>()
  #owner: ActorRef<DeliveryOwnerContract> | undefined
  #monitor: number | undefined

  constructor(context: ActorContext<DeliveriesContract>) {
    this.#context = context
    context.trapExit()
  }

  attach(owner: ActorRef<DeliveryOwnerContract>): void {
    if (this.#monitor !== undefined) this.#context.demonitor(this.#monitor)
    // What they report nobody understands any more; their mail is due again.
    this.#endAll()
    this.#owner = owner
    this.#monitor = this.#context.monitor(owner)
  }

  /** Next to the connection it is lent; when that has just died with its thread, anywhere, as if there had been none. */
  #spawn(definition: AnyActorDefinition, request: DeliveryRequest, nextTo: AnyRef | null): ActorRef {
    if (nextTo !== null) {
      try {
        return this.#context.spawnLink(definition, request, { placement: { nextTo } })
      } catch (error) {
        if (!(error instanceof MailactorsError)) throw error
      }
    }
    return this.#context.spawnLink(definition, request, { placement: { pool: 'deliveries' } })
  }

  start(key: number, definition: AnyActorDefinition, request: DeliveryRequest, nextTo: AnyRef | null): void {
    let ref: ActorRef
    try {
      ref = this.#spawn(definition, request, nextTo)
    } catch (error) {
      // In quarantine, or no thread takes it: nothing was started.
      if (!(error instanceof MailactorsError)) throw error
      this.#owner?.tell('deliveryEnded', key, { kind: 'no_actor', message: error.message, code: error.code })
      return
    }
    const child = { key, ref: ref as Child['ref'], name: definition.name, queueId: request.queueId }
    this.#byKey.set(key, child)
    this.#byRef.set(ref.id, child)
  }

  next(key: number, request: DeliveryRequest): void {
    const child = this.#byKey.get(key)
    if (child === undefined) return
    if (child.ref.tell('next', request)) child.queueId = request.queueId
    else this.#owner?.tell('returned', request.recipients[0]!.id, key)
  }

  end(key: number): void {
    this.#byKey.get(key)?.ref.tell('end')
  }

  kill(key: number): void {
    const child = this.#byKey.get(key)
    if (child !== undefined) this.#context.exit(child.ref, killed)
  }

  whichChildren(): readonly ChildInfo[] {
    return Array.from(this.#byKey.values(), ({ ref, name, queueId }) => ({
      id: queueId,
      ref,
      state: 'running',
      type: 'worker',
      name,
      restarts: 0,
      lastExit: null,
      crashes: [],
    }))
  }

  handleExit(ref: AnyRef, reason: ExitReason): void {
    const child = this.#byRef.get(ref.id)
    if (child === undefined) return
    this.#byRef.delete(ref.id)
    this.#byKey.delete(child.key)
    this.#owner?.tell('deliveryEnded', child.key, reason)
  }

  handleDown(): void {
    this.#owner = undefined
    this.#monitor = undefined
    this.#endAll()
  }

  #endAll(): void {
    for (const { ref } of this.#byKey.values()) this.#context.exit(ref, killed)
    this.#byKey.clear()
    this.#byRef.clear()
  }
}

export const deliveries = actor<DeliveriesContract>({
  name: 'deliveries',
  module: import.meta.url,
  // The owner alone fills it: a message for each start, one for each end.
  maxQueue: 1_000_000,
  init: (context) => new Deliveries(context),
})
