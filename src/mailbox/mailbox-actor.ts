/** The actor of one mailbox: one request at a time, and it leaves when nobody has asked for a while. */
import { type ActorContext, type ActorRef, actor, MailactorsError, normal } from '../actors/index.ts'
import type { MailboxSettings } from './config.ts'
import type {
  LocateRequest,
  LocateResult,
  MailboxContract,
  OpenOptions,
  OpenResult,
  PagesResult,
  RebuildResult,
  UpdateRequest,
  UpdateResult,
} from './contract.ts'
import { MailboxError } from './errors.ts'
import type { MailboxIndexContract } from './index-actor.ts'
import type { IndexWrite } from './index-store.ts'
import { Mailbox, type MailboxOptions, rebuilt } from './mailbox.ts'
import { placeOf } from './place.ts'
import type { MailboxIndex } from './register.ts'

/** The parts of the configuration a mailbox needs. */
export interface MailboxConfig extends MailboxSettings {
  readonly hostname: string
  readonly data_dir: string
}

/** The index did not take a write; the mailbox goes on without. */
class IndexError extends MailactorsError {
  readonly code = 'MA_MAILBOX_INDEX'
}

/** What can wait for the index waits so long, so that a busy mailbox is not written for every session. */
const saveDelayMs = 1_000

/** The uid list is written anew so soon, as others may read it; not before the client has its answer. */
const tidyDelayMs = 10

/** Room for a slow disk with a long queue. */
const indexTimeoutMs = 30_000

/** Looking at what was delivered takes at most this part of the time: the more there is, the less often. */
const takeInShare = 1 / 30
/** And writing the uid list anew this one. */
const tidyShare = 1 / 10

class MailboxKeeper {
  readonly #context: ActorContext<MailboxContract>
  readonly #options: MailboxOptions
  #mailbox: Mailbox
  readonly #idleMs: number
  #usedAt: number
  /** Not looked at deliveries before; what has come then is left to the next one, or to a session. */
  #takeInAt = 0
  /** The uid list is not written anew before. */
  #tidyAt = 0
  #timer = 0
  #tickAt = Number.POSITIVE_INFINITY

