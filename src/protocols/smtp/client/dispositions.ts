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
}

export const nowhere: Origin = { relay: 'none', host: '', dsn: false }

export interface HopStatus {
  readonly dsn: string
  readonly reason: string
}

export class Dispositions {
  readonly #softBounce: boolean
  readonly #probe: boolean
  readonly #results = new Map<number, RecipientResult>()
  #remaining: DeliveryRecipient[]
  /** Recipients kept for another server, with the reason why. */
  readonly #kept = new Map<number, { failure: Failure; origin: Origin }>()
  /** The last failure that concerns all who are left. */
  #last: Failure | undefined
  #normalSession = false
  #hopStatus: HopStatus | undefined

  constructor(request: Pick<DeliveryRequest, 'recipients' | 'probe'>, softBounce: boolean) {
    this.#remaining = [...request.recipients]
    this.#probe = request.probe === true
    this.#softBounce = softBounce
  }

  /** Recipients that still need a server. A fresh array after each change. */
  get remaining(): readonly DeliveryRecipient[] {
    return this.#remaining
  }

  /** Whether anything came of the attempt so far, were it a failure. */
  get isTouched(): boolean {
    return this.#results.size > 0 || this.#kept.size > 0 || this.#last !== undefined
  }

  /** In the order they were decided. */
  get results(): readonly RecipientResult[] {
    return [...this.#results.values()]
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
    const code = dsn.startsWith('2') ? dsn : '2.0.0'
    this.#decide(recipient, {
      id: recipient.id,
      status: 'sent',
      dsn: code,
      reply: reason,
      relay: origin.relay,
      ...(origin.host === '' ? {} : { remoteMta: origin.host }),
      ...(origin.dsn ? { dsnRelayed: true } : {}),
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
    const maySoften = this.#softBounce || failure.softUntilFinal === true
    if (!final && (!isHard(failure) || maySoften)) {
      this.#kept.set(recipient.id, { failure, origin })
      return
    }
    this.#conclude(recipient, this.#softBounce ? softened(failure) : failure, origin)
  }

  /** The same for all who are left. */
  allFailed(failure: Failure, origin: Origin, final: boolean): void {
    for (const recipient of this.#remaining) this.failed(recipient, failure, origin, final)
  }

  /** No session came about: the reason counts if nothing else does until the end. */
  noSession(failure: Failure): void {
    this.#last = failure
    this.#kept.clear()
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

  #conclude(recipient: DeliveryRecipient, failure: Failure, origin: Origin): void {
    const hard = isHard(failure)
    this.#decide(recipient, {
      id: recipient.id,
      status: this.#probe ? 'undeliverable' : hard ? 'bounced' : 'deferred',
      dsn: failure.dsn,
      reply: failure.reason,
      relay: origin.relay,
      ...(failure.remote ? { remoteMta: origin.host } : {}),
    })
    if (!hard && failure.noThrottle !== true && (failure.scope === 'site' || failure.scope === 'lookup')) {
      this.#hopStatus ??= { dsn: failure.dsn, reason: failure.reason }
    }
  }

  #decide(recipient: DeliveryRecipient, result: RecipientResult): void {
    this.#results.set(recipient.id, result)
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
