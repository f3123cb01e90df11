/**
 * From memory to deliveries and back: finds each recipient its site or its end, starts what the scheduler picks, and
 * turns reports into results, windows and dead sites. What is to be written down goes to `settle`.
 */
import type { ActorContext, ExitReason } from '../actors/index.ts'
import type { Lease } from '../cache/contract.ts'
import { tablesOf } from '../tables/contract.ts'
import { type ActiveMail, type ActiveRecipient, type ActiveSet, newMail } from './active.ts'
import { Admission, type OwnResult } from './admission.ts'
import { type Attempt, ownAttempt, reportedAttempt } from './attempt.ts'
import type { Content, DeliveryReport, NewMail, Onward } from './contract.ts'
import { type CacheUse, Dispatcher, type DispatcherActors, type Running } from './dispatcher.ts'
import { storedMail } from './rows.ts'
import { Scheduler } from './scheduler.ts'
import { cacheSettings, type QueueSources, transportSettings } from './settings.ts'
import { Site, type SiteTrouble, suspended } from './site.ts'
import type { Selection, Transport } from './transport.ts'

export interface CourierHooks {
  /** Results are to be committed. */
  settle(attempt: Attempt): void
  /** The content of a mail is missing or damaged. */
  corrupt(mail: ActiveMail): void
}

/** A site where nothing happened for so long is forgotten. */
const siteIdleMs = 10_000
/** Recipients of a new mail that are looked at within the commit. */
const settledAtOnce = 100

export class Courier {
  readonly scheduler: Scheduler
  readonly admission: Admission
  readonly dispatcher: Dispatcher
  readonly #context: ActorContext
  readonly #active: ActiveSet
  readonly #hooks: CourierHooks
  #config: QueueSources

  constructor(
    context: ActorContext,
    config: QueueSources,
    parts: { readonly active: ActiveSet; readonly actors: DispatcherActors; readonly hooks: CourierHooks },
  ) {
    this.#context = context
    this.#config = config
    this.#active = parts.active
    this.#hooks = parts.hooks
    this.scheduler = new Scheduler((transport) => transportSettings(config, transport, tablesOf(context)))
    this.dispatcher = new Dispatcher(context, parts.actors)
    this.admission = new Admission(config, this.scheduler)
  }

  configure(config: QueueSources): void {
    this.#config = config
    this.scheduler.configure((transport) => transportSettings(config, transport, tablesOf(this.#context)))
    this.admission.configure(config)
  }

  get #now(): number {
    return this.#context.clock.now()
  }

  get #monotonic(): number {
    return this.#context.clock.monotonic()
  }

  /** A recipient in memory finds its site, or its end. `reason`: why it was deferred last. */
  admit(mail: ActiveMail, recipient: ActiveRecipient, reason?: string): void {
    if (mail.stored.expire) {
      this.#settle(mail, recipient, expired(reason))
      return
    }
    const { address_verify_pending_request_limit: mostProbes } = this.#config.queue
    if (mail.stored.trace === 'verify' && this.#active.probes > mostProbes) {
      this.#settle(mail, recipient, tooManyProbes)
      return
    }
    const found = this.admission.find(recipient.address, this.#now)
    if (found instanceof Site) {
      this.scheduler.add(found, mail, recipient, this.#monotonic)
      this.#warnOfClog(found)
    } else this.#settle(mail, recipient, found)
  }

  /**
   * What becomes of a new mail when all of it is set aside: that is known before it is written, and need not be written
   * after it. Empty: it takes its turn.
   */
  settleNew(mail: NewMail, id: number, file: string | undefined): readonly Attempt[] {
    const { recipients } = mail.envelope
    if (!this.admission.setsAside || recipients.length > settledAtOnce) return []
    const now = this.#now
    const active = newMail(storedMail(mail, id, file), now, recipients.length)
    const attempts: Attempt[] = []
    for (const [index, recipient] of recipients.entries()) {
      const found = this.admission.find(recipient.address, now)
      if (found instanceof Site || found.status !== 'deferred') return []
      const numbered = { ...recipient, id: id + index, attempts: 0 }
      attempts.push(ownAttempt(active, [numbered], found.site, found, now))
    }
    return attempts
  }

  #settle(mail: ActiveMail, recipient: ActiveRecipient, result: OwnResult): void {
    this.#hooks.settle(ownAttempt(mail, [recipient], result.site, result, this.#now))
  }

  /** One destination that has most of the memory keeps mail for others on disk: the operator may want to know. */
  #warnOfClog(site: Site): void {
    const { qmgr_message_active_limit: limit, qmgr_clog_warn_time: period } = this.#config.queue
    if (site.mails * 5 <= limit || period === 0) return
    const now = this.#monotonic
    if (now - site.clogWarnedAt < period) return
    site.clogWarnedAt = now
    this.#context.log.warn(
      { event: 'queue.clogged', site: site.key, mails: site.mails, limit },
      'mail to one destination fills the queue in memory: give it a transport of its own, or raise qmgr_message_active_limit',
    )
  }

