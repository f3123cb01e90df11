/** Deliveries that run: starts them, with an idle connection where there is one, and knows whose report is whose. */
import type { ActorContext, ActorRef, AnyActorDefinition, AnyRef } from '../actors/index.ts'
import type { CacheContract, Lease } from '../cache/contract.ts'
import { destinationLabel } from '../cache/labels.ts'
import { lateAnswerMs, lentInTime } from '../cache/lending.ts'
import type { ActiveMail } from './active.ts'
import type { ConnectionLease, Content, DeliveryReport, DeliveryRequest } from './contract.ts'
import type { DeliveriesContract } from './deliveries.ts'
import type { Selection } from './transport.ts'

/** A delivery from its selection to its report. */
export interface Running extends Selection {
  readonly key: number
  readonly content: Content
  /** On the clock that never jumps, milliseconds. */
  readonly since: number
  /** Use of the connection cache. */
  readonly cache: CacheUse
}

/** Whether a delivery looks for an idle connection, and whether it leaves its own behind. */
export interface CacheUse {
  readonly load: boolean
  readonly store: boolean
  /** Connections belong to the sender as well. */
  readonly bySender: boolean
  /** How long to wait for the cache, milliseconds. */
  readonly timeoutMs: number
}

type Route = Pick<DeliveryRequest, 'transport' | 'nexthop'>

/** The delivery actor of a transport. */
export type DispatcherActors = (transport: string) => AnyActorDefinition

export class Dispatcher {
  readonly #context: ActorContext
  readonly #actors: DispatcherActors
  readonly #running = new Map<number, Running>()
  readonly #byRecipient = new Map<number, Running>()
  #deliveries: ActorRef<DeliveriesContract> | undefined
  #nextKey = 1

  constructor(context: ActorContext, actors: DispatcherActors) {
    this.#context = context
    this.#actors = actors
  }

  get size(): number {
    return this.#running.size
  }

  /** The delivery that has the recipient, if one runs. */
  runningOf(recipient: number): Running | undefined {
    return this.#byRecipient.get(recipient)
  }

  start(selection: Selection, content: Content, cache: CacheUse): void {
    const key = this.#nextKey++
    const running: Running = {
      ...selection,
      key,
      content,
      since: this.#context.clock.monotonic(),
      cache,
    }
    this.#add(running)
    const actor = cache.load ? this.#context.whereis<CacheContract>('cache') : undefined
    if (actor === undefined) {
      this.#spawn(running, null)
      return
    }
    const { transport, nexthop } = selection.site
    const { smtputf8, requiretls, sender } = selection.mail.stored
    const label = destinationLabel({
      transport: transport.name,
      nexthop,
      ...(cache.bySender ? { sender } : {}),
      ...(smtputf8 === true ? { smtputf8 } : {}),
      ...(requiretls === true ? { requiretls } : {}),
    })
    const asked = actor.askWith({ timeoutMs: lateAnswerMs + cache.timeoutMs }, 'findDestination', label)
    lentInTime(asked, cache.timeoutMs).then(
      this.#context.bind((lease: Lease | null) => this.#spawn(running, lease)),
    )
  }

  /** Starts a delivery anew where the connection is that it found. Nothing was done for it before. */
  relocate(recipient: number, lease: Lease): void {
    const running = this.#byRecipient.get(recipient)
    if (running === undefined) {
      lease.keeper.tell('close', lease.connection)
      return
    }
    this.#spawn(this.#renewed(running), lease)
  }

  /** Starts a delivery anew with another transport; it takes the place of the one that asked, at its site too. */
  reroute(recipient: number, transport: string, nexthop: string): void {
    const running = this.#byRecipient.get(recipient)
    if (running !== undefined) this.#spawn(this.#renewed(running), null, { transport, nexthop })
  }

  /** Under another name: the end of the delivery that goes away is not the end of this one. */
  #renewed(running: Running): Running {
    const renewed = { ...this.#take(running), key: this.#nextKey++ }
    this.#add(renewed)
    return renewed
  }

  #add(running: Running): void {
    this.#running.set(running.key, running)
    for (const { id } of running.recipients) this.#byRecipient.set(id, running)
  }

  /** Takes the delivery that made a report out of the books; undefined: it is not one of ours any more. */
  reported(report: DeliveryReport): Running | undefined {
    for (const { id } of report.results) {
      const running = this.#byRecipient.get(id)
      if (running !== undefined) return this.#take(running)
    }
    return undefined
  }

  /** Takes a delivery that ended out of the books; undefined: it had reported before, as it should. */
  ended(key: number): Running | undefined {
    const running = this.#running.get(key)
    return running === undefined ? undefined : this.#take(running)
  }

  /** Recipients of a mail that are being delivered. */
  recipientsOf(mail: ActiveMail): ReadonlySet<number> {
    const ids = new Set<number>()
    for (const running of this.#running.values()) {
      if (running.mail === mail) for (const { id } of running.recipients) ids.add(id)
    }
    return ids
  }

  /** Ends deliveries that run since before `since`; returns how many. They are heard of by `ended`. */
  killOlder(since: number): number {
    let count = 0
    for (const running of this.#running.values()) {
      if (running.since >= since) continue
      this.#findDeliveries()?.tell('kill', running.key)
      count += 1
    }
    return count
  }

  #take(running: Running): Running {
    this.#running.delete(running.key)
    for (const { id } of running.recipients) this.#byRecipient.delete(id)
    return running
  }

  #spawn(running: Running, lease: Lease | null, route?: Route): void {
    const { transport, nexthop } = running.site
    const taken = route ?? { transport: transport.name, nexthop }
    const definition = this.#actors(taken.transport)
    const request = { ...toRequest(running, lease), ...taken }
    const nextTo: AnyRef | null = lease === null ? null : lease.keeper
    const deliveries = this.#findDeliveries()
    if (deliveries?.tell('start', running.key, definition, request, nextTo) !== true) {
      // The supervisor restarts, and this actor with it: see the tree.
      this.#context.self.tell('deliveryEnded', running.key, { kind: 'no_actor' })
    }
  }

  #findDeliveries(): ActorRef<DeliveriesContract> | undefined {
    this.#deliveries ??= this.#context.whereis<DeliveriesContract>('deliveries')
    return this.#deliveries
  }
}

/** Without its keeper: the delivery is started where that is. */
function leaseOf({ connection, endpoint, setupMs }: Lease): ConnectionLease {
  return { connection, endpoint, setupMs }
}

function toRequest(running: Running, lease: Lease | null): Omit<DeliveryRequest, keyof Route> {
  const { mail, recipients, content, cache } = running
  const { stored } = mail
  return {
    queueId: stored.queueId,
    sender: stored.sender,
    ...(stored.envid === undefined ? {} : { envid: stored.envid }),
    ...(stored.ret === undefined ? {} : { ret: stored.ret }),
    ...(stored.body === undefined ? {} : { body: stored.body }),
    ...(stored.smtputf8 === undefined ? {} : { smtputf8: stored.smtputf8 }),
    ...(stored.requiretls === undefined ? {} : { requiretls: stored.requiretls }),
    ...(stored.trace === 'verify' ? { probe: true } : {}),
    size: stored.size,
    content,
    arrivedAt: stored.arrivedAt,
    activeAt: mail.activeAt,
    client: stored.client,
    recipients: recipients.map(({ attempts: _, ...recipient }) => recipient),
    ...(lease === null ? {} : { lease: leaseOf(lease) }),
    cacheConnection: cache.store,
    ...(cache.load ? { reuseConnection: true } : {}),
  }
}
