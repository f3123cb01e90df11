/**
 * From a user name and a password to an open maildrop: check them, count the session, open the mailbox, find out
 * sizes that nobody knows. The positive answer is given only after all of it (RFC 1939 section 4), so a failure is
 * always the answer to the command that logged in.
 */
import type { AccountingContract, ConnectResult } from '../../accounting/contract.ts'
import type { ActorContext, ActorRef, AnyContract } from '../../actors/index.ts'
import type { Account, AuthContract, VerifyResult } from '../../auth/contract.ts'
import type { Pop3Settings } from './config.ts'
import type { Findings } from './mail-scan.ts'
import type { Maildrop } from './maildrop.ts'
import { Opening } from './opening.ts'
import { SessionLock } from './session-lock.ts'
import { timeStamp } from './time-stamp.ts'

export interface OpenMaildrop<C extends AnyContract> {
  readonly account: Account
  readonly maildrop: Maildrop
  readonly findings: Findings
  /** With `pop3.lock_session`. */
  readonly lock: SessionLock<C> | undefined
}

export type LoginResult<C extends AnyContract> =
  | ({ readonly ok: true } & OpenMaildrop<C>)
  /** `close`: the connection ends with this answer; otherwise the client may try again. */
  | { readonly ok: false; readonly line: string; readonly reason: string; readonly close: boolean }

export interface LoginOptions<C extends AnyContract> {
  readonly context: ActorContext<C>
  readonly service: string
  readonly session: string
  /** By which the accounting knows the session. */
  readonly counted: string
  readonly remote: string
  readonly settings: Pop3Settings
  readonly hostname: string
  /** See `mail.dotlock_excl`. */
  readonly exclusiveLocks: boolean
  /** Memory to read mails into. */
  readonly scratch: Buffer
  /** What was found out about a maildrop that could not be opened after all. */
  readonly keep: (account: Account, uidValidity: number, findings: Findings) => void
  /** Called once, unless `cancel` was. */
  readonly done: (result: LoginResult<C>) => void
}

/** A refused login is answered late on purpose, and a slow hash may wait for its turn. */
const verifyTimeoutMs = 120_000

/** The answer to any login that was refused: it never says why. */
export const refusedLogin = '-ERR [AUTH] wrong user name or password'
/** With where and when, for whoever looks into the log. */
export const notNow = (hostname: string, now: number): string =>
  `-ERR [SYS/TEMP] logins cannot be checked now, try again later [${hostname}:${timeStamp(now)}]`

/** Answers to a user that is who it says, and is not let in all the same. */
const notCounted = {
  userip: {
    line: '-ERR [IN-USE] too many sessions of this user from your address',
    reason: 'connection limit',
    close: true,
  },
  full: { line: '-ERR [SYS/TEMP] too many sessions, try again later', reason: 'session limit', close: true },
  'too-soon': {
    line: '-ERR [LOGIN-DELAY] too soon after the last login',
    reason: 'login delay',
    close: false,
  },
} as const

export class Login<C extends AnyContract> {
  readonly #options: LoginOptions<C>
  #over = false
  #lock: SessionLock<C> | undefined
  #opening: Opening<C> | undefined

  constructor(options: LoginOptions<C>) {
    this.#options = options
  }

  /** The connection ended: nothing is called any more. */
  cancel(): void {
    this.#over = true
    this.#opening?.cancel()
    this.#unlock()
  }

