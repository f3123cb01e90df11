/**
 * One transport: its sites, its jobs and who of them is next.
 *
 * Jobs are served in the order they came; a job whose sites have no room for it is passed over, and the sites of one
 * job take turns. A small job may overtake a large one: each delivery of a job earns a slot, and `slotCost` slots pay
 * one delivery of a job that overtakes, so that a large mail becomes slower by a bounded share whatever comes after it.
 * Knows nothing of actors or disk. Times are of the clock that never jumps, in milliseconds.
 */
import type { ActiveMail, ActiveRecipient } from './active.ts'
import { entriesOf, Job, Peer } from './job.ts'
import { Site, type SiteTrouble } from './site.ts'
import { SiteOrder } from './site-order.ts'
import type { WindowSettings } from './window.ts'

export interface TransportSettings {
  readonly window: WindowSettings
  /** Deliveries at the same time. */
  readonly processLimit: number
  /** Recipients of one delivery; 0: no limit. */
  readonly recipientLimit: number
  /** Pauses: of a site after a delivery, of the transport after a start. 0: none. */
  readonly destinationRateDelay: number
  readonly transportRateDelay: number
  readonly slotCost: number
  readonly slotLoan: number
  /** Per cent. */
  readonly slotDiscount: number
  readonly minimumSlots: number
  /** Recipients in memory. */
  readonly memoryLimit: number
  readonly extraMemory: number
  readonly refillLimit: number
  readonly refillDelay: number
  /** Whether connections to a next hop are cached whatever its traffic. */
  alwaysCaches(nexthop: string): boolean
}

/** A delivery that may start now. Its site counts it as busy. */
export interface Selection {
  readonly site: Site
  readonly job: Job
  readonly mail: ActiveMail
  readonly recipients: readonly ActiveRecipient[]
}

/** How long a look for a job to overtake with counts. */
const candidateMs = 1_000

export class Transport {
  readonly name: string
  settings: TransportSettings
  /** Deliveries that were selected and not done. */
  running = 0
  /** Recipients in memory, those of running deliveries included. */
  recipients = 0
  readonly sites = new Map<string, Site>()
  readonly #order = new SiteOrder()
  #firstJob: Job | undefined
  #lastJob: Job | undefined
  #jobs = 0
  #nextOrder = 1
  /** Jobs that have overtaken, the newest last: served before all others. */
  #overtaking: Job[] = []
  #candidate: { readonly current: Job; readonly job: Job | undefined; readonly until: number } | undefined
  /** Sites that pause, in the order in which they go on. */
  #paused: Site[] = []
  #pausedUntil = Number.NEGATIVE_INFINITY
  #trouble: { readonly why: SiteTrouble; readonly until: number } | undefined

  constructor(name: string, settings: TransportSettings) {
    this.name = name
    this.settings = settings
  }

  get jobs(): number {
    return this.#jobs
  }

  /** When the pause after the last start ends. */
  get pausedUntil(): number {
    return this.#pausedUntil
  }

  /** Sites that are there already go on with what they learned. */
  configure(settings: TransportSettings): void {
    this.settings = settings
    for (const site of this.sites.values()) site.configure(settings.alwaysCaches(site.nexthop))
    for (let job = this.#firstJob; job !== undefined; job = job.next) {
      job.pending = 0
      for (const { waiting } of job.peers.values()) job.pending += entriesOf(waiting, settings.recipientLimit)
    }
    for (const site of this.sites.values()) this.#order.place(site)
  }

  // --- What waits

  /** The site of a next hop; with one recipient per delivery each mailbox there (`localPart`) is a site of its own. */
  site(nexthop: string, localPart: string): Site {
    const key =
      this.settings.recipientLimit === 1
        ? `${this.name}:${localPart.toLowerCase()}@${nexthop}`
        : `${this.name}:${nexthop}`
    let site = this.sites.get(key)
    if (site === undefined) {
      site = new Site(key, this, nexthop, this.settings.alwaysCaches(nexthop))
      this.sites.set(key, site)
    }
    return site
  }

  add(site: Site, mail: ActiveMail, recipient: ActiveRecipient, now: number): void {
    const job = this.#jobOf(mail, now)
    let peer = job.peers.get(site)
    if (peer === undefined) {
      peer = new Peer(job, site)
      job.peers.set(site, peer)
    }
    const { waiting } = peer
    peer.add(recipient)
    const { recipientLimit } = this.settings
    if (recipientLimit === 0 ? waiting === 0 : waiting % recipientLimit === 0) job.pending += 1
    this.recipients += 1
    site.added(peer, 1, waiting === 0)
    this.#order.place(site)
  }

