/** What a session tells the mailbox it has open: removals, seen marks, and sizes it found out. */
import type { ActorContext, ActorRef, AnyContract } from '../../actors/index.ts'
import {
  type LocateResult,
  type MailboxesContract,
  sizeBytes,
  type UpdateRequest,
  type UpdateResult,
  uidBytes,
} from '../../mailbox/contract.ts'
import { mailboxTimeoutMs, type Sized } from './login.ts'

type Changes = Pick<UpdateRequest, 'expunge' | 'seen' | 'unseen'>

/** Lists of uids as an update has them; empty ones are left out. */
export function changes(lists: { readonly [K in keyof Changes]?: readonly number[] }): Changes {
  const named = Object.entries(lists).filter(([, uids]) => uids.length > 0)
  return Object.fromEntries(named.map(([name, uids]) => [name, uidBytes(uids)]))
}

export class MailboxLink<C extends AnyContract> {
  readonly maildir: string
  readonly #context: ActorContext<C>
  readonly #uidValidity: number
  /** Sizes found out and not yet told. */
  #sized: Sized

  constructor(context: ActorContext<C>, maildir: string, uidValidity: number, sized: Sized) {
    this.#context = context
    this.maildir = maildir
    this.#uidValidity = uidValidity
    this.#sized = sized
  }

  /** Sizes wait to be told. */
  get hasSizes(): boolean {
    return this.#sized.uids.length > 0
  }

  learn(uid: number, octets: number): void {
    this.#sized.uids.push(uid)
    this.#sized.sizes.push(octets)
  }

  /** Has it done; the sizes go along. Rejects when the mailbox does not answer. */
  update(wanted: Changes): Promise<UpdateResult> {
    const request = this.#request(wanted)
    return this.#ask((mailboxes) =>
      mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'update', this.maildir, request),
    )
  }

  /** The same, by a session that is not there to hear the answer. Nothing to do: nothing is sent. */
  tell(wanted: Changes): void {
    if (Object.keys(wanted).length === 0 && !this.hasSizes) return
    this.#context.whereis<MailboxesContract>('mailboxes')?.tell('update', this.maildir, this.#request(wanted))
  }

  /** Where a mail is now, if it was renamed; null: it is gone. */
  locate(uid: number): Promise<LocateResult> {
    return this.#ask((mailboxes) =>
      mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'locate', this.maildir, uid),
    )
  }

  #request(wanted: Changes): UpdateRequest {
    const base = { uidValidity: this.#uidValidity, ...wanted }
    if (!this.hasSizes) return base
    const { uids, sizes } = this.#sized
    this.#sized = { uids: [], sizes: [] }
    return { ...base, sized: { uids: uidBytes(uids), sizes: sizeBytes(sizes) } }
  }

  #ask<R>(ask: (mailboxes: ActorRef<MailboxesContract>) => Promise<R>): Promise<R> {
    const mailboxes = this.#context.whereis<MailboxesContract>('mailboxes')
    return mailboxes === undefined
      ? Promise.reject(new Error('the mailboxes are not running'))
      : ask(mailboxes)
  }
}