  /** Starts all deliveries that may start now, and has those that run know what they do next. */
  pump(): void {
    for (;;) {
      const selection = this.scheduler.select(this.#monotonic)
      if (selection === undefined) break
      const ready = this.#ready(selection)
      if (ready !== undefined) this.dispatcher.start(selection, ready.content, ready.cache)
      else {
        const { site, recipients } = selection
        site.transport.done(site, recipients.length, this.#monotonic)
      }
    }
    this.dispatcher.lookAhead((site) => this.#selectAhead(site))
    this.dispatcher.endIdle()
  }

  /** What else a delivery needs; undefined: there is no content. */
  #ready({ site, mail }: Selection): { content: Content; cache: CacheUse } | undefined {
    const content = this.#active.content(mail)
    if (content === undefined) {
      this.#hooks.corrupt(mail)
      return undefined
    }
    const cache = cacheSettings(this.#config, site.transport.name)
    const use =
      cache === undefined ? { load: false, store: false } : site.cacheUse(this.#monotonic, cache.onDemand)
    const { protocol_timeout: timeoutMs } = this.#config.cache
    return { content, cache: { ...use, bySender: cache?.bySender === true, timeoutMs } }
  }

  #selectAhead(site: Site): { selection: Selection; content: Content; cache: CacheUse } | undefined {
    const selection = site.transport.selectAhead(site, this.#monotonic)
    if (selection === undefined) return undefined
    const ready = this.#ready(selection)
    if (ready !== undefined) return { selection, ...ready }
    site.transport.giveUp(selection)
    return undefined
  }

  /** False: it is the report of a delivery that is not known any more. */
  delivered(report: DeliveryReport, onward?: Onward): boolean {
    const found = this.dispatcher.reported(report, onward)
    if (found === undefined) return false
    const { running, begun, returned } = found
    running.site.transport.revive()
    this.#finished(running, report)
    begun?.site.transport.begin(begun.site)
    this.#return(returned)
    return true
  }

  /** A delivery did not come to a request it was given. */
  returned(recipient: number, key?: number): void {
    this.#return(this.dispatcher.returned(recipient, key))
  }

  relocate(recipient: number, lease: Lease): void {
    this.#return(this.dispatcher.relocate(recipient, lease))
  }

  reroute(recipient: number, transport: string, nexthop: string): void {
    this.#return(this.dispatcher.reroute(recipient, transport, nexthop))
  }

  /** It takes its turn again, unless nothing goes there any more. */
  #return(running: Running | undefined): void {
    if (running === undefined) return
    const { site, mail, recipients, since } = running
    const { transport } = site
    const now = this.#now
    // What was at work counts for the window of its site.
    if (since !== undefined) transport.unbegin(site)
    const trouble = transport.troubleAt(now)?.why ?? site.troubleAt(now)
    if (trouble === undefined && !mail.withdrawn) {
      transport.giveBack(running)
      return
    }
    transport.giveUp(running)
    const dsn = trouble?.dsn ?? '4.3.0'
    const reply = trouble === undefined ? 'the mail was taken back' : suspended(site, trouble.reason)
    this.#hooks.settle(ownAttempt(mail, recipients, site.key, { status: 'deferred', dsn, reply }, now))
  }

  /** A delivery is no more. Only when it made no report this is news. */
  deliveryEnded(key: number, reason: ExitReason): void {
    const { crashed: running, returned } = this.dispatcher.ended(key, reason.kind === 'normal')
    for (const one of returned) this.#return(one)
    if (running === undefined) return
    const { queueId } = running.mail.stored
    const couldNotStart = reason.kind === 'no_actor'
    this.#context.log.warn(
      {
        event: couldNotStart ? 'delivery.not-started' : 'delivery.crashed',
        queueId,
        site: running.site.key,
        reason: reason.kind,
        ...(reason.message === undefined ? {} : { error: reason.message }),
      },
      couldNotStart ? 'a delivery could not be started' : 'a delivery ended without a report',
    )
    const trouble = {
      dsn: '4.3.0',
      reason: couldNotStart ? 'the delivery could not be started' : 'the delivery ended unexpectedly',
    }
    if (couldNotStart) this.#transportDied(running.site.transport, trouble)
    this.#finished(running, {
      queueId,
      results: running.recipients.map(({ id }) => ({
        id,
        status: 'deferred',
        dsn: trouble.dsn,
        reply: trouble.reason,
        relay: 'none',
      })),
      ...(couldNotStart ? {} : { hopStatus: trouble }),
      connUse: 0,
      startedAt: 0,
      setupAt: 0,
    })
  }

