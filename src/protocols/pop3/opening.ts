/**
 * From an account to its maildrop: opens the mailbox, fetches what it has of mails, and finds out sizes and X-UIDL
 * fields that nobody knows. Mails that vanish meanwhile make it begin again, a few times.
 */
import type { ActorContext, ActorRef, AnyContract } from '../../actors/index.ts'
import type { Account } from '../../auth/contract.ts'
import {
  type MailboxesContract,
  type OpenResult,
  type PagesResult,
  placeName,
} from '../../mailbox/contract.ts'
import type { Pop3Settings } from './config.ts'
import { type Findings, MailScan, noFindings } from './mail-scan.ts'
import { Maildrop } from './maildrop.ts'

export interface OpeningOptions<C extends AnyContract> {
  readonly context: ActorContext<C>
  readonly account: Account
  readonly settings: Pop3Settings
  /** Memory to read mails into. */
  readonly scratch: Buffer
  /** What was found out about a maildrop that could not be opened after all. */
  readonly keep: (uidValidity: number, findings: Findings) => void
  /** Called once, unless `cancel` was. */
  readonly done: (maildrop: Maildrop, findings: Findings) => void
  readonly failed: (temporary: boolean) => void
}

/** The mailbox may wait two minutes for another program's lock. */
export const mailboxTimeoutMs = 160_000
/** Times the mailbox is opened when mails vanish while they are looked at. */
const openAttempts = 3

export class Opening<C extends AnyContract> {
  readonly #options: OpeningOptions<C>
  #attempt = 0
  #over = false

  constructor(options: OpeningOptions<C>) {
    this.#options = options
  }

  /** Nothing is called any more. */
  cancel(): void {
    this.#over = true
  }

  start(): void {
    const { account, settings } = this.#options
    this.#attempt++
    const options = { keepNew: settings.no_flag_updates, deletedFlag: settings.deleted_flag }
    this.#ask<OpenResult>(
      (mailboxes) =>
        mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'open', account.user, placeName(account), options),
      (result) => {
        if (result.ok) this.#load(new Maildrop(result.snapshot, settings))
        else this.#fail(result.temporary)
      },
    )
  }

  /** Fetches the columns of the pages that are not here yet. */
  #load(maildrop: Maildrop): void {
    if (maildrop.isComplete) {
      this.#loadNames(maildrop, 0)
      return
    }
    this.#pages(maildrop, maildrop.pageCount, false, (pages) => {
      maildrop.addPages(pages)
      this.#load(maildrop)
    })
  }

  /** Names that UIDLs are made of stay; others are fetched when a mail is read. */
  #loadNames(maildrop: Maildrop, from: number): void {
    const page = maildrop.nextNameless(from)
    if (page === -1) {
      this.#scan(maildrop)
      return
    }
    this.#pages(maildrop, page, true, (pages) => {
      maildrop.addNames(page, pages, true)
      this.#loadNames(maildrop, page)
    })
  }

  #scan(maildrop: Maildrop): void {
    const { context, account, settings, scratch, keep, done } = this.#options
    const findings = noFindings()
    const options = { maildir: account.maildir, fast: settings.fast_size_lookups, buffer: scratch }
    const scan = new MailScan(maildrop, options, findings)
    const step = context.bind(() => {
      if (this.#over) return
      const progress = scan.work()
      if (progress === 'more') {
        setImmediate(step)
        return
      }
      if (progress === 'names') {
        const page = maildrop.pageOf(scan.next)
        this.#pages(maildrop, page, true, (pages) => {
          maildrop.addNames(page, pages, false)
          step()
        })
        return
      }
      if (progress === 'done') {
        maildrop.freeze()
        this.#over = true
        done(maildrop, findings)
        return
      }
      // What was found out is not lost: the next attempt has less to do.
      keep(maildrop.uidValidity, findings)
      this.#again(progress === 'vanished')
    })
    step()
  }

  #pages(
    maildrop: Maildrop,
    from: number,
    names: boolean,
    then: (pages: readonly Uint8Array[]) => void,
  ): void {
    const name = placeName(this.#options.account)
    this.#ask<PagesResult>(
      (mailboxes) =>
        mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'pages', name, maildrop.generation, from, names),
      (pages) => {
        if (pages === null || pages.length === 0) this.#again(true)
        else then(pages)
      },
    )
  }

  #again(worthIt: boolean): void {
    if (worthIt && this.#attempt < openAttempts) this.start()
    else this.#fail(true)
  }

  #ask<R>(ask: (mailboxes: ActorRef<MailboxesContract>) => Promise<R>, then: (result: R) => void): void {
    const { context, account } = this.#options
    const mailboxes = context.whereis<MailboxesContract>('mailboxes')
    if (mailboxes === undefined) {
      this.#fail(true)
      return
    }
    ask(mailboxes).then(
      context.bind((result: R) => {
        if (!this.#over) then(result)
      }),
      context.bind((error: Error) => {
        const facts = { event: 'pop3.mailbox', user: account.user, error: error.message }
        context.log.error(facts, 'the mailbox did not answer')
        this.#fail(true)
      }),
    )
  }

  #fail(temporary: boolean): void {
    if (this.#over) return
    this.#over = true
    this.#options.failed(temporary)
  }
}
