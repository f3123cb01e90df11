/**
 * From a user name and a password to an open maildrop: check them, count the session, open the mailbox, find out
 * sizes that nobody knows. The positive answer is given only after all of it (RFC 1939 section 4), so a failure is
 * always the answer to the command that logged in.
 */
import type { AccountingContract } from '../../accounting/contract.ts'
import type { ActorContext, ActorRef, AnyContract } from '../../actors/index.ts'
import type { Account, AuthContract, VerifyResult } from '../../auth/contract.ts'
import type { MailboxesContract, OpenResult } from '../../mailbox/contract.ts'
import type { Pop3Settings } from './config.ts'
import { Maildrop } from './maildrop.ts'
import { SizeScan } from './size-scan.ts'

/** Sizes that were found out by reading mails, by uid. */
export interface Sized {
  readonly uids: number[]
  readonly sizes: number[]
}

export type LoginResult =
  | { readonly ok: true; readonly account: Account; readonly maildrop: Maildrop; readonly sized: Sized }
  /** `close`: the connection ends with this answer; otherwise the client may try again. */
  | { readonly ok: false; readonly line: string; readonly reason: string; readonly close: boolean }

export interface LoginOptions<C extends AnyContract> {
  readonly context: ActorContext<C>
  readonly service: string
  readonly session: string
  readonly remote: string
  readonly settings: Pop3Settings
  /** Memory to read mails into. */
  readonly scratch: Buffer
  /** Sizes of a maildrop that could not be opened after all. */
  readonly keep: (account: Account, uidValidity: number, sized: Sized) => void
  /** Called once, unless `cancel` was. */
  readonly done: (result: LoginResult) => void
}

/** A refused login is answered late on purpose, and a slow hash may wait for its turn. */
const verifyTimeoutMs = 120_000
/** The mailbox may wait two minutes for another program's lock. */
export const mailboxTimeoutMs = 160_000
/** Times the mailbox is opened again when mails vanish while their sizes are being found out. */
const openAttempts = 3

/** The answer to any login that was refused: it never says why. */
export const refusedLogin = '-ERR [AUTH] wrong user name or password'
export const notNow = '-ERR [SYS/TEMP] logins cannot be checked now, try again later'

export class Login<C extends AnyContract> {
  readonly #options: LoginOptions<C>
  #over = false

  constructor(options: LoginOptions<C>) {
    this.#options = options
  }

  /** The connection ended: nothing is called any more. */
  cancel(): void {
    this.#over = true
  }

  /** With what the auth actor is to be asked. */
  start(
    check: (auth: ActorRef<AuthContract>, options: { timeoutMs: number }) => Promise<VerifyResult>,
  ): void {
    const { context } = this.#options
    const auth = context.whereis<AuthContract>('auth')
    if (auth === undefined) {
      this.#refuse(notNow, 'internal')
      return
    }
    check(auth, { timeoutMs: verifyTimeoutMs }).then(
      context.bind((result: VerifyResult) => {
        if (this.#over) return
        if (result.ok) this.accepted(result.account)
        else if (result.reason === 'internal') this.#refuse(notNow, 'internal')
        else this.#refuse(refusedLogin, 'credentials')
      }),
      context.bind((error: Error) => {
        this.#log('pop3.auth', error)
        this.#refuse(notNow, 'internal')
      }),
    )
  }

  /** The client has shown who it is. Is there room for one more session of this user from there? */
  accepted(account: Account): void {
    const { context, session, service, remote } = this.#options
    const counted = context.bind((ok: boolean) => {
      if (this.#over) return
      if (ok) this.#open(account, 1)
      else this.#refuse('-ERR [IN-USE] too many sessions of this user from your address', 'limit')
    })
    const accounting = context.whereis<AccountingContract>('accounting')
    // A registry that does not answer is no reason to keep anyone from their mail.
    if (accounting === undefined) counted(true)
    else {
      accounting
        .ask('connect', context.self, session, service, account.user, remote)
        .then(counted, () => counted(true))
    }
  }

  #open(account: Account, attempt: number): void {
    const { context, settings } = this.#options
    const mailboxes = context.whereis<MailboxesContract>('mailboxes')
    if (mailboxes === undefined) {
      this.#openFailed(true)
      return
    }
    mailboxes
      .askWith(
        { timeoutMs: mailboxTimeoutMs },
        'open',
        account.user,
        account.maildir,
        settings.no_flag_updates,
      )
      .then(
        context.bind((result: OpenResult) => {
          if (this.#over) return
          if (result.ok) this.#size(new Maildrop(result.snapshot, settings), account, attempt)
          else this.#openFailed(result.temporary)
        }),
        context.bind((error: Error) => {
          this.#log('pop3.mailbox', error)
          this.#openFailed(true)
        }),
      )
  }

  #size(maildrop: Maildrop, account: Account, attempt: number): void {
    const { context, settings, scratch, keep } = this.#options
    const scan = new SizeScan(maildrop, account.maildir, settings.fast_size_lookups, scratch)
    const sized: Sized = { uids: scan.uids, sizes: scan.sizes }
    const step = context.bind(() => {
      if (this.#over) return
      const progress = scan.work()
      if (progress === 'more') {
        setImmediate(step)
        return
      }
      if (progress === 'done') {
        maildrop.freeze()
        this.#finish({ ok: true, account, maildrop, sized })
        return
      }
      // What was found out is not lost: the next attempt has less to do.
      keep(account, maildrop.uidValidity, sized)
      if (progress === 'vanished' && attempt < openAttempts) this.#open(account, attempt + 1)
      else this.#openFailed(true)
    })
    step()
  }

  #openFailed(temporary: boolean): void {
    const { context, session } = this.#options
    context.whereis<AccountingContract>('accounting')?.tell('disconnect', session)
    const line = temporary
      ? '-ERR [SYS/TEMP] the mailbox cannot be opened now, try again later'
      : '-ERR [SYS/PERM] the mailbox cannot be opened, please tell the administrator'
    this.#finish({ ok: false, line, reason: 'mailbox', close: true })
  }

  #refuse(line: string, reason: string): void {
    this.#finish({ ok: false, line, reason, close: false })
  }

  #finish(result: LoginResult): void {
    if (this.#over) return
    this.#over = true
    this.#options.done(result)
  }

  #log(event: string, error: Error): void {
    const { context, session, remote } = this.#options
    context.log.error({ event, session, remote, error: error.message }, 'login could not be completed')
  }
}
