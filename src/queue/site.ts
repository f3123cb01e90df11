/** A site: one transport and next hop, with its window, its waiting recipients and its use of the cache. */
import type { Peer } from './job.ts'
import type { Transport } from './transport.ts'
import { Window } from './window.ts'

/** Why a site gets no deliveries for now. */
export interface SiteTrouble {
  readonly dsn: string
  readonly reason: string
}

/** A delivery that finished within this time before makes the next one "back to back". */
const backToBackMs = 1000

export class Site {
  readonly key: string
  readonly transport: Transport
  readonly nexthop: string
  readonly window: Window
  /** Deliveries running. */
  busy = 0
  /** When the last delivery ended, on the clock that never jumps; -Infinity: none has. */
  lastDone = Number.NEGATIVE_INFINITY
  /** Nothing starts before this time of the clock that never jumps: the pause after a delivery. */
  pausedUntil = Number.NEGATIVE_INFINITY
  isPaused = false
  /** For the moment there is room for one more: whoever runs gets its next request ahead of time. */
  looksAhead = false
  /** Its place in the order of the transport; 0: none. */
  place = 0
  placedOrder = 0
  placedTurn = 0
  /** When it was last named in the log for having too much. */
  clogWarnedAt = Number.NEGATIVE_INFINITY
  #trouble: SiteTrouble | undefined
  #deadUntil = 0
  #waiting = 0
  /** Whether to look for an idle connection, and whether to leave one behind. */
  #load = false
  #store = false
  #always: boolean
  /** In the order of jobs; from `#head` on. Peers that have nothing any more are dropped when they are met. */
  #peers: Peer[] = []
  #head = 0

  constructor(key: string, transport: Transport, nexthop: string, alwaysCache: boolean) {
    this.key = key
    this.transport = transport
    this.nexthop = nexthop
    this.window = new Window(transport.settings.window)
    this.#always = alwaysCache
  }

  configure(alwaysCache: boolean): void {
    this.window.configure(this.transport.settings.window)
    this.#always = alwaysCache
  }

  /** Recipients that wait here. */
  get waiting(): number {
    return this.#waiting
  }

  /** Whether another delivery may run here, as far as the site is concerned. */
  get hasRoom(): boolean {
    return (this.busy < this.window.width || this.looksAhead) && !this.isPaused
  }

  get isReady(): boolean {
    return this.#waiting > 0 && this.hasRoom
  }

  get isIdle(): boolean {
    return this.#waiting === 0 && this.busy === 0 && !this.isPaused
  }

  /** When a dead site is tried again, milliseconds since the epoch. */
  get deadUntil(): number {
    return this.#deadUntil
  }

  /** Why it is dead, also when the time is over and nobody came by. */
  get trouble(): SiteTrouble | undefined {
    return this.window.isDead ? this.#trouble : undefined
  }

  /** Mails that wait here. */
  get mails(): number {
    return this.#peers.length - this.#head
  }

  /** More recipients of a job wait here. `isNew`: its peer had none. */
  added(peer: Peer, recipients: number, isNew: boolean): void {
    this.#waiting += recipients
    if (!isNew) return
    const { order } = peer.job
    const { first } = this
    if (this.#head > 0 && first !== undefined && order < first.job.order) {
      this.#head -= 1
      this.#peers[this.#head] = peer
      return
    }
    let at = this.#peers.length
    // Nearly always the last one; the rest of a large mail comes back to its place.
    while (at > this.#head && this.#peers[at - 1]!.job.order > order) at -= 1
    if (at === this.#peers.length) this.#peers.push(peer)
    else this.#peers.splice(at, 0, peer)
  }

  /** Recipients were taken from a peer here, or withdrawn. */
  taken(recipients: number): void {
    this.#waiting -= recipients
    this.#trim()
  }

  /** Who is first in the order of jobs. */
  get first(): Peer | undefined {
    return this.#peers[this.#head]
  }

  /** Its peers that have recipients waiting. */
  *peers(): Generator<Peer> {
    for (let at = this.#head; at < this.#peers.length; at++) {
      const peer = this.#peers[at]!
      if (peer.waiting > 0) yield peer
    }
  }

  #trim(): void {
    while (this.#head < this.#peers.length && this.#peers[this.#head]!.waiting === 0) this.#head += 1
    if (this.#head === this.#peers.length) {
      this.#peers = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#peers.length) {
      // Cut the consumed front off now and then, so that the array does not grow for ever.
      this.#peers = this.#peers.slice(this.#head)
      this.#head = 0
    }
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
