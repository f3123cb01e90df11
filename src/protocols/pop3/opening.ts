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
import { MailList, SharedLists } from './mail-list.ts'
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
        if (result.ok)
          this.#load(this.#shared.find(this.#key, result.snapshot) ?? new MailList(result.snapshot))
        else this.#fail(result.temporary)
      },
    )
  }

  get #shared(): SharedLists {
    return this.#options.context.local('pop3.lists', () => new SharedLists())
  }

  get #key(): string {
    const { account, settings } = this.#options
    return `${settings.fast_size_lookups} ${placeName(account)}`
  }

  /** Fetches the columns of the pages that are not here yet. */
  #load(list: MailList): void {
    if (list.isComplete) {
      this.#loadNames(new Maildrop(list, this.#options.settings), 0)
      return
    }
    this.#pages(list, list.pageCount, false, (pages) => {
      list.addPages(pages)
      this.#load(list)
    })
  }

  /** Names that UIDLs are made of stay; others are fetched when a mail is read. */
  #loadNames(maildrop: Maildrop, from: number): void {
    const page = maildrop.nextNameless(from)
    if (page === -1) {
      this.#scan(maildrop)
      return
    }
    this.#pages(maildrop.list, page, true, (pages) => {
      maildrop.list.addNames(page, pages, true)
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
        const { list } = maildrop
        const page = list.pageOf(scan.next)
        this.#pages(list, page, true, (pages) => {
          list.addNames(page, pages, false)
          step()
        })
        return
      }
      if (progress === 'done') {
        maildrop.list.freeze()
        this.#over = true
        const list = this.#shared.share(this.#key, maildrop.list)
        done(list === maildrop.list ? maildrop : new Maildrop(list, settings), findings)
        return
      }
      // What was found out is not lost: the next attempt has less to do.
      keep(maildrop.uidValidity, findings)
      this.#again(progress === 'vanished')
    })
    step()
  }

  #pages(list: MailList, from: number, names: boolean, then: (pages: readonly Uint8Array[]) => void): void {
    const name = placeName(this.#options.account)
    this.#ask<PagesResult>(
      (mailboxes) =>
        mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'pages', name, list.generation, from, names),
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
