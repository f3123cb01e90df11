/** Jobs and peers: what one mail has to do for one transport, and for one site of it. */
import type { ActiveMail, ActiveRecipient } from './active.ts'
import type { Site } from './site.ts'
import type { Transport } from './transport.ts'

/** Waiting recipients of one job at one site. */
export class Peer {
  readonly job: Job
  readonly site: Site
  /** Orders the peers of one job: who was served last comes last. */
  turn = 0
  #recipients: ActiveRecipient[] = []
  #taken = 0

  constructor(job: Job, site: Site) {
    this.job = job
    this.site = site
  }

  get waiting(): number {
    return this.#recipients.length - this.#taken
  }

  /** The recipients that wait, in their order. */
  get recipients(): readonly ActiveRecipient[] {
    return this.#taken === 0 ? this.#recipients : this.#recipients.slice(this.#taken)
  }

  add(recipient: ActiveRecipient): void {
    this.#recipients.push(recipient)
  }

  /** Takes at most `limit` (0: all), the first ones first. */
  take(limit: number): readonly ActiveRecipient[] {
    if (this.#taken === 0 && (limit === 0 || this.#recipients.length <= limit)) {
      const all = this.#recipients
      this.#recipients = []
      return all
    }
    const end = limit === 0 ? this.#recipients.length : this.#taken + limit
    const taken = this.#recipients.slice(this.#taken, end)
    this.#taken += taken.length
    if (this.#taken === this.#recipients.length) {
      this.#recipients = []
      this.#taken = 0
    }
    return taken
  }

  /** They come first again. */
  putBack(recipients: readonly ActiveRecipient[]): void {
    this.#recipients = [...recipients, ...this.recipients]
    this.#taken = 0
  }
}

/** Deliveries that so many recipients of one site make. */
export const entriesOf = (recipients: number, limit: number): number =>
  limit === 0 ? Math.min(recipients, 1) : Math.ceil(recipients / limit)

/**
 * One mail at one transport. Counts deliveries ("entries"), for the scheduler to decide who may overtake whom:
 * each delivery earns a slot, and `cost` slots pay one delivery of a job that overtakes.
 */
export class Job {
  readonly mail: ActiveMail
  readonly transport: Transport
  /** Jobs are served in this order. */
  readonly order: number
  /** When it came, milliseconds. */
  readonly since: number
  readonly peers = new Map<Site, Peer>()
  /** Deliveries that wait. */
  pending = 0
  /** Deliveries that were selected. */
  selected = 0
  /** What may be spent on jobs that overtake. */
  slots = 0
  /** Slots it took from the job below it, beyond those it was charged for at once. */
  slotsUsed = 0
  /** The job it has overtaken; undefined: it waits in its place. */
  below: Job | undefined
  /** Neighbours in the order of jobs. */
  previous: Job | undefined
  next: Job | undefined
  isListed = false
  #turn = 0

  constructor(mail: ActiveMail, transport: Transport, order: number, since: number) {
    this.mail = mail
    this.transport = transport
    this.order = order
    this.since = since
  }

  /** Deliveries it may still need: those that wait, and one for each recipient that is not in memory yet. */
  get remaining(): number {
    return this.pending + this.mail.unread
  }

  /** Deliveries it takes in all, as far as that is known. */
  get total(): number {
    return this.selected + this.remaining
  }

  served(peer: Peer): void {
    this.#turn += 1
    peer.turn = this.#turn
    this.pending -= 1
    this.selected += 1
    this.slots += 1
    this.slotsUsed += 1
  }

  /** What was served last is not done now. */
  unserved(): void {
    this.pending += 1
    this.selected -= 1
    this.slots -= 1
    this.slotsUsed -= 1
  }

  /** The peer that was served longest ago among those that can be served now. */
  readyPeer(): Peer | undefined {
    let found: Peer | undefined
    for (const peer of this.peers.values()) {
      if (peer.waiting === 0 || !peer.site.hasRoom) continue
      if (found === undefined || peer.turn < found.turn) found = peer
    }
    return found
  }

  get canBeServed(): boolean {
    for (const peer of this.peers.values()) if (peer.waiting > 0 && peer.site.hasRoom) return true
    return false
  }
}
