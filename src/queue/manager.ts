/**
 * The queue manager: one actor, registered as `queue`, the only writer of the queue on disk.
 *
 * Everything that changes the disk waits for the next commit, which runs once the messages that are here already
 * were handled: new mails and results of deliveries share one transaction and one flush. Only then are senders
 * answered, results logged and new mails scheduled. Content stays in memory for the first delivery.
 */
import { join } from 'node:path'
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
import type { Lease } from '../cache/contract.ts'
import { ActiveSet } from './active.ts'
import { Alarms } from './alarms.ts'
import { type Attempt, ownAttempt } from './attempt.ts'
import { soonestAttempt } from './backoff.ts'
import { type CommitContext, type CommitOutcome, Committer, type StoredPending } from './committer.ts'
import { ContentFolder, sweepOrphans } from './content.ts'
import type {
  DeliveryReport,
  EnqueueResult,
  IntakeState,
  NewMail,
  Onward,
  OperationPage,
  OperationResult,
  QueueContract,
  QueueCounts,
  QueueExplanation,
  QueueListing,
  QueueOperation,
  QueueSelection,
  QueueStatistics,
  Transcript,
} from './contract.ts'
import { Courier } from './courier.ts'
import { replaceDamaged } from './database.ts'
import type { DeliveriesContract, DeliveryOwnerContract } from './deliveries.ts'
import { logDeliveries, logNotice, logRemoved } from './delivery-log.ts'
import { QueueDamagedError, storeFailure } from './errors.ts'
import { explain } from './explain.ts'
import { Flush } from './flush.ts'
import { Intake } from './intake.ts'
import { localDelivery } from './local-delivery.ts'
import { MailCounts } from './mail-counts.ts'
import { transcriptNotice } from './notices/transcript.ts'
import { Operators } from './operators.ts'
import { newQueueId } from './queue-id.ts'
import { Refill } from './refill.ts'
import type { JudgedAttempt, MailChange } from './results.ts'
import { storedMail } from './rows.ts'
import { activeLimits, noticeSettings, protocolOf, type QueueSources } from './settings.ts'
import { Statistics } from './statistics.ts'
import { QueueStore, type StoredMail } from './store.ts'

export interface QueueArgs {
  /** The delivery actor of transports that speak SMTP or LMTP. */
  readonly delivery: AnyActorDefinition
  /** The delivery actor of transports of the protocol `local`; the mailboxes of this service when it is not given. */
  readonly local?: AnyActorDefinition
  /** Where the queue is; `queue` in `data_dir` when it is not given. */
  readonly directory?: string
  /** Most pages of the database; for tests of a full disk. */
  readonly maxPages?: number
  /** Does nothing else while the disk is written; for tests, whose virtual clock does not wait for disks. */
  readonly flushesAtOnce?: boolean
}

/** With the messages the queue manager sends to itself. */
export type QueueManagerContract = QueueContract &
  DeliveryOwnerContract &
  Contract<{
    commit(): void
    refill(): void
    tick(): void
    pump(): void
    acknowledge(): void
    bringForward(site: string): void
  }>

/** Results the disk did not take are written again after this. */
const retryMs = 1_000
/** Recipients brought forward in one turn by a flush. */
const flushBatch = 2_000

type Committed = Extract<CommitOutcome, { readonly ok: true }>

