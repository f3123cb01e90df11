/** What a session tells the mailbox it has open: removals, seen marks, and sizes it found out. */
import { statSync } from 'node:fs'
import { join } from 'node:path'
import type { ActorContext, ActorRef, AnyContract } from '../../actors/index.ts'
import type { Account } from '../../auth/contract.ts'
import type { Config } from '../../config/settings.ts'
import {
  type LocateResult,
  type MailboxesContract,
  type PagesResult,
  placeName,
  sizeBytes,
  type UpdateRequest,
  type UpdateResult,
  uidBytes,
} from '../../mailbox/contract.ts'
import { type Findings, isEmpty, noFindings } from './mail-scan.ts'
import type { Maildrop } from './maildrop.ts'
import { mailboxTimeoutMs } from './opening.ts'

type Lists = Pick<UpdateRequest, 'expunge' | 'seen' | 'unseen'>
export type Changes = Lists & Pick<UpdateRequest, 'flag' | 'takeIn'>

/** Lists of uids as an update has them; empty ones are left out. */
export function changes(lists: { readonly [K in keyof Lists]?: readonly number[] }): Changes {
  const named = Object.entries(lists).filter(([, uids]) => uids.length > 0)
  return Object.fromEntries(named.map(([name, uids]) => [name, uidBytes(uids)]))
}

export class MailboxLink<C extends AnyContract> {
  readonly maildir: string
  readonly #name: string
  readonly #home: string
  readonly #context: ActorContext<C>
  readonly #uidValidity: number
  /** Found out and not yet told. */
  #findings: Findings | undefined
  /** Its UIDLs may have to be kept. */
  readonly #maildrop: Maildrop | undefined

  constructor(
    context: ActorContext<C>,
    account: Account,
    uidValidity: number,
    findings: Findings,
    maildrop?: Maildrop,
  ) {
    this.#context = context
    this.maildir = account.maildir
    this.#name = placeName(account)
    this.#home = account.home
    this.#uidValidity = uidValidity
    this.#findings = isEmpty(findings) ? undefined : findings
    this.#maildrop = maildrop
  }

  /** Something was found out and waits to be told. */
  get hasFindings(): boolean {
    return this.#findings !== undefined
  }

  learn(uid: number, octets: number): void {
    this.#findings ??= noFindings()
    this.#findings.sized.uids.push(uid)
    this.#findings.sized.sizes.push(octets)
  }

  /** The name of its file says a wrong size. */
  misnamed(uid: number): void {
    this.#findings ??= noFindings()
    this.#findings.misnamed.push(uid)
  }

  /** Has it done; what was found out goes along. Rejects when the mailbox does not answer. */
  update(wanted: Changes): Promise<UpdateResult> {
    const request = this.#request(wanted)
    return this.#ask((mailboxes) =>
      mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'update', this.#name, request),
    )
  }

  /** The same, by a session that is not there to hear the answer. Nothing to do: nothing is sent. */
  tell(wanted: Changes): void {
    const request = this.#request(wanted)
    if (Object.keys(request).length === 1) return
    this.#context.whereis<MailboxesContract>('mailboxes')?.tell('update', this.#name, request)
  }

  /** The session is over. Most mailboxes want to hear nothing of it. */
  left(): void {
    const { mail } = this.#context.setting<Config>('config')!
    if (mail.autoexpunge === 0 && mail.autoexpunge_max_mails === 0) return
    this.#context.whereis<MailboxesContract>('mailboxes')?.tell('left', this.#name, this.#home)
  }

  /** Pages with file names from number `from` on. */
  names(generation: number, from: number): Promise<PagesResult> {
    return this.#ask((mailboxes) =>
      mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'pages', this.#name, generation, from, true),
    )
  }

  /** Where a mail is now, if it was renamed or is gone. */
  locate(uid: number, generation: number, keepNew: boolean): Promise<LocateResult> {
    const request = { uid, generation, keepNew }
    return this.#ask((mailboxes) =>
      mailboxes.askWith({ timeoutMs: mailboxTimeoutMs }, 'locate', this.#name, request),
    )
  }

  /** When `new/` was changed last, in nanoseconds since the epoch; undefined: it cannot be looked at. */
  newTime(): string | undefined {
    try {
      return String(statSync(join(this.maildir, 'new'), { bigint: true }).mtimeNs)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === undefined) throw error
      return undefined
    }
  }

  #request(wanted: Changes): UpdateRequest {
    const { sized, xuidls, misnamed } = this.#findings ?? noFindings()
    this.#findings = undefined
    const uidls = this.#maildrop?.takeUidls()
    return {
      uidValidity: this.#uidValidity,
      ...wanted,
      ...(sized.uids.length > 0 && { sized: { uids: uidBytes(sized.uids), sizes: sizeBytes(sized.sizes) } }),
      ...(xuidls.uids.length > 0 && {
        xuidls: { uids: uidBytes(xuidls.uids), values: `${xuidls.values.join('\n')}\n` },
      }),
      ...(misnamed.length > 0 && { misnamed: uidBytes(misnamed) }),
      ...(uidls !== undefined && { uidls: { uids: uidBytes(uidls.uids), values: uidls.values } }),
    }
  }

  #ask<R>(ask: (mailboxes: ActorRef<MailboxesContract>) => Promise<R>): Promise<R> {
    const mailboxes = this.#context.whereis<MailboxesContract>('mailboxes')
    return mailboxes === undefined
      ? Promise.reject(new Error('the mailboxes are not running'))
      : ask(mailboxes)
  }
}
