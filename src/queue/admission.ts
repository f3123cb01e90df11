/** Where a recipient goes that has come into memory: to a site, or to a result without a delivery. */
import type { RecipientResult } from './contract.ts'
import { isUnroutable, Router } from './routing.ts'
import type { Scheduler } from './scheduler.ts'
import { type QueueSources, routingSettings } from './settings.ts'
import { type Site, suspended } from './site.ts'

/** What the queue decides about a recipient by itself. */
export interface OwnResult extends Pick<RecipientResult, 'status' | 'dsn' | 'reply'> {
  /** `transport:nexthop`; empty: it has none. */
  readonly site: string
}

export class Admission {
  /** A flush is under way: transports that are set aside are tried too. */
  ignoresDeferTransports = false
  #config: QueueSources
  readonly #scheduler: Scheduler
  readonly #transports: ReadonlySet<string>
  #router: Router

  constructor(config: QueueSources, scheduler: Scheduler, transports: ReadonlySet<string>) {
    this.#config = config
    this.#scheduler = scheduler
    this.#transports = transports
    this.#router = new Router(routingSettings(config))
  }

  /** Counts for recipients that come into memory from now on. */
  configure(config: QueueSources): void {
    this.#config = config
    this.#router = new Router(routingSettings(config))
  }

  find(address: string, now: number): Site | OwnResult {
    const { hostname, dsn, queue } = this.#config
    if (address === `${dsn.double_bounce_sender}@${hostname}`) {
      return { site: '', status: 'sent', dsn: '2.0.0', reply: 'notices about notices are dropped' }
    }
    const route = this.#router.route(address)
    if (isUnroutable(route)) return { site: '', status: 'bounced', dsn: route.dsn, reply: route.reason }
    const { transport } = route
    const key = `${transport}:${route.nexthop}`
    if (!this.#transports.has(transport)) {
      return { site: key, status: 'deferred', dsn: '4.3.5', reply: `there is no transport ${transport}` }
    }
    if (!this.ignoresDeferTransports && queue.defer_transports.includes(transport)) {
      const reply = `mail by ${transport} waits until it is asked for`
      return { site: key, status: 'deferred', dsn: '4.3.2', reply }
    }
    const site = this.#scheduler.site(route, address)
    const trouble = site.troubleAt(now)
    if (trouble === undefined) return site
    return { site: key, status: 'deferred', dsn: trouble.dsn, reply: suspended(site, trouble.reason) }
  }

  /** `transport:nexthop` of an address, for listings. */
  destination(address: string): string {
    const route = this.#router.route(address)
    return isUnroutable(route) ? '' : `${route.transport}:${route.nexthop}`
  }
}
