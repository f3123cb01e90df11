/**
 * What becomes of each recipient of a request: exactly one result, whatever way the delivery took. A soft failure on
 * a server that is not the last keeps the recipient for the next one; a hard one is final at once.
 */
import type { DeliveryRecipient, DeliveryRequest, RecipientResult } from '../../../queue/contract.ts'
import { type Failure, isHard, softened } from './failure.ts'

/** Where a result came from. */
export interface Origin {
  /** `name[address]:port`, or `none`. */
  readonly relay: string
  readonly host: string
  /** The server takes over SUCCESS notifications. */
  readonly dsn: boolean
  /** It has the mailboxes. */
  readonly final: boolean
}

export const nowhere: Origin = { relay: 'none', host: '', dsn: false, final: false }

/** Where in its course a delivery is, for the times in the log. */
export interface Stamp {
  /** Milliseconds since the epoch: the transaction began, or nothing came of it. */
  readonly setupAt: number
  /** Deliveries made over this connection; 0: there is none. */
  readonly connUse: number
  readonly tls?: string
}

export interface DispositionOptions {
  readonly softBounce: boolean
  /** Milliseconds since the epoch. */
  now(): number
  /** `delivery_status_filter`: another code and reason for a result. */
  filter?(dsn: string, reason: string): { readonly dsn: string; readonly reason: string }
  warn(event: string, facts: object): void
}

export interface HopStatus {
  readonly dsn: string
  readonly reason: string
}

export class Dispositions {
  readonly #options: DispositionOptions
  readonly #probe: boolean
  readonly #results = new Map<number, { result: RecipientResult; stamp: Stamp; doneAt: number }>()
  /** Where the delivery is now. */
  stamp: Stamp | undefined
  #remaining: DeliveryRecipient[]
  /** Recipients kept for another server, with the reason why. */
  readonly #kept = new Map<number, { failure: Failure; origin: Origin }>()
  /** The last failure that concerns all who are left. */
  #last: Failure | undefined
  #normalSession = false
  #hopStatus: HopStatus | undefined

  constructor(request: Pick<DeliveryRequest, 'recipients' | 'probe'>, options: DispositionOptions) {
    this.#remaining = [...request.recipients]
    this.#probe = request.probe === true
    this.#options = options
  }

  /** Recipients that still need a server. A fresh array after each change. */
  get remaining(): readonly DeliveryRecipient[] {
    return this.#remaining
  }

  /** The last failure that concerns all who are left. */
  get last(): Failure | undefined {
    return this.#last
  }

  /** Whether anything came of the attempt so far, were it a failure. */
  get isTouched(): boolean {
    return this.#results.size > 0 || this.#kept.size > 0 || this.#last !== undefined
  }

  /** In the order they were decided. Those with other times than `stamp`, the last one, have their own. */
  results(): readonly RecipientResult[] {
    return Array.from(this.#results.values(), ({ result, stamp, doneAt }) =>
      stamp === this.stamp ? result : { ...result, times: { ...stamp, doneAt } },
    )
  }

  /** The site is in trouble; only when no session of this request came to a normal end. */
  get hopStatus(): HopStatus | undefined {
    return this.#normalSession ? undefined : this.#hopStatus
  }

  /** A session ended as sessions do, whatever it said about the recipients. */
  sessionWasNormal(): void {
    this.#normalSession = true
  }

  sent(recipient: DeliveryRecipient, dsn: string, reason: string, origin: Origin): void {
    const filtered = this.#filtered(dsn.startsWith('2') ? dsn : '2.0.0', reason)
    this.#decide(recipient, {
      id: recipient.id,
      status: 'sent',
      dsn: filtered.dsn,
      reply: filtered.reason,
      relay: origin.relay,
      ...(origin.host === '' ? {} : { remoteMta: origin.host }),
      ...(origin.dsn ? { dsnRelayed: true } : {}),
      ...(origin.final && !origin.dsn ? { isFinal: true } : {}),
    })
  }

  /** The server would take mail for this recipient. */
  deliverable(recipient: DeliveryRecipient, dsn: string, reason: string, origin: Origin): void {
    this.#decide(recipient, {
      id: recipient.id,
      status: 'deliverable',
      dsn,
      reply: reason,
      relay: origin.relay,
      remoteMta: origin.host,
    })
  }

  /** A failure of one recipient. `final`: no other server will be asked. */
  failed(recipient: DeliveryRecipient, failure: Failure, origin: Origin, final: boolean): void {
    const maySoften = this.#options.softBounce || failure.softUntilFinal === true
    if (!final && (!isHard(failure) || maySoften)) {
      this.#kept.set(recipient.id, { failure, origin })
      return
    }
    this.#conclude(recipient, failure, origin)
  }

  /** The same for all who are left. */
  allFailed(failure: Failure, origin: Origin, final: boolean): void {
    for (const recipient of this.#remaining) this.failed(recipient, failure, origin, final)
  }

  /** No session came about: the reason counts if nothing else does until the end. */
  noSession(failure: Failure): void {
    this.#last = failure
    this.#kept.clear()
    this.stamp = undefined
  }

  /** The last reason why there was no session. */
  get lastFailure(): Failure | undefined {
    return this.#last
  }

  /** No server is left to try: all who remain get the last reason there was. */
  settle(adjust: (failure: Failure) => Failure): void {
    for (const recipient of this.#remaining) {
      const kept = this.#kept.get(recipient.id)
      if (kept !== undefined) this.failed(recipient, kept.failure, kept.origin, true)
      else this.failed(recipient, adjust(this.#last ?? noServer), nowhere, true)
    }
  }

  #conclude(recipient: DeliveryRecipient, given: Failure, origin: Origin): void {
    const filtered = this.#filtered(given.dsn, given.reason)
    const softBounced = this.#options.softBounce && filtered.dsn.startsWith('5')
    const failure = softBounced ? softened({ ...given, ...filtered }) : { ...given, ...filtered }
    const hard = isHard(failure)
    this.#decide(recipient, {
      id: recipient.id,
      status: this.#probe ? 'undeliverable' : hard ? 'bounced' : 'deferred',
      dsn: failure.dsn,
      reply: failure.reason,
      relay: origin.relay,
      ...(failure.remote ? { remoteMta: origin.host } : {}),
      ...(softBounced ? { softBounced } : {}),
    })
    const ofSite = failure.scope === 'site' || failure.scope === 'lookup'
    if (!hard && !softBounced && failure.noThrottle !== true && ofSite) {
      this.#hopStatus ??= { dsn: failure.dsn, reason: failure.reason }
    }
  }

  /** Failures may change between soft and hard; a success stays one. */
  #filtered(dsn: string, reason: string): { readonly dsn: string; readonly reason: string } {
    const { filter, warn } = this.#options
    if (filter === undefined) return { dsn, reason }
    const other = filter(dsn, reason)
    if (other.dsn.startsWith('2') === dsn.startsWith('2')) return other
    warn('delivery.filter-odd', { dsn, instead: other.dsn })
    return { dsn, reason }
  }

  #decide(recipient: DeliveryRecipient, result: RecipientResult): void {
    const now = this.#options.now()
    // Nothing got as far as a server.
    this.stamp ??= { setupAt: now, connUse: 0 }
    this.#results.set(recipient.id, { result, stamp: this.stamp, doneAt: now })
    this.#kept.delete(recipient.id)
    this.#remaining = this.#remaining.filter(({ id }) => id !== recipient.id)
  }
}

const noServer: Failure = {
  scope: 'lookup',
  dsn: '4.3.0',
  reason: 'no server is available for this destination',
  remote: false,
}
