/**
 * What a session asks of other parts of the service. Each answer comes once and later, within the actor of the session. Who
 * cannot be asked has an answer, too: mail matters more than counts, and what cannot be looked up now can be later.
 */
import type { AnvilContract, ClientUse } from '../../../accounting/contract.ts'
import type { ActorContext } from '../../../actors/index.ts'
import type { Account, AuthContract } from '../../../auth/contract.ts'
import { checkQuota, deliveryQuota } from '../../../mailbox/quota.ts'
import type { OperationResult, QueueContract } from '../../../queue/contract.ts'
import type { ServerConfig } from './policy.ts'
import * as replies from './replies.ts'
import type { SessionLog } from './session-log.ts'
import type { ClientEvent, Peer } from './state.ts'

/** Mails the queue looks at in one go, for ETRN. */
const flushPage = 500

export class Questions {
  readonly #context: Pick<ActorContext, 'bind' | 'self' | 'whereis'>
  readonly #log: SessionLog
  readonly #session: string
  /** Deliveries are counted for it. */
  #hasBegun = false

  constructor(context: Pick<ActorContext, 'bind' | 'self' | 'whereis'>, log: SessionLog, session: string) {
    this.#context = context
    this.#log = log
    this.#session = session
  }

  /** The account behind a login name or address; null: there is none. */
  account(key: string, done: (account: Account | null | 'unavailable') => void): void {
    const auth = this.#context.whereis<AuthContract>('auth')
    this.#answer(auth?.ask('account', key), 'auth', done, 'unavailable' as const)
  }

  /** The account a recipient's mail goes to, as `account`; `refused`: not now, and the reply that says so. */
  recipient(
    key: string,
    config: ServerConfig,
    { service }: Peer,
    done: (account: Account | null | 'unavailable' | { readonly refused: string }) => void,
  ): void {
    this.account(key, (account) => {
      if (service !== 'lmtp' || account === null || account === 'unavailable') {
        done(account)
        return
      }
      const { quota, lmtp } = config
      const isWelcome = (isFull: boolean): void => {
        if (isFull) done({ refused: replies.overQuota(quota) })
        else if (lmtp.user_concurrency_limit === 0) done(account)
        else this.#begin(account, lmtp.user_concurrency_limit, done)
      }
      if (!lmtp.rcpt_check_quota) isWelcome(false)
      else this.#answer(this.#isFull(account, config), 'quota', isWelcome, false)
    })
  }

  async #isFull(account: Account, config: ServerConfig): Promise<boolean> {
    try {
      await checkQuota(account.maildir, 1, deliveryQuota(config, account))
      return false
    } catch (error) {
      const { code, message } = error as { readonly code?: unknown; readonly message: string }
      // What cannot be counted now is counted again when the mail is stored.
      if (code !== 'MA_MAILBOX_QUOTA') this.#log.failed('quota', message)
      return code === 'MA_MAILBOX_QUOTA'
    }
  }

  #begin(
    account: Account,
    limit: number,
    done: (account: Account | { readonly refused: string }) => void,
  ): void {
    this.#hasBegun = true
    const anvil = this.#context.whereis<AnvilContract>('anvil')
    const asked = anvil?.ask('begin', this.#context.self, this.#session, account.user, limit)
    const began = (isFree: boolean) => done(isFree ? account : { refused: replies.userBusy })
    this.#answer(asked, 'anvil', began, true)
  }

  /** No delivery of the session is under way any more. */
  finished(): void {
    if (!this.#hasBegun) return
    this.#hasBegun = false
    this.#context.whereis<AnvilContract>('anvil')?.tell('finish', this.#session)
  }

  /** Counts the connection of a client. */
  connected({ service, address }: Peer, done: (use: ClientUse) => void): void {
    const anvil = this.#context.whereis<AnvilContract>('anvil')
    const asked = anvil?.ask('connected', this.#context.self, this.#session, service, address)
    this.#answer(asked, 'anvil', done, { connections: 0, rate: 0 })
  }

  /** Counts what a client does; how often it did so lately. */
  did(event: ClientEvent, { service, address }: Peer, done: (rate: number) => void): void {
    const anvil = this.#context.whereis<AnvilContract>('anvil')
    this.#answer(anvil?.ask('did', event, service, address), 'anvil', done, 0)
  }

  /** Makes the waiting mail of a domain due. Answered when the first of it is; the rest follows. */
  flush(domain: string, done: (isStarted: boolean) => void): void {
    const page = (after: string): void => {
      const queue = this.#context.whereis<QueueContract>('queue')
      const selection = { recipient: `@${domain.toLowerCase()}` }
      const asked = queue?.ask('operate', 'flush', selection, { after, limit: flushPage })
      const took = (result: OperationResult | undefined): void => {
        if (after === '') done(result !== undefined)
        if (result !== undefined && result.next !== '') page(result.next)
      }
      this.#answer(asked, 'queue', took, undefined)
    }
    page('')
  }

  #answer<T, F>(
    asked: Promise<T> | undefined,
    part: string,
    done: (answer: T | F) => void,
    otherwise: F,
  ): void {
    const failed = (why: string): void => {
      this.#log.failed(part, why)
      done(otherwise)
    }
    if (asked === undefined) {
      // Not at once: who asks is not done with what it does.
      queueMicrotask(this.#context.bind(() => failed(`${part} is not running`)))
    } else
      asked.then(
        this.#context.bind(done),
        this.#context.bind((error: Error) => failed(error.message)),
      )
  }
}