  /** With what the auth actor is to be asked. */
  start(
    check: (auth: ActorRef<AuthContract>, options: { timeoutMs: number }) => Promise<VerifyResult>,
  ): void {
    const { context } = this.#options
    const auth = context.whereis<AuthContract>('auth')
    if (auth === undefined) {
      this.#notNow()
      return
    }
    check(auth, { timeoutMs: verifyTimeoutMs }).then(
      context.bind((result: VerifyResult) => {
        if (this.#over) return
        if (result.ok) this.accepted(result.account)
        else if (result.reason === 'internal') this.#notNow()
        else this.#refuse(refusedLogin, 'credentials')
      }),
      context.bind((error: Error) => {
        this.#log('pop3.auth', error)
        this.#notNow()
      }),
    )
  }

  /** The client has shown who it is. Is there room for one more session of this user from there? */
  accepted(account: Account): void {
    const { context, counted: session, service, remote } = this.#options
    const counted = context.bind((result: ConnectResult) => {
      if (this.#over) return
      if (result === 'ok') this.#lockThenOpen(account)
      else this.#finish({ ok: false, ...notCounted[result] })
    })
    const accounting = context.whereis<AccountingContract>('accounting')
    // A registry that does not answer is no reason to keep anyone from their mail.
    if (accounting === undefined) counted('ok')
    else {
      accounting
        .ask('connect', context.self, session, service, account.user, remote)
        .then(counted, () => counted('ok'))
    }
  }

  #lockThenOpen(account: Account): void {
    const { context, settings, hostname, exclusiveLocks: exclusive } = this.#options
    if (!settings.lock_session) {
      this.#open(account)
      return
    }
    const { maildir, index: folder = maildir } = account
    const { lock_wait: waitMs, lock_stale: staleMs } = settings
    const wanted = { maildir, folder, hostname, waitMs, staleMs, exclusive }
    SessionLock.take(context, wanted).then(
      context.bind((lock: SessionLock<C> | undefined) => {
        this.#lock = lock
        if (this.#over) this.#unlock()
        else if (lock !== undefined) this.#open(account)
        else {
          this.#uncount()
          const line = '-ERR [IN-USE] another session has the mailbox, try again later'
          this.#finish({ ok: false, line, reason: 'locked', close: settings.close_on_busy })
        }
      }),
      context.bind((error: Error) => {
        this.#log('pop3.lock', error)
        this.#uncount()
        const line = `-ERR [SYS/TEMP] the mailbox cannot be locked now, try again later ${this.#time}`
        this.#finish({ ok: false, line, reason: 'lock', close: true })
      }),
    )
  }

  #unlock(): void {
    this.#lock?.release()
    this.#lock = undefined
  }

  #uncount(): void {
    const { context, counted: session } = this.#options
    context.whereis<AccountingContract>('accounting')?.tell('disconnect', session)
  }

  #open(account: Account): void {
    const { context, settings, scratch, keep } = this.#options
    this.#opening = new Opening({
      context,
      account,
      settings,
      scratch,
      keep: (uidValidity, findings) => keep(account, uidValidity, findings),
      done: (maildrop, findings) => {
        const lock = this.#lock
        this.#lock = undefined
        this.#finish({ ok: true, account, maildrop, findings, lock })
      },
      failed: (temporary) => this.#openFailed(temporary),
    })
    this.#opening.start()
  }

  #openFailed(temporary: boolean): void {
    this.#unlock()
    this.#uncount()
    const line = temporary
      ? '-ERR [SYS/TEMP] the mailbox cannot be opened now, try again later'
      : '-ERR [SYS/PERM] the mailbox cannot be opened, please tell the administrator'
    this.#finish({ ok: false, line: `${line} ${this.#time}`, reason: 'mailbox', close: true })
  }

  get #time(): string {
    return `[${timeStamp(this.#options.context.clock.now())}]`
  }

  #notNow(): void {
    const { hostname, context } = this.#options
    this.#refuse(notNow(hostname, context.clock.now()), 'internal')
  }

  #refuse(line: string, reason: string): void {
    this.#finish({ ok: false, line, reason, close: false })
  }

  #finish(result: LoginResult<C>): void {
    if (this.#over) return
    this.#over = true
    this.#options.done(result)
  }

  #log(event: string, error: Error): void {
    const { context, session, remote } = this.#options
    context.log.error({ event, session, remote, error: error.message }, 'login could not be completed')
  }
}