  #jobOf(mail: ActiveMail, now: number): Job {
    for (const job of mail.jobs) if (job.isListed && job.transport === this) return job
    const job = new Job(mail, this, this.#nextOrder++, now)
    mail.jobs.push(job)
    job.isListed = true
    job.previous = this.#lastJob
    if (this.#lastJob === undefined) this.#firstJob = job
    else this.#lastJob.next = job
    this.#lastJob = job
    this.#jobs += 1
    if (this.#candidate?.job === undefined) this.#candidate = undefined
    return job
  }

  /** Everything of the mail that waits is taken away; returns how many recipients. */
  withdraw(job: Job): number {
    let count = 0
    for (const peer of job.peers.values()) {
      const taken = peer.take(0).length
      count += taken
      peer.site.taken(taken)
      this.#order.place(peer.site)
    }
    job.pending = 0
    this.recipients -= count
    this.#retire(job)
    return count
  }

  /** Takes what waits at a site. */
  emptySite(site: Site): readonly Selection[] {
    const all: Selection[] = []
    for (const peer of [...site.peers()]) {
      const { job } = peer
      job.pending -= entriesOf(peer.waiting, this.settings.recipientLimit)
      const recipients = peer.take(0)
      site.taken(recipients.length)
      this.recipients -= recipients.length
      all.push({ site, job, mail: job.mail, recipients })
      this.retireIfDone(job)
    }
    this.#order.place(site)
    return all
  }

  /** A job without deliveries, now or later, has no place here. */
  retireIfDone(job: Job): void {
    if (job.pending === 0 && job.mail.unread === 0) this.#retire(job)
  }

  #retire(job: Job): void {
    if (!job.isListed) return
    job.isListed = false
    this.#jobs -= 1
    if (job.previous === undefined) this.#firstJob = job.next
    else job.previous.next = job.next
    if (job.next === undefined) this.#lastJob = job.previous
    else job.next.previous = job.previous
    const { below } = job
    if (below !== undefined) {
      // What it took beyond the charge, or left of it.
      below.slots -= job.slotsUsed * this.settings.slotCost
      below.slotsUsed += job.slotsUsed
      this.#overtaking.splice(this.#overtaking.indexOf(job), 1)
    }
    if (this.#candidate?.job === job) this.#candidate = undefined
  }

  // --- Who is next

  /** The next delivery, or undefined when nothing may start now. */
  select(now: number): Selection | undefined {
    this.#goOn(now)
    if (this.running >= this.settings.processLimit || now < this.#pausedUntil) return undefined
    const selection = this.#pick(now)
    if (selection === undefined) return undefined
    this.begin(selection.site)
    if (this.settings.transportRateDelay > 0) this.#pausedUntil = now + this.settings.transportRateDelay
    return selection
  }

  /**
   * The delivery that would be next were there room for one more at a full site; undefined when somebody else would
   * be, or deliveries have pauses between them. It counts as running from `begin` on.
   */
  selectAhead(site: Site, now: number): Selection | undefined {
    const { destinationRateDelay, transportRateDelay } = this.settings
    if (destinationRateDelay > 0 || transportRateDelay > 0) return undefined
    if (site.waiting === 0 || !site.window.isWidest) return undefined
    // Whoever is ready takes what becomes free.
    if (this.#order.first() !== undefined) return undefined
    site.looksAhead = true
    this.#order.place(site)
    const selection = this.#pick(now)
    site.looksAhead = false
    this.#order.place(site)
    return selection
  }

  #pick(now: number): Selection | undefined {
    let peer = this.#ofOvertaking() ?? this.#order.first()?.first
    if (peer === undefined) return undefined
    if (this.settings.slotCost >= 2) peer = this.#overtake(peer.job, now) ?? peer
    const { job, site } = peer
    const recipients = peer.take(this.settings.recipientLimit)
    job.served(peer)
    site.taken(recipients.length)
    this.#order.place(site)
    this.retireIfDone(job)
    return { site, job, mail: job.mail, recipients }
  }

  /** What was selected starts. */
  begin(site: Site): void {
    site.busy += 1
    this.running += 1
    this.#order.place(site)
  }

  /** What started did not begin after all. */
  unbegin(site: Site): void {
    site.busy -= 1
    this.running -= 1
    this.#order.place(site)
  }

  /** What was selected and is not at work leaves. */
  giveUp({ recipients }: Selection): void {
    this.recipients -= recipients.length
  }

  /** What was selected and is not at work waits again, in its old place. */
  giveBack({ site, job, recipients }: Selection): void {
    this.#relist(job)
    let peer = job.peers.get(site)
    if (peer === undefined) {
      peer = new Peer(job, site)
      job.peers.set(site, peer)
    }
    const { waiting } = peer
    peer.putBack(recipients)
    job.unserved()
    site.added(peer, recipients.length, waiting === 0)
    this.#order.place(site)
  }

  /** Among those that came after it. */
  #relist(job: Job): void {
    if (job.isListed) return
    job.isListed = true
    job.below = undefined
    this.#jobs += 1
    let next = this.#firstJob
    while (next !== undefined && next.order < job.order) next = next.next
    const previous = next === undefined ? this.#lastJob : next.previous
    job.next = next
    job.previous = previous
    if (previous === undefined) this.#firstJob = job
    else previous.next = job
    if (next === undefined) this.#lastJob = job
    else next.previous = job
  }

  #ofOvertaking(): Peer | undefined {
    for (let at = this.#overtaking.length - 1; at >= 0; at--) {
      const peer = this.#overtaking[at]!.readyPeer()
      if (peer !== undefined) return peer
    }
    return undefined
  }

  /** A peer of a job that may overtake `current` now. */
  #overtake(current: Job, now: number): Peer | undefined {
    const { slotCost, slotLoan, slotDiscount, minimumSlots } = this.settings
    if (current.slots <= 0 || current.total < minimumSlots * slotCost) return undefined
    const job = this.#findCandidate(current, now)
    if (job === undefined) return undefined
    const needed = job.remaining
    if (current.slots / slotCost + slotLoan < (needed * (100 - slotDiscount)) / 100) return undefined
    current.slots -= needed * slotCost
    job.slotsUsed = -needed
    job.below = current
    this.#overtaking.push(job)
    this.#candidate = undefined
    return job.readyPeer()
  }