export class QueueManager {
  readonly #context: ActorContext<QueueManagerContract>
  #config: QueueSources
  readonly #directory: string
  readonly #store: QueueStore
  readonly #folder: ContentFolder
  readonly #active: ActiveSet
  readonly #refill: Refill
  readonly #courier: Courier
  readonly #committer = new Committer()
  readonly #intake: Intake
  #commitContext: CommitContext
  readonly #states: MailCounts
  readonly #operators: Operators
  readonly #statistics = new Statistics()
  #commitAsked = false
  readonly #flush: Flush<Committed>
  #refillAsked = false
  readonly #alarms: Alarms
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
    this.#flush = new Flush({
      store: this.#store,
      atOnce: args.flushesAtOnce === true,
      bind: context.bind.bind(context),
      done: (committed) => this.#flushed(committed),
    })
    this.#folder = new ContentFolder(this.#directory)
    this.#states = new MailCounts(this.#store.countStates())
    this.#alarms = new Alarms(context)
    this.#intake = new Intake({
      directory: this.#directory,
      committer: this.#committer,
      folder: this.#folder,
      counts: this.#states,
      statistics: this.#statistics,
      config: () => this.#config,
      monotonic: () => context.clock.monotonic(),
      acknowledgeAfter: (delay) => void context.sendAfter(delay, 'acknowledge'),
    })
    this.#active = new ActiveSet(this.#store, this.#folder, activeLimits(config))
    this.#courier = new Courier(context as unknown as ActorContext, config, {
      active: this.#active,
      actors: (transport) =>
        protocolOf(this.#config, transport) === 'local' ? (args.local ?? localDelivery) : args.delivery,
      hooks: { settle: (attempt) => this.#settle(attempt), corrupt: (mail) => this.#corrupt(mail.stored) },
    })
    this.#refill = new Refill(this.#store, this.#active, {
      admit: (mail, recipient, reason) => this.#courier.admit(mail, recipient, reason),
      complete: (mail) => this.#courier.scheduler.complete(mail),
      finish: (mail) =>
        this.#settle(ownAttempt(mail, [], '', { status: 'sent', dsn: '', reply: '' }, this.#now)),
      orphan: ({ id }) => {
        context.log.error({ event: 'queue.orphan', recipient: id }, 'recipient without a mail was dropped')
        this.#store.removeRecipient(id)
      },
      damaged: (mail) => this.#damaged(mail),
    })
    this.#operators = new Operators({
      store: this.#store,
      folder: this.#folder,
      active: this.#active,
      counts: this.#states,
      log: context.log,
      now: () => this.#now,
      hostname: () => this.#config.hostname,
      newQueueId: () => newQueueId(context as unknown as ActorContext),
      destination: (address) => this.#courier.admission.destination(address),
      isUnderWay: (recipient) => this.#courier.dispatcher.runningOf(recipient) !== undefined,
      madeDue: () => {
        this.#refill.rewind()
        this.#askRefill()
      },
      arrived: (mail, id, file) => this.#arrived(mail, id, file),
      forget: (mail) => this.#forget(mail),
    })
    this.#commitContext = {
      settleNew: (mail, id, file) => this.#courier.settleNew(mail, id, file),
      store: this.#store,
      settings: noticeSettings(config, context.log),
      now: 0,
      original: (stored, limit) => this.#active.beginning(stored, limit),
      newQueueId: () => newQueueId(context as unknown as ActorContext),
    }
    context.whereis<DeliveriesContract>('deliveries')?.tell('attach', context.self as never)
    sweepOrphans(this.#folder, this.#store, this.#now, context.log)
    this.#askRefill()
  }

  reload(): void {
    const config = this.#context.setting<QueueSources>('config') ?? this.#config
    if (config === this.#config) return
    this.#config = config
    this.#active.configure(activeLimits(config))
    this.#courier.configure(config)
    this.#commitContext = { ...this.#commitContext, settings: noticeSettings(config, this.#context.log) }
    // There may be room for more in memory now, and sooner a look for it.
    this.#askRefill()
    this.#pump()
  }

  get #now(): number {
    return this.#context.clock.now()
  }

  // --- Mail comes in

  enqueue(mail: NewMail): EnqueueResult | Deferred<EnqueueResult> {
    const answer = this.#intake.take(mail)
    if (!('status' in answer)) this.#askCommit()
    return answer
  }

  // --- The commit

  commit(): void {
    this.#commitAsked = false
    if (this.#flush.isUnderWay || this.#committer.isEmpty) return
    const outcome = this.#guarded(() => this.#committer.commit({ ...this.#commitContext, now: this.#now }))
    if (outcome.ok) {
      this.#flush.start(outcome)
      return
    }
    this.#context.log.error(
      { event: 'queue.write-failed', failure: outcome.failure, error: errorReason(outcome.error).message },
      'the queue cannot be written: new mail is refused',
    )
    // `commitAsked` stays set: new mail meanwhile asks for no commit of its own, but is answered by this one.
    if (outcome.again) {
      this.#commitAsked = true
      this.#context.sendAfter(retryMs, 'commit')
    }
    this.#pump()
    this.#checkDrained()
  }

  /** The disk has it: senders are answered, results count. */
  #flushed(outcome: Committed): void {
    this.#statistics.written(outcome.written)
    for (const mail of outcome.mails) this.#stored(mail)
    for (const judged of outcome.written.judged) this.#logDeliveries(judged)
    for (const change of outcome.written.changes) this.#changed(change)
    if (!this.#committer.isEmpty) this.#askCommit()
    if (this.#refillAsked) this.#context.self.tell('refill')
    this.#pump()
    this.#checkDrained()
  }

  /** Everything that waits for the disk, now. */
  #commitAll(): void {
    this.#flush.finish()
    if (this.#committer.isEmpty) return
    this.commit()
    this.#flush.finish()
  }

  /** When the database turns out to be damaged, it is replaced, and the queue begins anew with that one. */
  #guarded<T>(work: () => T): T {
    try {
      return work()
    } catch (error) {
      if (storeFailure(error) !== 'damaged') throw error
      this.#store.close()
      replaceDamaged(this.#directory, { log: this.#context.log, now: this.#now }, (error as Error).message)
      throw new QueueDamagedError('the queue database is damaged and was set aside', {}, { cause: error })
    }
  }

  #askCommit(): void {
    if (this.#commitAsked || this.#flush.isUnderWay) return
    this.#commitAsked = true
    // Behind the messages that are here already, so that all of them share the flush.
    if (!this.#context.self.tell('commit')) this.commit()
  }

  /** A new mail is on disk. */
  #stored(pending: StoredPending): void {
    const { mail, file, id, isSettled } = pending
    if (!isSettled) {
      this.#intake.stored(pending, this.#arrived(mail, id, file))
      return
    }
    this.#states.add('active')
    if (!this.#refill.hasBacklog) this.#refill.passed(id + mail.envelope.recipients.length - 1)
    this.#intake.stored(pending, true)
  }

  acknowledge(): void {
    this.#intake.acknowledge()
  }

  /** False: there was no room for it in memory, it waits on disk. */
  #arrived(mail: NewMail, id: number, file: string | undefined): boolean {
    this.#states.add('active')
    const { envelope, content } = mail
    const { recipients } = envelope
    if (this.#refill.hasBacklog || this.#active.roomForMails === 0) {
      this.#refill.missed()
      this.#askRefill()
      return false
    }
    this.#refill.passed(id + recipients.length - 1)
    const bytes = 'bytes' in content ? content.bytes : undefined
    const stored = storedMail(mail, id, file)
    const active = this.#active.addMail(stored, this.#now, bytes)
    const count = this.#refill.allowance(recipients.length)
    if (count < recipients.length) {
      this.#refill.keepRest(active, id + count, this.#context.clock.monotonic())
      this.#askRefill()
    }
    for (let index = 0; index < count; index++) {
      this.#active.addRecipient(active, id + index)
      this.#courier.admit(active, { ...recipients[index]!, id: id + index, attempts: 0 })
    }
    return true
  }

  /** Results of a mail are on disk. */
  #changed(change: MailChange): void {
    const { mail, done, delayed, notices, end } = change
    if (change.isDropped) {
      this.#context.log.warn(
        { event: 'notice.dropped', queueId: mail.stored.queueId },
        'a notice to the postmaster could not be delivered: nobody is told',
      )
    }
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
      if (mail.unread > 0) this.#askRefill()
      return
    }
    const { stored } = mail
    this.#active.removeMail(mail)
    this.#refill.forget(mail)
    if (end === 'removed') {
      this.#states.take(change.state)
      if (stored.file !== undefined) this.#folder.remove(stored.file)
    } else if (end === 'deferred' && stored.state !== 'deferred') {
      this.#states.move(stored.state, 'deferred')
    }
    if (end === 'reload' || this.#refill.isWaiting) this.#askRefill()
    // No sooner is it due again. When exactly is looked up then, for all that were put off since.
    else if (end === 'deferred') this.#alarms.refillWithin(soonestAttempt(this.#config.queue))
  }

  // --- From disk to memory

  refill(): void {
    // What is being flushed is on disk and not in memory yet: it would come in twice.
    if (this.#flush.isUnderWay) {
      this.#refillAsked = true
      return
    }
    this.#refillAsked = false
    if (this.#guarded(() => this.#refill.step(this.#now, this.#context.clock.monotonic()))) this.#askRefill()
    else {
      this.#courier.admission.ignoresDeferTransports = false
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
    const { run_delay: most } = this.#config.queue
    this.#alarms.refillAfter(this.#refill.wait(this.#now, this.#context.clock.monotonic(), most))
  }

  // --- Scheduling

  #settle(attempt: Attempt): void {
    this.#committer.addAttempt(attempt)
    this.#askCommit()
  }

  pump(): void {
    this.#alarms.pumped()
    this.#pump()
  }

  /** Starts all deliveries that may start now. */
  #pump(): void {
    if (this.#draining !== undefined) {
      this.#courier.dispatcher.endIdle()
      return
    }
    this.#guarded(() => this.#courier.pump())
    // Pauses between deliveries that something waits for.
    this.#alarms.pumpAt(this.#courier.scheduler.nextWake())
    if (this.#courier.isBusy) this.#alarms.tickSoon()
  }

  // --- Deliveries end

  relocate(recipient: number, lease: Lease): void {
    this.#courier.relocate(recipient, lease)
    this.#pump()
  }

  reroute(recipient: number, transport: string, nexthop: string): void {
    this.#courier.reroute(recipient, transport, nexthop)
    this.#pump()
  }

  returned(recipient: number, key?: number): void {
    this.#courier.returned(recipient, key)
    this.#pump()
  }

  delivered(report: DeliveryReport, onward?: Onward): void {
    for (const transcript of report.transcripts ?? []) this.#tellPostmaster(transcript, report.queueId)
    if (this.#courier.delivered(report, onward)) this.#pump()
    else {
      this.#context.log.debug(
        { event: 'queue.stale-report', queueId: report.queueId },
        'report of an old delivery',
      )
    }
  }

  /** Without waiting: whether the notice is stored changes nothing for the mail. */
  #tellPostmaster(transcript: Transcript, about: string): void {
    const now = this.#now
    const facts = { queueId: this.#commitContext.newQueueId(), about, now }
    const mail = transcriptNotice(transcript, facts, this.#commitContext.settings)
    const answer = this.enqueue(mail)
    if ('status' in answer && answer.status === 'refused') {
      const { reason } = answer
      this.#context.log.warn({ event: 'notice.refused', queueId: about, reason }, 'a notice was not queued')
    } else logNotice(this.#context.log, about, { kind: 'transcript', mail })
  }

  #logDeliveries(judged: JudgedAttempt): void {
    const { log, queue } = this.#config
    logDeliveries(this.#context.log, judged, {
      decimals: log.delay_logging_resolution_limit,
      namesOriginals: queue.enable_original_recipient,
    })
  }

  deliveryEnded(key: number, reason: ExitReason): void {
    this.#courier.deliveryEnded(key, reason)
    this.#pump()
  }

  /** The content of a mail is missing or damaged: it is kept for the operator, and out of the way. */
  #corrupt(stored: StoredMail): void {
    this.#context.log.error(
      { event: 'mail.corrupt', queueId: stored.queueId },
      'the content of a mail is missing or damaged: it is kept as corrupt',
    )
    this.#operators.park(stored, 'corrupt')
  }

  #damaged(id: number): void {
    const found = this.#store.parkDamaged(id)
    if (found === undefined || found.state === 'corrupt') return
    this.#states.move(found.state, 'corrupt')
    const active = this.#active.mail(id)
    if (active !== undefined) this.#forget(active.stored)
    this.#context.log.error(
      { event: 'mail.corrupt', queueId: found.queueId },
      'what is stored of a mail cannot be understood: it is kept as corrupt',
    )
  }

  // --- Looking after

  tick(): void {
    this.#alarms.ticked()
    if (this.#courier.tick()) this.#alarms.tickSoon()
  }

  // --- Operators

  list(after: string, limit: number): readonly QueueListing[] {
    return this.#guarded(() => this.#operators.list(after, limit))
  }

  show(queueId: string): QueueListing | null {
    return this.#guarded(() => this.#operators.show(queueId))
  }

  content(queueId: string, limit: number): Uint8Array | null {
    return this.#operators.content(queueId, limit)
  }

  counts(): QueueCounts {
    return this.#states.counts(this.#active)
  }

  flush(site: string): number {
    const wanted = site.toLowerCase()
    this.#courier.revive(wanted)
    if (wanted !== '') {
      for (const tried of this.#store.waitingSites(this.#now, wanted)) this.#courier.revive(tried)
    }
    this.#courier.admission.ignoresDeferTransports = true
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

  operate(operation: QueueOperation, selection: QueueSelection, page: OperationPage): OperationResult {
    // Results that are here already count: a recipient that is done is not queued again.
    this.#commitAll()
    if (operation === 'flush' && page.dryRun !== true) {
      this.#courier.revive('')
      this.#courier.admission.ignoresDeferTransports = true
    }
    const result = this.#guarded(() => this.#operators.operate(operation, selection, page))
    this.#store.flushNow()
    return result
  }

  why(queueId: string): QueueExplanation | null {
    return explain(queueId, {
      store: this.#store,
      active: this.#active,
      courier: this.#courier,
      config: this.#config,
      isHeldUp: this.#intake.isHeldUp(queueId),
      isDraining: this.#draining !== undefined,
      now: this.#now,
      monotonic: this.#context.clock.monotonic(),
    })
  }

  intake(): IntakeState {
    return this.#intake.state(this.#active)
  }

  stats(): QueueStatistics {
    return this.#statistics.snapshot(this.#courier.scheduler, {
      now: this.#now,
      recipientsInMemory: this.#active.recipients,
      heldUp: this.#intake.heldUp,
    })
  }

  drain(): Deferred<void> {
    const answer = new Deferred<void>()
    this.#draining = [...(this.#draining ?? []), answer]
    this.#checkDrained()
    return answer
  }

  #checkDrained(): void {
    if (this.#draining === undefined || this.#courier.dispatcher.size > 0) return
    if (!this.#committer.isEmpty || this.#flush.isUnderWay) return
    this.#intake.acknowledgeAll()
    for (const answer of this.#draining.splice(0)) answer.resolve()
  }

  /** Takes a mail out of memory; its results still count. */
  #forget(mail: StoredMail): void {
    const active = this.#active.mail(mail.id)
    if (active === undefined) return
    active.withdrawn = true
    this.#courier.scheduler.withdraw(active)
    this.#refill.forget(active)
    this.#active.forget(active, this.#courier.dispatcher.recipientsOf(active))
    // There is room for others now.
    this.#askRefill()
  }

  terminate(): void {
    // What was reported is written; what still runs is due again at the next start.
    if (this.#store.isOpen) this.#commitAll()
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
