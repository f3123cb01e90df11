/** New mail: whether it is taken, and how long who sends it waits for the answer. */
import type { Deferred } from '../actors/index.ts'
import type { ActiveSet } from './active.ts'
import { type Committer, type StoredPending, temporary } from './committer.ts'
import type { ContentFolder } from './content.ts'
import type { EnqueueResult, IntakeState, NewMail } from './contract.ts'
import type { MailCounts } from './mail-counts.ts'
import { malformed, Room } from './room.ts'
import type { QueueSources } from './settings.ts'
import type { Statistics } from './statistics.ts'

export interface IntakeTools {
  /** Of the queue. */
  readonly directory: string
  readonly committer: Committer
  readonly folder: ContentFolder
  readonly counts: MailCounts
  readonly statistics: Statistics
  config(): QueueSources
  monotonic(): number
  /** Calls `acknowledge` after so long. */
  acknowledgeAfter(milliseconds: number): void
}

export class Intake {
  readonly #tools: IntakeTools
  readonly #room: Room
  /** Answers to new mail that are held up. */
  readonly #heldUp: StoredPending[] = []

  constructor(tools: IntakeTools) {
    this.#tools = tools
    this.#room = new Room(tools.directory)
  }

  get heldUp(): number {
    return this.#heldUp.length
  }

  /** The mail goes into the next commit, which answers, or is refused now. */
  take(mail: NewMail): EnqueueResult | Deferred<EnqueueResult> {
    const { committer, folder, statistics } = this.#tools
    const wrong = malformed(mail)
    if (wrong !== undefined) {
      statistics.refused += 1
      return { status: 'refused', temporary: false, dsn: '5.3.0', reason: wrong }
    }
    const full = this.#refusal()
    if (full !== undefined) {
      statistics.refused += 1
      return temporary(full)
    }
    const { content } = mail
    let file: string | undefined
    if ('file' in content) {
      file = folder.accept(content.file, content.size)
      if (file === undefined) {
        return { status: 'refused', temporary: true, dsn: '4.3.0', reason: 'the content was not stored' }
      }
    }
    return committer.addMail(mail, file)
  }

  #refusal(): string | undefined {
    const { counts, committer } = this.#tools
    const mails = counts.total + committer.pendingMails
    return this.#room.refusal(mails, this.#tools.config().queue, this.#tools.monotonic())
  }

  /** The mail is safe. `hasRoom`: and in memory. Otherwise more comes in than goes out: who sends is slowed down. */
  stored(pending: StoredPending, hasRoom: boolean): void {
    this.#tools.statistics.accepted += 1
    const { in_flow_delay: delay } = this.#tools.config().service
    if (hasRoom || delay === 0) {
      pending.answer.resolve({ status: 'queued' })
      return
    }
    this.#heldUp.push(pending)
    this.#tools.acknowledgeAfter(delay)
  }

  /** Answers the first of those that are held up. */
  acknowledge(): void {
    this.#heldUp.shift()?.answer.resolve({ status: 'queued' })
  }

  acknowledgeAll(): void {
    while (this.#heldUp.length > 0) this.acknowledge()
  }

  /** Whether who sent the mail still waits to hear that it is safe. */
  isHeldUp(queueId: string): boolean {
    return this.#heldUp.some(({ mail }) => mail.queueId === queueId)
  }

  /** What new mail waits for. */
  state(active: ActiveSet): IntakeState {
    const { counts } = this.#tools
    const { in_flow_delay: delayMs } = this.#tools.config().service
    return {
      refusal: this.#refusal() ?? null,
      heldUp: this.#heldUp.length,
      delayMs,
      incoming: counts.counts(active).incoming,
      mails: active.size,
      mailLimit: active.limits.mails,
      recipients: active.recipients,
      recipientLimit: active.limits.recipients,
    }
  }
}
