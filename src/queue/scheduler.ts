/**
 * Who is next. Sites take turns; within a site the mails that wait there take turns, so that a mailing of
 * thousands of recipients costs others one delivery each. Knows nothing of actors, disk or clock.
 */

import type { ActiveMail, ActiveRecipient } from './active.ts'
import type { Route } from './routing.ts'
import { Site } from './site.ts'
import type { WindowSettings } from './window.ts'

export interface SchedulerSettings {
  readonly window: WindowSettings
  /** Deliveries at the same time, over all sites. */
  readonly processLimit: number
  /** Recipients of one delivery; 0: no limit. */
  readonly recipientLimit: number
  /** Whether connections to a site are cached whatever its traffic. */
  alwaysCaches(route: Route): boolean
}

/** A delivery that may start now. Its site counts it as busy. */
export interface Selection {
  readonly site: Site
  readonly mail: ActiveMail
  readonly recipients: readonly ActiveRecipient[]
}

export class Scheduler {
  #settings: SchedulerSettings
  readonly #sites = new Map<string, Site>()
  #ring: Site[] = []
  #head = 0
  #running = 0

  constructor(settings: SchedulerSettings) {
    this.#settings = settings
  }

  /** Deliveries that were selected and not done. */
  get running(): number {
    return this.#running
  }

  get sites(): ReadonlyMap<string, Site> {
    return this.#sites
  }

  /** Sites that are there already go on with what they learned. */
  configure(settings: SchedulerSettings): void {
    this.#settings = settings
    for (const site of this.#sites.values()) {
      site.configure(settings.window, settings.alwaysCaches(site))
      // A wider window may have room for what waits.
      this.#schedule(site)
    }
  }

  /** The site of a route; with one recipient per delivery each mailbox there is a site of its own. */
  site(route: Route, address: string): Site {
    let key = `${route.transport}:${route.nexthop}`
    if (this.#settings.recipientLimit === 1) {
      key = `${route.transport}:${address.slice(0, address.lastIndexOf('@')).toLowerCase()}@${route.nexthop}`
    }
    let site = this.#sites.get(key)
    if (site === undefined) {
      site = new Site(key, route, this.#settings.window, this.#settings.alwaysCaches(route))
      this.#sites.set(key, site)
    }
    return site
  }

  add(site: Site, mail: ActiveMail, recipient: ActiveRecipient): void {
    site.add(mail, recipient)
    this.#schedule(site)
  }

  /** The next delivery, or undefined when all windows are full or nothing waits. */
  select(): Selection | undefined {
    if (this.#running >= this.#settings.processLimit) return undefined
    for (;;) {
      const site = this.#ring[this.#head]
      if (site === undefined) return undefined
      this.#head += 1
      if (this.#head > 256 && this.#head * 2 > this.#ring.length) {
        this.#ring = this.#ring.slice(this.#head)
        this.#head = 0
      }
      site.isScheduled = false
      // It may have died or filled up since it was put here.
      if (!site.isReady) continue
      const taken = site.take(this.#settings.recipientLimit)
      if (taken === undefined) continue
      if (taken.mail.withdrawn) {
        this.#schedule(site)
        continue
      }
      this.#start(site)
      return { site, ...taken }
    }
  }

  /** A delivery to the site ended, or its window changed. */
  done(site: Site, now: number): void {
    this.#running -= 1
    site.busy -= 1
    site.lastDone = now
    this.#schedule(site)
  }

  /** Puts the site into the round if something can start there. */
  wake(site: Site): void {
    this.#schedule(site)
  }

  /** Forgets sites where nothing happened since `before`; what their windows learned goes with them. */
  sweep(before: number, now: number): void {
    for (const [key, site] of this.#sites) {
      if (!site.isIdle || site.isScheduled || site.lastDone >= before) continue
      if (site.troubleAt(now) !== undefined) continue
      this.#sites.delete(key)
    }
  }

  #start(site: Site): void {
    this.#running += 1
    site.busy += 1
    this.#schedule(site)
  }

  #schedule(site: Site): void {
    if (site.isScheduled || !site.isReady) return
    site.isScheduled = true
    this.#ring.push(site)
  }
}
