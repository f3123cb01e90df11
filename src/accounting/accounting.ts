/**
 * Counts the sessions of each user and address, for all services and threads. A session that ends without saying
 * so, because its thread died, is uncounted by its monitor.
 */
import { type ActorContext, type AnyRef, actor, type Down } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import type { AccountingContract, SessionInfo } from './contract.ts'

interface Counted {
  readonly info: SessionInfo
  readonly monitor: number
  readonly key: string
}

class Accounting {
  readonly #context: ActorContext<AccountingContract>
  readonly #bySession = new Map<string, Counted>()
  readonly #byMonitor = new Map<number, Counted>()
  /** Open sessions by service, user and address. */
  readonly #counts = new Map<string, number>()

  constructor(context: ActorContext<AccountingContract>) {
    this.#context = context
  }

  connect(owner: AnyRef, session: string, service: string, user: string, address: string): boolean {
    const limit = this.#context.setting<Config>('config')?.limits.max_userip_connections ?? 0
    const key = `${service}\0${user.toLowerCase()}\0${address}`
    // The same session asking again changes its user; it is not one more.
    this.disconnect(session)
    const open = this.#counts.get(key) ?? 0
    if (limit > 0 && open >= limit) return false
    const info = { session, service, user, address, since: this.#context.clock.now() }
    const counted = { info, key, monitor: this.#context.monitor(owner) }
    this.#bySession.set(session, counted)
    this.#byMonitor.set(counted.monitor, counted)
    this.#counts.set(key, open + 1)
    return true
  }

  disconnect(session: string): void {
    const counted = this.#bySession.get(session)
    if (counted === undefined) return
    this.#context.demonitor(counted.monitor)
    this.#forget(counted)
  }

  sessions(): readonly SessionInfo[] {
    return Array.from(this.#bySession.values(), ({ info }) => info)
  }

  handleDown({ monitor }: Down): void {
    const counted = this.#byMonitor.get(monitor)
    if (counted !== undefined) this.#forget(counted)
  }

  #forget({ info, monitor, key }: Counted): void {
    this.#bySession.delete(info.session)
    this.#byMonitor.delete(monitor)
    const left = (this.#counts.get(key) ?? 1) - 1
    if (left > 0) this.#counts.set(key, left)
    else this.#counts.delete(key)
  }
}

/** Registered as `accounting`; one for the whole service. */
export const accountingActor = actor<AccountingContract>({
  name: 'accounting',
  module: import.meta.url,
  init: (context) => new Accounting(context),
})
