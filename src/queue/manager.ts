/**
 * The queue manager: one actor, registered as `queue`, the only writer of the queue on disk.
 *
 * Everything that changes the disk waits for the next commit, which runs once the messages that are here already
 * were handled: new mails and results of deliveries share one transaction and one flush. Only then are senders
 * answered, results logged and new mails scheduled. Content stays in memory for the first delivery.
 */
import { join } from 'node:path'
import { pid } from 'node:process'
import {
  type ActorContext,
  type AnyActorDefinition,
  actor,
  type Contract,
  Deferred,
  type ExitReason,
  errorReason,
  UsageError,
} from '../actors/index.ts'
import { type ActiveMail, type ActiveRecipient, ActiveSet } from './active.ts'
import { Admission } from './admission.ts'
import { type Attempt, ownAttempt, reportedAttempt } from './attempt.ts'
import { Committer, type StoredPending, temporary } from './committer.ts'
import { ContentFolder } from './content.ts'
import type {
  DeliveryReport,
  EnqueueResult,
  NewMail,
  QueueContract,
  QueueCounts,
  QueueListing,
} from './contract.ts'
import { setAside } from './database.ts'
import type { DeliveriesContract, DeliveryOwnerContract } from './deliveries.ts'
import { logDeliveries, logNotice, logRemoved } from './delivery-log.ts'
import { Dispatcher, type Running } from './dispatcher.ts'
import { QueueDamagedError, storeFailure } from './errors.ts'
import { localDelivery } from './local-delivery.ts'
import { MailCounts } from './mail-counts.ts'
import { Operators } from './operators.ts'
import { newQueueId } from './queue-id.ts'
import { Refill } from './refill.ts'
import type { MailChange, WriteContext } from './results.ts'
import { malformed, Room } from './room.ts'
import { Scheduler } from './scheduler.ts'
import {
  activeLimits,
  cacheSettings,
  noticeSettings,
  type QueueSources,
  schedulerSettings,
} from './settings.ts'
import { Site, suspended } from './site.ts'
import { QueueStore, type StoredMail } from './store.ts'

export interface QueueArgs {
  /** The delivery actor of the transports `smtp` and `lmtp`. */
  readonly delivery: AnyActorDefinition
  /** The delivery actor of the transport `local`; the mailboxes of this service when it is not given. */
  readonly local?: AnyActorDefinition
  /** Where the queue is; `queue` in `data_dir` when it is not given. */
  readonly directory?: string
  /** Most pages of the database; for tests of a full disk. */
  readonly maxPages?: number
}

/** With the messages the queue manager sends to itself. */
export type QueueManagerContract = QueueContract &
  DeliveryOwnerContract &
  Contract<{
    commit(): void
    refill(): void
    tick(): void
    bringForward(site: string): void
  }>

/** How often running deliveries and idle sites are looked after. */
const tickMs = 10_000
/** A site where nothing happened for so long is forgotten. */
const siteIdleMs = 10_000
/** Results the disk did not take are written again after this. */
const retryMs = 1_000
/** Content files nobody refers to, of this same process, are left alone for so long: their mail may be on its way. */
const orphanMs = 3_600_000
/** Recipients brought forward in one turn by a flush. */
const flushBatch = 2_000

export class QueueManager {
  readonly #context: ActorContext<QueueManagerContract>
  #config: QueueSources
  readonly #directory: string
  readonly #store: QueueStore
  readonly #folder: ContentFolder
  readonly #room: Room
  readonly #active: ActiveSet
  readonly #refill: Refill
  readonly #admission: Admission
  readonly #scheduler: Scheduler
  readonly #dispatcher: Dispatcher
  readonly #committer = new Committer()
  #writeContext: WriteContext
  readonly #states: MailCounts
  readonly #operators: Operators
  #commitAsked = false
  #refillAsked = false
  #refillTimer: number | undefined
  #ticking = false
  /** Those who wait for the last delivery; undefined: nobody asked for a stop. */
  #draining: Deferred<void>[] | undefined

