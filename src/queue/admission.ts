/** Where a recipient goes that has come into memory: to a site, or to a result without a delivery. */
import type { RecipientResult } from './contract.ts'
import { isUnroutable, type Route, Router } from './routing.ts'
import type { Scheduler } from './scheduler.ts'
import { protocolOf, type QueueSources, routingSettings } from './settings.ts'
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
  #router: Router

  constructor(config: QueueSources, scheduler: Scheduler) {
    this.#config = config
    this.#scheduler = scheduler
    this.#router = new Router(routingSettings(config))
  }

  /** Counts for recipients that come into memory from now on. */
  configure(config: QueueSources): void {
    this.#config = config
    this.#router = new Router(routingSettings(config))
  }

  /** Whether there is mail that is set aside as it comes in. */
  get setsAside(): boolean {
    return !this.ignoresDeferTransports && this.#config.queue.defer_transports.length > 0
  }

  find(address: string, now: number): Site | OwnResult {
    const { hostname, dsn, queue } = this.#config
    if (address.toLowerCase() === `${dsn.double_bounce_sender}@${hostname}`.toLowerCase()) {
      return { site: '', status: 'sent', dsn: '2.0.0', reply: 'notices about notices are dropped' }
    }
    const route = this.#router.route(address)
    if (isUnroutable(route)) return { site: '', status: 'bounced', dsn: route.dsn, reply: route.reason }
    const { transport } = route
    const key = `${transport}:${route.nexthop}`
    if (this.setsAside && queue.defer_transports.includes(transport)) {
      const reply = `mail by ${transport} waits until it is asked for`
      return { site: key, status: 'deferred', dsn: '4.3.2', reply }
    }
    const protocol = protocolOf(this.#config, transport)
    if (protocol === undefined) {
      return { site: key, status: 'deferred', dsn: '4.3.5', reply: `there is no transport ${transport}` }
    }
    if (protocol === 'error' || protocol === 'retry' || protocol === 'discard') return own(protocol, route)
    const dead = this.#scheduler.transports.get(transport)?.troubleAt(now)
    if (dead !== undefined) {
      return { site: key, status: 'deferred', dsn: dead.why.dsn, reply: dead.why.reason }
    }
    const site = this.#scheduler.site(route, this.#mailbox(address))
    const trouble = site.troubleAt(now)
    if (trouble === undefined) return site
    return { site: site.key, status: 'deferred', dsn: trouble.dsn, reply: suspended(site, trouble.reason) }
  }

  /** The local part without its extension: two addresses of one mailbox are one destination. */
  #mailbox(address: string): string {
    const local = address.slice(0, Math.max(0, address.lastIndexOf('@')))
    for (const delimiter of this.#config.auth.recipient_delimiter) {
      const at = local.indexOf(delimiter, 1)
      if (at !== -1) return local.slice(0, at)
    }
    return local
  }

  /** `transport:nexthop` of an address, for listings. */
  destination(address: string): string {
    const route = this.#router.route(address)
    return isUnroutable(route) ? '' : `${route.transport}:${route.nexthop}`
  }
}

const statuses = { error: 'bounced', retry: 'deferred', discard: 'sent' } as const
const classes = { error: '5', retry: '4', discard: '2' } as const

/** `error:5.1.2 text`, `retry:4.3.2 text`, `discard:text`: the code may be left out, and the text too. */
function own(protocol: 'error' | 'retry' | 'discard', { transport, nexthop }: Route): OwnResult {
  const [, code, text = ''] = /^(?:(\d\.\d{1,3}\.\d{1,3})(?:\s+|$))?(.*)$/s.exec(nexthop) ?? []
  const digit = classes[protocol]
  const dsn = code?.startsWith(digit) === true ? code : `${digit}.0.0`
  const said = text === '' ? `mail by ${transport} is not delivered` : text
  return { site: `${transport}:${nexthop}`, status: statuses[protocol], dsn, reply: said }
}