  #finished({ site, mail, recipients }: Running, report: DeliveryReport): void {
    const now = this.#now
    const { hopStatus } = report
    if (report.damaged === true) this.#setAside(mail, recipients, site, report)
    else this.#hooks.settle(reportedAttempt(mail, recipients, site.key, report, now))
    const { width } = site.window
    if (hopStatus === undefined) {
      if (site.window.isDead) site.revive()
      else site.window.succeeded(site.busy)
    } else if (site.window.failed()) this.#siteDied(site, hopStatus)
    if (width !== site.window.width) this.#logWindow(site, width)
    site.lastDone = this.#monotonic
    site.transport.done(site, recipients.length, this.#monotonic)
  }

  #logWindow({ key, busy, window }: Site, from: number): void {
    const { log } = this.#context
    const facts = { event: 'queue.window', site: key, from, to: window.width, busy }
    const text = 'the window of a destination changed'
    if (this.#config.log.destination_concurrency_feedback_debug) log.info(facts, text)
    else log.debug(facts, text)
  }

  /** What was sent of a damaged mail is sent; for the others it is kept as it is, and nobody is told anything. */
  #setAside(
    mail: ActiveMail,
    recipients: readonly ActiveRecipient[],
    site: Site,
    report: DeliveryReport,
  ): void {
    const results = report.results.map((result) =>
      result.status === 'sent' ? result : { ...result, status: 'deferred' as const, dsn: '4.3.0' },
    )
    this.#hooks.settle(reportedAttempt(mail, recipients, site.key, { ...report, results }, this.#now))
    this.#hooks.corrupt(mail)
  }

  /** A site is given up for a while: what waits there waits on disk. */
  #siteDied(site: Site, trouble: SiteTrouble): void {
    const dsn = trouble.dsn.startsWith('4') ? trouble.dsn : '4.0.0'
    const { waiting } = site
    site.die({ dsn, reason: trouble.reason }, this.#now + this.#config.queue.minimal_backoff_time)
    this.#context.log.info(
      { event: 'queue.site-dead', site: site.key, dsn, reason: trouble.reason, waiting },
      'deliveries to a destination are suspended',
    )
    this.#deferWaiting(site, dsn, suspended(site, trouble.reason))
  }

  #transportDied(transport: Transport, trouble: SiteTrouble): void {
    const { transport_retry_time: wait } = this.#config.queue
    const wasWell = transport.troubleAt(this.#now) === undefined
    transport.die(trouble, this.#now + wait)
    if (wasWell) {
      this.#context.log.error(
        { event: 'queue.transport-dead', transport: transport.name, retryMs: wait },
        'deliveries of a transport cannot be started: its mail waits',
      )
    }
    for (const site of transport.sites.values()) this.#deferWaiting(site, trouble.dsn, trouble.reason)
  }

  #deferWaiting(site: Site, dsn: string, reply: string): void {
    for (const { mail, recipients } of site.transport.emptySite(site)) {
      this.#hooks.settle(
        ownAttempt(mail, recipients, site.key, { status: 'deferred', dsn, reply }, this.#now),
      )
    }
  }

  /** Forgets that sites and transports are dead: those of `wanted` (a next hop or a site), or all when it is empty. */
  revive(wanted: string): void {
    for (const site of this.scheduler.sites()) {
      if (wanted !== '' && site.key !== wanted && site.nexthop !== wanted) continue
      site.revive()
      site.transport.wake(site)
    }
    for (const transport of this.scheduler.transports.values()) transport.revive()
  }

  /** Ends deliveries that take too long, forgets idle sites. True: there is something to look after still. */
  tick(): boolean {
    this.dispatcher.killOlder(this.#monotonic - this.#config.queue.qmgr_daemon_timeout)
    this.scheduler.sweep(this.#monotonic - siteIdleMs, this.#now)
    return this.isBusy
  }

  get isBusy(): boolean {
    return this.scheduler.hasSites || this.dispatcher.size > 0
  }
}

const tooManyProbes: OwnResult = {
  site: '',
  status: 'deferred',
  dsn: '4.3.2',
  reply: 'too many addresses are being asked for already',
}

/** An operator wants it returned: with the reason it waits for, when there is one. */
function expired(reason: string | undefined): OwnResult {
  const match = /^(4\.\d{1,3}\.\d{1,3}) (.+)$/s.exec(reason ?? '')
  return {
    site: '',
    status: 'deferred',
    dsn: match?.[1] ?? '4.7.0',
    reply: match?.[2] ?? 'the administrator ended the delivery of this mail',
  }
}
