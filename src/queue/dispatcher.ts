/** Deliveries that run: starts them, with an idle connection where there is one, and knows whose report is whose. */
import type { ActorContext, ActorRef, AnyActorDefinition, AnyRef } from '../actors/index.ts'
import type { CacheContract, Lease } from '../cache/contract.ts'
import { destinationLabel } from '../cache/labels.ts'
import { lateAnswerMs, lentInTime } from '../cache/lending.ts'
import type { ActiveMail } from './active.ts'
import type { ConnectionLease, Content, DeliveryReport, DeliveryRequest, Onward } from './contract.ts'
import type { DeliveriesContract } from './deliveries.ts'
import type { Site } from './site.ts'
import type { Selection } from './transport.ts'

/** A request from its selection to its report. */
export interface Running extends Selection {
  readonly content: Content
  /** When it began, on the clock that never jumps, milliseconds; undefined: its delivery has another one to do first. */
  since: number | undefined
  /** Use of the connection cache. */
  readonly cache: CacheUse
  /** Who does it. */
  readonly slot: Slot
}

/** A delivery actor: what it does, what it does next. One that does nothing waits for its next request. */
interface Slot {
  readonly key: number
  readonly site: Site
  /** Of all requests it gets: any connection that is good for one is good for the others. Undefined: it gets one only. */
  readonly label: string | undefined
  /** On the clock that never jumps, milliseconds. */
  readonly startedAt: number
  current: Running | undefined
  next: Running | undefined
  /** What it took to make its connection, milliseconds. */
  setupMs: number
  /** It was told with its last request that there may be another one. */
  stays: boolean
}

/** What a report brings about. */
export interface Reported {
  readonly running: Running
  /** What its delivery does now. */
  readonly begun: Running | undefined
  /** What its delivery will not come to. */
  readonly returned: Running | undefined
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

/** So long, milliseconds, a delivery actor goes from request to request: its thread may be wanted empty. */
const longestStayMs = 10_000

/** The delivery actor of a transport. */
export type DispatcherActors = (transport: string) => AnyActorDefinition

export class Dispatcher {
  readonly #context: ActorContext
  readonly #actors: DispatcherActors
  readonly #slots = new Map<number, Slot>()
  readonly #byRecipient = new Map<number, Running>()
  /** Those that wait for a request, by label. */
  readonly #idle = new Map<string, Slot[]>()
  /** Those that could be given their next request now. */
  readonly #hungry = new Set<Slot>()
  #deliveries: ActorRef<DeliveriesContract> | undefined
  #nextKey = 1
  #size = 0

  constructor(context: ActorContext, actors: DispatcherActors) {
    this.#context = context
    this.#actors = actors
  }

  /** Requests that were selected and not reported on. */
  get size(): number {
    return this.#size
  }

  /** The request that has the recipient, if it was selected. */
  runningOf(recipient: number): Running | undefined {
    return this.#byRecipient.get(recipient)
  }

  /** Starts a delivery, or gives the request to one that waits for it. */
  start(selection: Selection, content: Content, cache: CacheUse): void {
    const label = cache.load ? labelOf(selection, cache) : undefined
    const waiting = label === undefined ? undefined : this.#idle.get(label)?.pop()
    if (waiting !== undefined) {
      this.#give(waiting, this.#add({ ...selection, content, cache, since: this.#monotonic, slot: waiting }))
      return
    }
    const running = this.#inNewSlot({ ...selection, content, cache }, cache.store ? label : undefined)
    const actor = label === undefined ? undefined : this.#context.whereis<CacheContract>('cache')
    if (actor === undefined || label === undefined) {
      this.#spawn(running, null)
      return
    }
    const asked = actor.askWith({ timeoutMs: lateAnswerMs + cache.timeoutMs }, 'findDestination', label)
    lentInTime(asked, cache.timeoutMs).then(
      this.#context.bind((lease: Lease | null) => this.#spawn(running, lease)),
    )
  }

  /**
   * Gives deliveries their next request while they are at work, so that they need not wait for it. `select` finds the
   * next one of a site, which is not to start before.
   */
  lookAhead(
    select: (site: Site) => { selection: Selection; content: Content; cache: CacheUse } | undefined,
  ): void {
    for (const slot of this.#hungry) {
      this.#hungry.delete(slot)
      if (!this.#suits(slot)) continue
      const found = select(slot.site)
      if (found === undefined) continue
      const { selection, cache } = found
      if (!cache.load || !cache.store || labelOf(selection, cache) !== slot.label) {
        selection.site.transport.giveBack(selection)
        continue
      }
      this.#give(slot, this.#add({ ...selection, content: found.content, cache, since: undefined, slot }))
    }
  }

  /** Whether what is first at its site may go over the same connection. */
  #suits({ site, label, current }: Slot): boolean {
    const mail = site.first?.job.mail
    return mail !== undefined && current !== undefined && labelOf({ site, mail }, current.cache) === label
  }

