/**
 * Counts what each client does, for all services and threads, as Postfix's anvil(8). A session that ends, also because
 * its thread died, is uncounted by its monitor.
 */
import { type ActorContext, type AnyRef, actor, type Contract, type Down } from '../actors/index.ts'
import { defaults } from '../config/schema.ts'
import type { Config } from '../config/settings.ts'
import { Clients } from './clients.ts'
import { anvilSettings } from './config.ts'
import type { AnvilContract, ClientActivity, ClientUse } from './contract.ts'
import { UnderWay } from './under-way.ts'

/** With the messages it sends to itself. */
type AnvilMessages = AnvilContract & Contract<{ sweep(): void; report(): void }>

interface Connection {
  readonly service: string
  readonly address: string
  readonly monitor: number
}

const defaultSettings = defaults(anvilSettings)

class Anvil {
  readonly #context: ActorContext<AnvilMessages>
  readonly #clients = new Clients()
  readonly #connections = new Map<string, Connection>()
  readonly #sessions = new Map<number, string>()
  readonly #underWay = new UnderWay()
  /** Sessions that have something under way, by monitor. */
  readonly #busy = new Map<number, string>()

  constructor(context: ActorContext<AnvilMessages>) {
    this.#context = context
    context.sendAfter(this.#settings.rate_time_unit, 'sweep')
    context.sendAfter(this.#settings.status_update_time, 'report')
  }

  connected(owner: AnyRef, session: string, service: string, address: string): ClientUse {
    this.#gone(session)
    const monitor = this.#context.monitor(owner)
    this.#connections.set(session, { service, address, monitor })
    this.#sessions.set(monitor, session)
    return this.#clients.connected(service, address, this.#now, this.#settings.rate_time_unit)
  }

  did(activity: ClientActivity, service: string, address: string): number {
    return this.#clients.did(activity, service, address, this.#now, this.#settings.rate_time_unit)
  }

  begin(owner: AnyRef, session: string, kind: string, limit: number): boolean {
    return this.#underWay.begin(session, kind, limit, () => {
      const monitor = this.#context.monitor(owner)
      this.#busy.set(monitor, session)
      return monitor
    })
  }

  finish(session: string): void {
    const monitor = this.#underWay.finish(session)
    if (monitor === undefined) return
    this.#busy.delete(monitor)
    this.#context.demonitor(monitor)
  }

  sweep(): void {
    const { rate_time_unit } = this.#settings
    this.#clients.sweep(this.#now, rate_time_unit)
    this.#context.sendAfter(rate_time_unit, 'sweep')
  }

  report(): void {
    const peaks = this.#clients.takePeaks()
    if (peaks.length > 0) {
      const facts = { event: 'anvil.statistics', peaks, clients: this.#clients.size }
      this.#context.log.info(facts, 'most of one client')
    }
    this.#context.sendAfter(this.#settings.status_update_time, 'report')
  }

  handleDown({ monitor }: Down): void {
    const session = this.#sessions.get(monitor)
    if (session !== undefined) this.#gone(session)
    const busy = this.#busy.get(monitor)
    if (busy !== undefined) this.finish(busy)
  }

  get #settings() {
    return this.#context.setting<Config>('config')?.anvil ?? defaultSettings
  }

  get #now(): number {
    return this.#context.clock.monotonic()
  }

  #gone(session: string): void {
    const connection = this.#connections.get(session)
    if (connection === undefined) return
    this.#connections.delete(session)
    this.#sessions.delete(connection.monitor)
    this.#context.demonitor(connection.monitor)
    this.#clients.disconnected(connection.service, connection.address)
  }
}

/** Registered as `anvil`; one for the whole service. */
export const anvilActor = actor<AnvilMessages>({
  name: 'anvil',
  module: import.meta.url,
  init: (context) => new Anvil(context),
})