  constructor(context: ActorContext<QueueManagerContract>, args: QueueArgs) {
    const config = context.setting<QueueSources>('config')
    if (config === undefined) throw new UsageError("the queue needs the setting 'config'")
    this.#context = context
    this.#config = config
    this.#directory = args.directory ?? join(config.data_dir, 'queue')
    this.#store = QueueStore.open(this.#directory, {
      log: context.log,
      now: context.clock.now(),
      ...(args.maxPages === undefined ? {} : { maxPages: args.maxPages }),
    })
    this.#folder = new ContentFolder(this.#directory)
    this.#room = new Room(this.#directory)
    this.#states = new MailCounts(this.#store.countStates())
    this.#active = new ActiveSet(this.#store, this.#folder, activeLimits(config))
    this.#refill = new Refill(this.#store, this.#active, {
      admit: (mail, recipient) => this.#admit(mail, recipient),
      finish: (mail) =>
        this.#settle(ownAttempt(mail, [], '', { status: 'sent', dsn: '', reply: '' }, this.#now)),
      orphan: ({ id }) => {
        context.log.error({ event: 'queue.orphan', recipient: id }, 'recipient without a mail was dropped')
        this.#store.removeRecipient(id)
      },
    })
    this.#scheduler = new Scheduler(schedulerSettings(config))
    const transports = new Map([
      ['smtp', args.delivery],
      ['lmtp', args.delivery],
      ['local', args.local ?? localDelivery],
    ])
    this.#dispatcher = new Dispatcher(context as unknown as ActorContext, transports)
    this.#admission = new Admission(config, this.#scheduler, new Set(transports.keys()))
    this.#operators = new Operators({
      store: this.#store,
      folder: this.#folder,
      active: this.#active,
      counts: this.#states,
      log: context.log,
      destination: (address) => this.#admission.destination(address),
      forget: (mail) => this.#forget(mail),
    })
    this.#writeContext = {
      store: this.#store,
      settings: noticeSettings(config),
      now: 0,
      original: (stored, limit) => this.#active.beginning(stored, limit),
      newQueueId: () => newQueueId(context as unknown as ActorContext),
    }
    context.whereis<DeliveriesContract>('deliveries')?.tell('attach', context.self as never)
    this.#sweepContent()
    this.#askRefill()
  }

  reload(): void {
    const config = this.#context.setting<QueueSources>('config') ?? this.#config
    if (config === this.#config) return
    this.#config = config
    this.#active.configure(activeLimits(config))
    this.#scheduler.configure(schedulerSettings(config))
    this.#admission.configure(config)
    this.#writeContext = { ...this.#writeContext, settings: noticeSettings(config) }
    // There may be room for more in memory now, and sooner a look for it.
    this.#askRefill()
    this.#pump()
  }

  get #now(): number {
    return this.#context.clock.now()
  }

  // --- Mail comes in

  enqueue(mail: NewMail): EnqueueResult | Deferred<EnqueueResult> {
    const wrong = malformed(mail)
    if (wrong !== undefined) return { status: 'refused', temporary: false, dsn: '5.3.0', reason: wrong }
    const mails = this.#states.total + this.#committer.pendingMails
    const full = this.#room.refusal(mails, this.#config.queue, this.#context.clock.monotonic())
    if (full !== undefined) return temporary(full)
    const { content } = mail
    let file: string | undefined
    if ('file' in content) {
      file = this.#folder.accept(content.file, content.size)
      if (file === undefined) {
        return { status: 'refused', temporary: true, dsn: '4.3.0', reason: 'the content was not stored' }
      }
    }
    const answer = this.#committer.addMail(mail, file)
    this.#askCommit()
    return answer
  }

  // --- The commit

  commit(): void {
    this.#commitAsked = false
    if (this.#committer.isEmpty) return
    let outcome: ReturnType<Committer['commit']>
    try {
      outcome = this.#committer.commit({ ...this.#writeContext, now: this.#now })
    } catch (error) {
      if (storeFailure(error) !== 'damaged') throw error
      this.#store.close()
      const aside = setAside(this.#directory, this.#now)
      throw new QueueDamagedError(
        'the queue database is damaged and was set aside',
        { aside },
        { cause: error },
      )
    }
    if (outcome.ok) {
      for (const mail of outcome.mails) this.#stored(mail)
      for (const judged of outcome.written.judged) logDeliveries(this.#context.log, judged)
      for (const change of outcome.written.changes) this.#changed(change)
      if (!this.#committer.isEmpty) this.#askCommit()
    } else {
      this.#context.log.error(
        { event: 'queue.write-failed', failure: outcome.failure, error: errorReason(outcome.error).message },
        'the queue cannot be written: new mail is refused',
      )
      // `commitAsked` stays set: new mail meanwhile asks for no commit of its own, but is answered by this one.
      if (outcome.again) {
        this.#commitAsked = true
        this.#context.sendAfter(retryMs, 'commit')
      }
    }
    this.#pump()
    this.#checkDrained()
  }

  #askCommit(): void {
    if (this.#commitAsked) return
    this.#commitAsked = true
    // Behind the messages that are here already, so that all of them share the flush.
    if (!this.#context.self.tell('commit')) this.commit()
  }

  /** A new mail is on disk. */
  #stored({ mail, file, answer, id }: StoredPending): void {
    answer.resolve({ status: 'queued' })
    this.#arrived(mail, id, file)
  }

  #arrived(mail: NewMail, id: number, file: string | undefined): void {
    this.#states.add('active')
    const { envelope, content } = mail
    const { recipients } = envelope
    if (this.#refill.hasBacklog || this.#active.room < recipients.length) {
      this.#refill.missed()
      this.#askRefill()
      return
    }
    this.#refill.passed(id + recipients.length - 1)
    const bytes = 'bytes' in content ? content.bytes : undefined
    const stored: StoredMail = {
      id,
      queueId: mail.queueId,
      arrivedAt: mail.arrivedAt,
      size: 'bytes' in content ? content.bytes.length : content.size,
      sender: envelope.sender,
      state: 'active',
      recipients: recipients.length,
      warned: false,
      client: mail.client,
      ...(envelope.envid === undefined ? {} : { envid: envelope.envid }),
      ...(envelope.ret === undefined ? {} : { ret: envelope.ret }),
      ...(envelope.body === undefined ? {} : { body: envelope.body }),
      ...(envelope.smtputf8 === undefined ? {} : { smtputf8: envelope.smtputf8 }),
      ...(file === undefined ? {} : { file }),
    }
    const active = this.#active.addMail(stored, this.#now, bytes)
    for (let index = 0; index < recipients.length; index++) {
      this.#active.addRecipient(active, id + index)
      this.#admit(active, { ...recipients[index]!, id: id + index, attempts: 0 })
    }
  }

  /** Results of a mail are on disk. */
  #changed(change: MailChange): void {
    const { mail, done, delayed, notices, end } = change
    for (const id of done) this.#active.removeRecipient(mail, id)
    // It may have been released while its last delivery ran.
    if (mail.withdrawn) this.#refill.rewind()
    for (const { notice, id } of notices) {
      logNotice(this.#context.log, mail.stored.queueId, notice)
      this.#arrived(notice.mail, id, undefined)
    }
    if (end === 'removed') logRemoved(this.#context.log, mail.stored.queueId)
    if (end === 'more') {
      mail.delayed.push(...delayed)
      return
    }
    const { stored } = mail
    this.#active.removeMail(mail)
    if (end === 'removed') {
      this.#states.take(change.state)
      if (stored.file !== undefined) this.#folder.remove(stored.file)
    } else if (end === 'deferred' && stored.state !== 'deferred') {
      this.#states.move(stored.state, 'deferred')
    }
    if (end !== 'removed' || this.#refill.isWaiting) this.#askRefill()
  }

  // --- From disk to memory

  refill(): void {
    this.#refillAsked = false
    if (this.#refill.step(this.#now)) this.#askRefill()
    else {
      this.#admission.ignoresDeferTransports = false
      this.#wakeForDue()
    }
    this.#pump()
  }

  #askRefill(): void {
    if (this.#refillAsked || this.#draining !== undefined) return
    this.#refillAsked = true
    this.#context.self.tell('refill')
  }

  /** Comes back when the next deferred recipient is due, and each `run_delay` in any case. */
  #wakeForDue(): void {
    if (this.#refillTimer !== undefined) this.#context.cancelTimer(this.#refillTimer)
    this.#refillTimer = undefined
    const due = this.#refill.nextDue()
    if (due === undefined) return
    const wait = Math.min(Math.max(1, due - this.#now), this.#config.queue.run_delay)
    this.#refillTimer = this.#context.sendAfter(wait, 'refill')
  }

  // --- Scheduling

  /** A recipient in memory finds its site, or its end. */
  #admit(mail: ActiveMail, recipient: ActiveRecipient): void {
    const found = this.#admission.find(recipient.address, this.#now)
    if (found instanceof Site) this.#scheduler.add(found, mail, recipient)
    else this.#settle(ownAttempt(mail, [recipient], found.site, found, this.#now))
  }

  #settle(attempt: Attempt): void {
    this.#committer.addAttempt(attempt)
    this.#askCommit()
  }

  /** Starts all deliveries that may start now. */
  #pump(): void {
    if (this.#draining !== undefined) return
    for (;;) {
      const selection = this.#scheduler.select()
      if (selection === undefined) break
      const { site, mail, recipients } = selection
      const content = this.#active.content(mail)
      if (content === undefined) {
        this.#scheduler.done(site, site.lastDone)
        this.#corrupt(mail)
        continue
      }
      const cache = cacheSettings(this.#config, site.transport)
      const use =
        cache === undefined ? { load: false, store: false } : site.cacheUse(this.#now, cache.onDemand)
      this.#dispatcher.start({ site, mail, recipients }, content, use)
    }
    this.#askTick()
  }

  // --- Deliveries end

  delivered(report: DeliveryReport): void {
    const running = this.#dispatcher.reported(report)
    if (running === undefined) {
      this.#context.log.debug(
        { event: 'queue.stale-report', queueId: report.queueId },
        'report of an old delivery',
      )
      return
    }
    this.#finished(running, report)
  }

  deliveryEnded(key: number, reason: ExitReason): void {
    const running = this.#dispatcher.ended(key)
    if (running === undefined) return
    this.#context.log.warn(
      {
        event: 'delivery.crashed',
        queueId: running.mail.stored.queueId,
        site: running.site.key,
        reason: reason.kind,
        ...(reason.message === undefined ? {} : { error: reason.message }),
      },
      'a delivery ended without a report',
    )
    const trouble = { dsn: '4.3.0', reason: 'the delivery ended unexpectedly' }
    this.#finished(running, {
      queueId: running.mail.stored.queueId,
      results: running.recipients.map(({ id }) => ({
        id,
        status: 'deferred',
        dsn: trouble.dsn,
        reply: trouble.reason,
        relay: 'none',
      })),
      hopStatus: trouble,
      connUse: 0,
      startedAt: 0,
      setupAt: 0,
    })
  }

  #finished({ site, mail, recipients }: Running, report: DeliveryReport): void {
    const now = this.#now
    const { hopStatus } = report
    this.#settle(reportedAttempt(mail, recipients, site.key, report, now))
    if (hopStatus === undefined) site.window.succeeded(site.busy)
    else if (site.window.failed()) this.#died(site, hopStatus)
    this.#scheduler.done(site, now)
    this.#pump()
  }

  /** A site is given up for a while: what waits there waits on disk. */
  #died(site: Site, trouble: { readonly dsn: string; readonly reason: string }): void {
    const now = this.#now
    const dsn = trouble.dsn.startsWith('4') ? trouble.dsn : '4.0.0'
    site.die({ dsn, reason: trouble.reason }, now + this.#config.queue.minimal_backoff_time)
    this.#context.log.info(
      { event: 'queue.site-dead', site: site.key, dsn, reason: trouble.reason, waiting: site.waiting },
      'deliveries to a destination are suspended',
    )
    const reply = suspended(site, trouble.reason)
    for (;;) {
      const taken = site.take(0)
      if (taken === undefined) break
      if (taken.mail.withdrawn) continue
      this.#settle(
        ownAttempt(taken.mail, taken.recipients, site.key, { status: 'deferred', dsn, reply }, now),
      )
    }
  }

  /** The content of a mail is missing: it is kept for the operator, and out of the way. */
  #corrupt(mail: ActiveMail): void {
    const { stored } = mail
    this.#context.log.error(
      { event: 'mail.corrupt', queueId: stored.queueId },
      'the content of a mail is missing: it is kept as corrupt',
    )
    this.#operators.park(stored, 'corrupt')
  }

  // --- Looking after

  tick(): void {
    this.#ticking = false
    const monotonic = this.#context.clock.monotonic()
    this.#dispatcher.killOlder(monotonic - this.#config.queue.qmgr_daemon_timeout)
    this.#scheduler.sweep(this.#now - siteIdleMs, this.#now)
    this.#askTick()
  }

  #askTick(): void {
    if (this.#ticking || (this.#scheduler.sites.size === 0 && this.#dispatcher.size === 0)) return
    this.#ticking = true
    this.#context.sendAfter(tickMs, 'tick')
  }

  #sweepContent(): void {
    // Files of a process that died are nobody's; those of this process may belong to a session that is about to
    // hand its mail over, when the queue alone was restarted.
    const isOwn = this.#store.exchangeWriter(`pid ${pid}`) === `pid ${pid}`
    const removed = this.#folder.sweep(
      (file) => this.#store.mailByQueueId(file) !== undefined,
      isOwn ? this.#now - orphanMs : Number.POSITIVE_INFINITY,
    )
    if (removed.length > 0) {
      this.#context.log.info(
        { event: 'queue.orphans', files: removed.length },
        'content without a mail was removed',
      )
    }
  }

  // --- Operators

  list(after: string, limit: number): readonly QueueListing[] {
    return this.#operators.list(after, limit)
  }

  show(queueId: string): QueueListing | null {
    return this.#operators.show(queueId)
  }

  content(queueId: string, limit: number): Uint8Array | null {
    return this.#operators.content(queueId, limit)
  }

  counts(): QueueCounts {
    return this.#states.counts(this.#active)
  }

  flush(site: string): number {
    const wanted = site.toLowerCase()
    for (const known of this.#scheduler.sites.values()) {
      if (wanted === '' || known.key === wanted || known.nexthop === wanted) known.revive()
    }
    this.#admission.ignoresDeferTransports = true
    const waiting = this.#store.countWaiting(this.#now, wanted)
    this.bringForward(wanted)
    return waiting
  }

  bringForward(site: string): void {
    const now = this.#now
    const changed = this.#store.transaction(() => this.#store.bringForward(now, site, flushBatch))
    this.#refill.rewind()
    this.#askRefill()
    if (changed === flushBatch) this.#context.self.tell('bringForward', site)
  }

  remove(queueIds: readonly string[]): readonly string[] {
    return this.#operators.remove(queueIds)
  }

  hold(queueIds: readonly string[]): readonly string[] {
    return this.#operators.hold(queueIds)
  }

  release(queueIds: readonly string[]): readonly string[] {
    const released = this.#operators.release(queueIds, this.#now)
    this.#refill.rewind()
    this.#askRefill()
    return released
  }

  drain(): Deferred<void> {
    const answer = new Deferred<void>()
    this.#draining = [...(this.#draining ?? []), answer]
    this.#checkDrained()
    return answer
  }

  #checkDrained(): void {
    if (this.#draining === undefined || this.#dispatcher.size > 0 || !this.#committer.isEmpty) return
    for (const answer of this.#draining.splice(0)) answer.resolve()
  }

  /** Takes a mail out of memory; its results still count. */
  #forget(mail: StoredMail): void {
    const active = this.#active.mail(mail.id)
    if (active === undefined) return
    active.withdrawn = true
    this.#active.forget(active, this.#dispatcher.recipientsOf(active))
    // There is room for others now.
    this.#askRefill()
  }

  terminate(): void {
    // What was reported is written; what still runs is due again at the next start.
    if (this.#store.isOpen && !this.#committer.isEmpty) this.commit()
    this.#store.close()
  }
}

/** The queue manager. Its tree: `deliveries` first, then this, on the storage thread. */
export const queueManager = actor<QueueManagerContract, QueueArgs>({
  name: 'queue',
  module: import.meta.url,
  // Bounded by what sessions and deliveries have under way; each of them waits for its answer.
  maxQueue: 100_000,
  init: (context, args) => new QueueManager(context, args),
})