  /** The job with the best ratio of waiting time to size among those small enough for what `current` can still pay. */
  #findCandidate(current: Job, now: number): Job | undefined {
    const most = Math.floor((current.remaining + current.slots) / this.settings.slotCost)
    if (most < 1) return undefined
    const cached = this.#candidate
    if (cached?.current === current && now < cached.until) {
      const { job } = cached
      if (job === undefined) return undefined
      if (job.below === undefined && job.remaining > 0 && job.remaining <= most && job.canBeServed) return job
    }
    let base = current
    while (base.below !== undefined) base = base.below
    let best: Job | undefined
    let bestScore = 0
    for (let job = base.isListed ? base.next : this.#firstJob; job !== undefined; job = job.next) {
      if (job.below !== undefined || job === current || !job.canBeServed) continue
      const waited = (now - job.since) / 1000 + 1
      const needed = job.remaining
      if (needed > 0 && needed <= most && waited / job.total > bestScore) {
        bestScore = waited / job.total
        best = job
      }
      // Those behind it have waited for less: a mail of one delivery would not do better.
      if (waited <= bestScore) break
    }
    this.#candidate = { current, job: best, until: now + candidateMs }
    return best
  }

  // --- What happens to sites

  /** A delivery to the site ended. */
  done(site: Site, recipients: number, now: number): void {
    this.running -= 1
    this.recipients -= recipients
    site.busy -= 1
    const { destinationRateDelay } = this.settings
    if (destinationRateDelay > 0) {
      site.pausedUntil = now + destinationRateDelay
      if (!site.isPaused) this.#paused.push(site)
      site.isPaused = true
    }
    this.#order.place(site)
  }

  /** The window of the site changed. */
  wake(site: Site): void {
    this.#order.place(site)
  }

  #goOn(now: number): void {
    while (this.#paused.length > 0 && this.#paused[0]!.pausedUntil <= now) {
      const site = this.#paused.shift()!
      site.isPaused = false
      this.#order.place(site)
    }
  }

  /** When a pause ends that something waits for; undefined: none does. */
  nextWake(): number | undefined {
    const site = this.#paused.find((paused) => paused.waiting > 0)?.pausedUntil
    const own = this.#pausedUntil > Number.NEGATIVE_INFINITY && this.#order.first() !== undefined
    if (!own) return site
    return Math.min(site ?? Number.POSITIVE_INFINITY, this.#pausedUntil)
  }

  /** Forgets sites where nothing happened since `before`; what their windows learned goes with them. */
  sweep(before: number, now: number): void {
    for (const [key, site] of this.sites) {
      if (!site.isIdle || site.lastDone >= before) continue
      if (site.troubleAt(now) !== undefined) continue
      this.sites.delete(key)
    }
  }

  // --- A transport whose deliveries cannot be started

  /** @param until Milliseconds since the epoch. */
  die(why: SiteTrouble, until: number): void {
    this.#trouble = { why, until }
  }

  /** Something could be started: it is well. */
  revive(): void {
    this.#trouble = undefined
  }

  /** `now` in milliseconds since the epoch. */
  troubleAt(now: number): { readonly why: SiteTrouble; readonly until: number } | undefined {
    if (this.#trouble !== undefined && now >= this.#trouble.until) this.#trouble = undefined
    return this.#trouble
  }
}
