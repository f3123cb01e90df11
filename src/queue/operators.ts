/** What operators do with mails by their ids: look, remove, hold, release. Each change is a transaction of its own. */
import type { Logger } from '../actors/index.ts'
import type { ActiveSet } from './active.ts'
import type { ContentFolder } from './content.ts'
import type { QueueListing } from './contract.ts'
import { listMail, listPage } from './listing.ts'
import type { MailCounts } from './mail-counts.ts'
import type { QueueStore, StoredMail } from './store.ts'

/** Mails one request may name. */
const idsPerRequest = 10_000

export interface OperatorTools {
  readonly store: QueueStore
  readonly folder: ContentFolder
  readonly active: ActiveSet
  readonly counts: MailCounts
  readonly log: Logger
  /** `transport:nexthop` of an address that was not tried yet. */
  destination(address: string): string
  /** Takes a mail out of memory. */
  forget(mail: StoredMail): void
}

export class Operators {
  readonly #tools: OperatorTools

  constructor(tools: OperatorTools) {
    this.#tools = tools
  }

  list(after: string, limit: number): readonly QueueListing[] {
    return listPage(after, limit, this.#tools)
  }

  show(queueId: string): QueueListing | null {
    const mail = this.#tools.store.mailByQueueId(queueId)
    return mail === undefined ? null : listMail(mail, this.#tools)
  }

  /** The first `limit` octets; null when there is no such mail, or its content is missing. */
  content(queueId: string, limit: number): Uint8Array | null {
    const mail = this.#tools.store.mailByQueueId(queueId)
    return mail === undefined ? null : (this.#tools.active.beginning(mail, Math.max(0, limit)) ?? null)
  }

  remove(queueIds: readonly string[]): readonly string[] {
    const { store, folder, counts, log } = this.#tools
    const mails = this.#find(queueIds)
    if (mails.length === 0) return []
    store.transaction(() => {
      for (const mail of mails) store.removeMail(mail)
    })
    for (const mail of mails) {
      counts.take(mail.state)
      this.#tools.forget(mail)
      if (mail.file !== undefined) folder.remove(mail.file)
      log.info(
        { event: 'mail.removed', queueId: mail.queueId, by: 'operator' },
        'mail removed from the queue',
      )
    }
    return mails.map(({ queueId }) => queueId)
  }

  hold(queueIds: readonly string[]): readonly string[] {
    const mails = this.#find(queueIds).filter(({ state }) => state !== 'corrupt')
    for (const mail of mails) if (mail.state !== 'hold') this.park(mail, 'hold')
    return mails.map(({ queueId }) => queueId)
  }

  /** Held and corrupt mail becomes due at `now`. */
  release(queueIds: readonly string[], now: number): readonly string[] {
    const { store, counts } = this.#tools
    const mails = this.#find(queueIds).filter(({ state }) => state === 'hold' || state === 'corrupt')
    if (mails.length === 0) return []
    store.transaction(() => {
      for (const mail of mails) {
        store.setState(mail, 'deferred')
        store.setDue(mail, now)
      }
    })
    for (const { state } of mails) counts.move(state, 'deferred')
    return mails.map(({ queueId }) => queueId)
  }

  /** Puts a mail aside; deliveries of it that run are let finish. */
  park(mail: StoredMail, state: 'hold' | 'corrupt'): void {
    const { store, counts } = this.#tools
    store.transaction(() => store.setState(mail, state))
    counts.move(mail.state, state)
    this.#tools.forget(mail)
  }

  #find(queueIds: readonly string[]): readonly StoredMail[] {
    const ids = new Set(queueIds.slice(0, idsPerRequest))
    return [...ids].flatMap((queueId) => this.#tools.store.mailByQueueId(queueId) ?? [])
  }
}