  /** Those that wait for a request and got none are not needed. */
  endIdle(): void {
    for (const [label, slots] of this.#idle) {
      this.#idle.delete(label)
      for (const { key } of slots) this.#findDeliveries()?.tell('end', key)
    }
  }

  #give(slot: Slot, running: Running): void {
    if (slot.current === undefined) this.#begin(slot, running)
    else slot.next = running
    const request = this.#toRequest(running, null, routeOf(running))
    if (this.#findDeliveries()?.tell('next', slot.key, request) !== true) {
      this.#context.self.tell('returned', request.recipients[0]!.id, slot.key)
    }
  }

  /** It does this now, with the connection it has. */
  #begin(slot: Slot, running: Running): void {
    slot.current = running
    running.since = this.#monotonic
    if (slot.label === undefined) return
    if (slot.stays) this.#hungry.add(slot)
    this.#context.whereis<CacheContract>('cache')?.tell('handedOn', slot.label, slot.setupMs)
  }

  #toRequest(running: Running, lease: Lease | null, route: Route): DeliveryRequest {
    const { slot, site } = running
    const isYoung = this.#monotonic - slot.startedAt < longestStayMs
    slot.stays = slot.label !== undefined && site.waiting > 0 && isYoung
    if (slot.stays && slot.next === undefined) this.#hungry.add(slot)
    return { ...toRequest(running, lease), ...route, ...(slot.stays ? { stays: true } : {}) }
  }

  /** Starts a delivery anew where the connection is that it found. Nothing was done for it before. */
  relocate(recipient: number, lease: Lease): Running | undefined {
    const running = this.#byRecipient.get(recipient)
    if (running === undefined) {
      lease.keeper.tell('close', lease.connection)
      return undefined
    }
    return this.#renew(running, lease)
  }

  /** Starts a delivery anew with another transport; it takes the place of the one that asked, at its site too. */
  reroute(recipient: number, transport: string, nexthop: string): Running | undefined {
    const running = this.#byRecipient.get(recipient)
    return running === undefined ? undefined : this.#renew(running, null, { transport, nexthop })
  }

  /** Under another name: the end of the delivery that goes away is not the end of this one. Returns what that one will not come to. */
  #renew(running: Running, lease: Lease | null, route?: Route): Running | undefined {
    const { slot, site, job, mail, recipients, content, cache } = running
    this.#take(running)
    const left = this.#leave(slot)
    const label = route === undefined ? slot.label : undefined
    this.#spawn(this.#inNewSlot({ site, job, mail, recipients, content, cache }, label), lease, route)
    return left
  }

  #inNewSlot(running: Omit<Running, 'slot' | 'since'>, label: string | undefined): Running {
    const slot: Slot = {
      key: this.#nextKey++,
      site: running.site,
      label,
      startedAt: this.#monotonic,
      current: undefined,
      next: undefined,
      setupMs: 0,
      stays: false,
    }
    this.#slots.set(slot.key, slot)
    slot.current = this.#add({ ...running, since: slot.startedAt, slot })
    return slot.current
  }

  #add(running: Running): Running {
    this.#size += 1
    for (const { id } of running.recipients) this.#byRecipient.set(id, running)
    return running
  }

  #take(running: Running): Running {
    this.#size -= 1
    for (const { id } of running.recipients) this.#byRecipient.delete(id)
    return running
  }

  /** A delivery takes nothing any more. Returns what it was given and will not come to. */
  #leave(slot: Slot): Running | undefined {
    const { next } = slot
    slot.current = undefined
    slot.next = undefined
    this.#slots.delete(slot.key)
    this.#hungry.delete(slot)
    if (slot.label !== undefined) remove(this.#idle.get(slot.label), slot)
    return next === undefined ? undefined : this.#take(next)
  }

  /** Takes the request that a report is about out of the books; undefined: it is not one of ours any more. */
  reported(report: DeliveryReport, onward: Onward | undefined): Reported | undefined {
    const running = this.#ofReport(report)
    if (running === undefined) return undefined
    this.#take(running)
    const { slot } = running
    if (slot.current !== running) return { running, begun: undefined, returned: undefined }
    if (onward === undefined) return { running, begun: undefined, returned: this.#leave(slot) }
    slot.setupMs = onward.setupMs
    slot.current = undefined
    this.#hungry.delete(slot)
    const { next } = slot
    if (next !== undefined) {
      slot.next = undefined
      this.#begin(slot, next)
    } else if (slot.label !== undefined) push(this.#idle, slot.label, slot)
    return { running, begun: next, returned: undefined }
  }

  #ofReport(report: DeliveryReport): Running | undefined {
    for (const { id } of report.results) {
      const running = this.#byRecipient.get(id)
      if (running !== undefined) return running
    }
    return undefined
  }

  /** A delivery gave back what it was to do next; with its `key`: it did not get it, which may have gone elsewhere since. */
  returned(recipient: number, key?: number): Running | undefined {
    const running = this.#byRecipient.get(recipient)
    if (running === undefined) return undefined
    const { slot } = running
    if (key !== undefined && key !== slot.key) return undefined
    if (slot.next === running) slot.next = undefined
    else if (key === undefined) return undefined
    else slot.current = undefined
    return this.#take(running)
  }

  /**
   * A delivery is no more. `crashed`: what it did and did not report on; undefined: it had reported, as it should.
   * `returned`: what it did not come to. One that ended by itself has reported on all that it began.
   */
  ended(key: number, byItself: boolean): { crashed: Running | undefined; returned: readonly Running[] } {
    const slot = this.#slots.get(key)
    if (slot === undefined) return { crashed: undefined, returned: [] }
    const { current, label } = slot
    const left = this.#leave(slot)
    const returned = left === undefined ? [] : [left]
    if (current === undefined) return { crashed: undefined, returned }
    this.#take(current)
    if (!byItself || label === undefined) return { crashed: current, returned }
    return { crashed: undefined, returned: [current, ...returned] }
  }

  /** Recipients of a mail that are being delivered. */
  recipientsOf(mail: ActiveMail): ReadonlySet<number> {
    const ids = new Set<number>()
    for (const [id, running] of this.#byRecipient) if (running.mail === mail) ids.add(id)
    return ids
  }

  /** Ends deliveries whose request began before `since`; returns how many. They are heard of by `ended`. */
  killOlder(since: number): number {
    let count = 0
    for (const { key, current } of this.#slots.values()) {
      if (current?.since === undefined || current.since >= since) continue
      this.#findDeliveries()?.tell('kill', key)
      count += 1
    }
    return count
  }

  get #monotonic(): number {
    return this.#context.clock.monotonic()
  }

  #spawn(running: Running, lease: Lease | null, route?: Route): void {
    const taken = route ?? routeOf(running)
    const definition = this.#actors(taken.transport)
    const request = this.#toRequest(running, lease, taken)
    const nextTo: AnyRef | null = lease === null ? null : lease.keeper
    const { slot } = running
    const deliveries = this.#findDeliveries()
    if (deliveries?.tell('start', slot.key, definition, request, nextTo) !== true) {
      // The supervisor restarts, and this actor with it: see the tree.
      this.#context.self.tell('deliveryEnded', slot.key, { kind: 'no_actor' })
    }
  }

  #findDeliveries(): ActorRef<DeliveriesContract> | undefined {
    this.#deliveries ??= this.#context.whereis<DeliveriesContract>('deliveries')
    return this.#deliveries
  }
}

const routeOf = ({ site }: Running): Route => ({ transport: site.transport.name, nexthop: site.nexthop })

/** Any connection with this label is good for the mail. */
function labelOf({ site, mail }: Pick<Selection, 'site' | 'mail'>, { bySender }: CacheUse): string {
  const { smtputf8, requiretls, sender } = mail.stored
  return destinationLabel({
    transport: site.transport.name,
    nexthop: site.nexthop,
    ...(bySender ? { sender } : {}),
    ...(smtputf8 === true ? { smtputf8 } : {}),
    ...(requiretls === true ? { requiretls } : {}),
  })
}

function push<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key)
  if (list === undefined) lists.set(key, [value])
  else list.push(value)
}

function remove<V>(list: V[] | undefined, value: V): void {
  const index = list?.indexOf(value) ?? -1
  if (index >= 0) list?.splice(index, 1)
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
