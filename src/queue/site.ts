/** A site: one transport and next hop, with its window, its waiting recipients and its use of the cache. */
import type { ActiveMail, ActiveRecipient } from './active.ts'
import { Window, type WindowSettings } from './window.ts'

/** Waiting recipients of one mail at one site. */
interface Peer {
  readonly mail: ActiveMail
  readonly recipients: ActiveRecipient[]
  /** How many of them are gone already. */
  taken: number
}

/** Why a site gets no deliveries for now. */
export interface SiteTrouble {
  readonly dsn: string
  readonly reason: string
}

/** A delivery that finished within this time before makes the next one "back to back". */
const backToBackMs = 1000

export class Site {
  readonly key: string
  readonly transport: string
  readonly nexthop: string
  readonly window: Window
  /** Deliveries running. */
  busy = 0
  /** When the last delivery ended; -Infinity: none has. */
  lastDone = Number.NEGATIVE_INFINITY
  /** Waits in the scheduler's round. */
  isScheduled = false
  #trouble: SiteTrouble | undefined
  #deadUntil = 0
  #waiting = 0
  /** Whether to look for an idle connection, and whether to leave one behind. */
  #load = false
  #store = false
  #always: boolean
  // Ring of mails: taken from the front, put back at the end while it has recipients left.
  #peers: Peer[] = []
  #head = 0
  readonly #byMail = new Map<number, Peer>()

  constructor(
    key: string,
    route: { readonly transport: string; readonly nexthop: string },
    window: WindowSettings,
    alwaysCache: boolean,
  ) {
    this.key = key
    this.transport = route.transport
    this.nexthop = route.nexthop
    this.window = new Window(window)
    this.#always = alwaysCache
  }

  configure(window: WindowSettings, alwaysCache: boolean): void {
    this.window.configure(window)
    this.#always = alwaysCache
  }

  /** Recipients that wait here. */
  get waiting(): number {
    return this.#waiting
  }

  get isReady(): boolean {
    return this.#waiting > 0 && this.busy < this.window.width
  }

  get isIdle(): boolean {
    return this.#waiting === 0 && this.busy === 0
  }

  add(mail: ActiveMail, recipient: ActiveRecipient): void {
    this.#waiting += 1
    const peer = this.#byMail.get(mail.stored.id)
    if (peer !== undefined && peer.mail === mail) peer.recipients.push(recipient)
    else {
      const added = { mail, recipients: [recipient], taken: 0 }
      this.#byMail.set(mail.stored.id, added)
      this.#peers.push(added)
    }
  }

  /** The next mail's turn: at most `limit` of its recipients (0: all). Undefined when nothing waits. */
  take(limit: number): { readonly mail: ActiveMail; readonly recipients: ActiveRecipient[] } | undefined {
    const peer = this.#peers[this.#head]
    if (peer === undefined) return undefined
    this.#head += 1
    // Cut the consumed front off now and then, so that the array does not grow for ever.
    if (this.#head > 1024 && this.#head * 2 > this.#peers.length) {
      this.#peers = this.#peers.slice(this.#head)
      this.#head = 0
    }
    const { mail, recipients } = peer
    const left = recipients.length - peer.taken
    if (limit === 0 || left <= limit) {
      this.#byMail.delete(mail.stored.id)
      this.#waiting -= left
      return { mail, recipients: peer.taken === 0 ? recipients : recipients.slice(peer.taken) }
    }
    const taken = recipients.slice(peer.taken, peer.taken + limit)
    peer.taken += limit
    this.#waiting -= limit
    this.#peers.push(peer)
    return { mail, recipients: taken }
  }

  /** Takes the site out of service until `until`. */
  die(trouble: SiteTrouble, until: number): void {
    this.#trouble = trouble
    this.#deadUntil = until
    this.#load = false
    this.#store = false
  }

  /** Why nothing is sent here at `now`; undefined: it may be. A dead site whose time is over comes back. */
  troubleAt(now: number): SiteTrouble | undefined {
    if (!this.window.isDead) return undefined
    if (now < this.#deadUntil) return this.#trouble
    this.revive()
    return undefined
  }

  /** Forgets that the site is dead. */
  revive(): void {
    if (!this.window.isDead) return
    this.window.revive(this.busy)
    this.#trouble = undefined
  }

  /**
   * Whether the delivery that is about to start looks for an idle connection (`load`) and leaves its own behind
   * (`store`). On demand: deliveries back to back switch both on; when they no longer are, and it is the only
   * one, nothing more is left behind, but what is there is still used. `busy` counts the new delivery.
   */
  cacheUse(now: number, onDemand: boolean): { readonly load: boolean; readonly store: boolean } {
    if (this.#always) return { load: true, store: true }
    if (!onDemand) return { load: false, store: false }
    const backToBack = now - this.lastDone <= backToBackMs
    if (!this.#store) {
      if (backToBack) {
        this.#load = true
        this.#store = true
      }
    } else if (!backToBack && this.busy <= 1) this.#store = false
    return { load: this.#load, store: this.#store }
  }
}

/** Why mail to a dead site waits, for the log and the sender. */
export const suspended = (site: Site, reason: string): string =>
  `deliveries to ${site.nexthop} are suspended for now: ${reason}`
