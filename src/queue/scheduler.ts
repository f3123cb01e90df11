/** Who is next over all transports: they take turns. Knows nothing of actors, disk or clock. */
import type { ActiveMail, ActiveRecipient } from './active.ts'
import type { Route } from './routing.ts'
import type { Site } from './site.ts'
import { type Selection, Transport, type TransportSettings } from './transport.ts'

/** The settings of a transport by its name. */
export type SettingsOf = (transport: string) => TransportSettings

export class Scheduler {
  readonly transports = new Map<string, Transport>()
  #settingsOf: SettingsOf
  #ring: Transport[] = []
  #turn = 0

  constructor(settingsOf: SettingsOf) {
    this.#settingsOf = settingsOf
  }

  configure(settingsOf: SettingsOf): void {
    this.#settingsOf = settingsOf
    for (const transport of this.#ring) transport.configure(settingsOf(transport.name))
  }

  /** Deliveries that were selected and not done. */
  get running(): number {
    let running = 0
    for (const transport of this.#ring) running += transport.running
    return running
  }

  get hasSites(): boolean {
    return this.#ring.some(({ sites }) => sites.size > 0)
  }

  *sites(): Generator<Site> {
    for (const { sites } of this.#ring) yield* sites.values()
  }

  transport(name: string): Transport {
    let transport = this.transports.get(name)
    if (transport === undefined) {
      transport = new Transport(name, this.#settingsOf(name))
      this.transports.set(name, transport)
      this.#ring.push(transport)
    }
    return transport
  }

  /** The site of a route, and of `localPart` where each mailbox is a site of its own. */
  site({ transport, nexthop }: Route, localPart: string): Site {
    return this.transport(transport).site(nexthop, localPart)
  }

  /** `now` of the clock that never jumps, as everywhere here. */
  add(site: Site, mail: ActiveMail, recipient: ActiveRecipient, now: number): void {
    site.transport.add(site, mail, recipient, now)
  }

  /** The next delivery, or undefined when nothing may start now. */
  select(now: number): Selection | undefined {
    for (let tried = 0; tried < this.#ring.length; tried++) {
      this.#turn = this.#turn + 1 < this.#ring.length ? this.#turn + 1 : 0
      const selection = this.#ring[this.#turn]!.select(now)
      if (selection !== undefined) return selection
    }
    return undefined
  }

  /** Recipients that wait for their turn. */
  get waiting(): number {
    let waiting = 0
    for (const site of this.sites()) waiting += site.waiting
    return waiting
  }

  /** The site where a recipient of a mail waits; undefined: it does not. */
  find(mail: ActiveMail | undefined, recipient: number): Site | undefined {
    for (const job of mail?.jobs ?? []) {
      for (const peer of job.peers.values()) {
        if (peer.recipients.some(({ id }) => id === recipient)) return peer.site
      }
    }
    return undefined
  }

  /** Takes all of a mail that waits. */
  withdraw(mail: ActiveMail): void {
    for (const job of mail.jobs) if (job.isListed) job.transport.withdraw(job)
  }

  /** All recipients of a mail are in memory: jobs that have nothing to do are over. */
  complete(mail: ActiveMail): void {
    for (const job of mail.jobs) if (job.isListed) job.transport.retireIfDone(job)
  }

  /** When a pause ends that something waits for; undefined: none does. */
  nextWake(): number | undefined {
    let next: number | undefined
    for (const transport of this.#ring) {
      const time = transport.nextWake()
      if (time !== undefined && (next === undefined || time < next)) next = time
    }
    return next
  }

  sweep(before: number, now: number): void {
    for (const transport of this.#ring) transport.sweep(before, now)
  }
}