  constructor(context: ActorContext<MailboxContract>, name: string) {
    const config = context.setting<MailboxConfig>('config')!
    this.#context = context
    this.#idleMs = config.mailbox.idle_close
    this.#usedAt = context.clock.monotonic()
    this.#options = {
      ...placeOf(name),
      hostname: config.hostname,
      index: indexOf(context),
      settings: config,
      log: context.log,
    }
    this.#mailbox = new Mailbox(this.#options)
    this.#tickIn(this.#idleMs)
  }

  async open(user: string, options: OpenOptions): Promise<OpenResult> {
    this.#used()
    try {
      const snapshot = await this.#mailbox.open(options)
      return { ok: true, snapshot }
    } catch (error) {
      return this.#refusal(error, user)
    } finally {
      this.#saveLater()
    }
  }

  async update(request: UpdateRequest): Promise<UpdateResult> {
    this.#used()
    try {
      return { ok: true, failed: await this.#mailbox.update(request) }
    } catch (error) {
      return this.#refusal(error, '')
    } finally {
      this.#saveLater()
    }
  }

  pages(generation: number, from: number, withNames: boolean): PagesResult {
    this.#used()
    return this.#mailbox.pages(generation, from, withNames)
  }

  async rebuild(): Promise<RebuildResult> {
    this.#used()
    try {
      this.#mailbox = await rebuilt(this.#mailbox, this.#options)
      return { ok: true, mails: this.#mailbox.count }
    } catch (error) {
      return this.#refusal(error, '')
    }
  }

  /** Nobody waits for this: a failure is only logged. */
  async left(home: string): Promise<void> {
    this.#used()
    try {
      const mails = await this.#mailbox.autoexpunge(home)
      const facts = { event: 'mailbox.autoexpunge', mails }
      if (mails > 0) this.#context.log.info(facts, 'old mails removed')
    } catch (error) {
      this.#refusal(error, '')
    } finally {
      this.#saveLater()
    }
  }

  async locate(request: LocateRequest): Promise<LocateResult> {
    this.#used()
    try {
      return { ok: true, ...(await this.#mailbox.locate(request)) }
    } catch (error) {
      return this.#refusal(error, '')
    } finally {
      this.#saveLater()
    }
  }

  /** Nobody waits for this either. */
  async takeIn(): Promise<void> {
    const { clock } = this.#context
    const startedAt = clock.monotonic()
    if (startedAt < this.#takeInAt) return
    try {
      await this.#mailbox.takeIn()
    } catch (error) {
      this.#refusal(error, '')
    } finally {
      const doneAt = clock.monotonic()
      this.#takeInAt = doneAt + (doneAt - startedAt) / takeInShare
      this.#saveLater()
    }
  }

  count(): number {
    return this.#mailbox.count
  }

  async tick(): Promise<void> {
    this.#tickAt = Number.POSITIVE_INFINITY
    await this.#tidy()
    if (this.#mailbox.unsaved) await this.#mailbox.save()
    const idle = this.#context.clock.monotonic() - this.#usedAt
    if (idle >= this.#idleMs) this.#context.stop(normal)
    else this.#tickIn(this.#idleMs - idle)
  }

  /** Sizes that a session found out and the like: a Dovecot that comes next need not find them out again. */
  async #tidy(): Promise<void> {
    if (!this.#mailbox.listIsBehind) return
    const { clock } = this.#context
    const startedAt = clock.monotonic()
    if (startedAt < this.#tidyAt) {
      this.#tickIn(this.#tidyAt - startedAt)
      return
    }
    await this.#mailbox.tidy()
    const doneAt = clock.monotonic()
    this.#tidyAt = doneAt + (doneAt - startedAt) / tidyShare
  }

  async terminate(): Promise<void> {
    await this.#mailbox.close()
  }

  #used(): void {
    this.#usedAt = this.#context.clock.monotonic()
  }

  #saveLater(): void {
    if (this.#mailbox.listIsBehind) this.#tickIn(tidyDelayMs)
    else if (this.#mailbox.unsaved) this.#tickIn(saveDelayMs)
  }

  /** One timer serves both purposes; the earlier time wins. */
  #tickIn(delayMs: number): void {
    const at = this.#context.clock.monotonic() + delayMs
    if (at >= this.#tickAt) return
    if (this.#tickAt !== Number.POSITIVE_INFINITY) this.#context.cancelTimer(this.#timer)
    this.#tickAt = at
    this.#timer = this.#context.sendAfter(delayMs, 'tick')
  }

  /** Expected failures are answers; what is not of the file system is a fault of ours and ends the actor. */
  #refusal(error: unknown, user: string): { ok: false; temporary: boolean; reason: string } {
    if (!(error instanceof MailboxError)) throw error
    const facts = { event: 'mailbox.failed', user, code: error.code, error: error.message, ...error.details }
    this.#context.log.error(facts, 'mailbox operation failed')
    return { ok: false, temporary: error.temporary, reason: error.message }
  }
}

/** The index by way of its owner. Found anew at each use: it may have been restarted. */
function indexOf(context: ActorContext<MailboxContract>): MailboxIndex {
  const owner = (): ActorRef<MailboxIndexContract> => {
    const ref = context.whereis<MailboxIndexContract>('mailbox-index')
    if (ref === undefined) throw new IndexError('the mailbox index is not running')
    return ref
  }
  return {
    async load(maildir) {
      try {
        return await owner().askWith({ timeoutMs: indexTimeoutMs }, 'load', maildir)
      } catch (error) {
        if (!(error instanceof MailactorsError)) throw error
        // Without the index everything is read from the Maildir.
        context.log.warn({ event: 'mailbox.index', path: maildir, error: error.message }, 'index not read')
        return null
      }
    },
    async save(write: IndexWrite) {
      const failure = await owner().askWith({ timeoutMs: indexTimeoutMs }, 'save', write)
      if (failure !== '') throw new IndexError(failure, { path: write.maildir })
    },
  }
}

export const mailboxActor = actor<MailboxContract, string>({
  name: 'mailbox',
  module: import.meta.url,
  init: (context, name) => new MailboxKeeper(context, name),
})
