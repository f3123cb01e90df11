/** The queue of a service that does not run: reads it, and does what operators want with it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { silentLog } from '../actors/index.ts'
import { ActiveSet } from './active.ts'
import { ContentFolder } from './content.ts'
import type { OperationResult, QueueListing, QueueOperation, QueueSelection } from './contract.ts'
import { isListed, listRecipient } from './listing.ts'
import { MailCounts } from './mail-counts.ts'
import { Operators } from './operators.ts'
import { QueueIdSource } from './queue-id.ts'
import { isUnroutable, Router } from './routing.ts'
import { toRecipient } from './rows.ts'
import { activeLimits, type QueueSources, routingSettings } from './settings.ts'
import { QueueStore } from './store.ts'

const stateNames = ['incoming', 'deferred', 'hold', 'corrupt'] as const

/** Every stored mail, oldest first. Nothing is written, so a service may start meanwhile. */
export function* storedQueue(directory: string): Generator<QueueListing, void, void> {
  const path = join(directory, 'queue.db')
  if (!existsSync(path)) return
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    const mails = database.prepare('SELECT * FROM message ORDER BY queue_id')
    const recipients = database.prepare('SELECT * FROM recipient WHERE id >= ? AND id < ? ORDER BY id')
    for (const row of mails.iterate()) {
      const first = Number(row.id)
      yield {
        queueId: String(row.queue_id),
        queueName: stateNames[Number(row.state)] ?? 'corrupt',
        arrivedAt: Number(row.arrived),
        size: Number(row.size),
        sender: String(row.sender),
        // A queue of version 1 has no such column.
        forcedExpire: row.expire === 1,
        recipients: recipients
          .all(first, first + Number(row.recipients))
          .map(toRecipient)
          .filter(isListed)
          .map((recipient) => listRecipient(recipient, () => '')),
      }
    }
  } finally {
    database.close()
  }
}

/** Mails looked at in one transaction. */
const pageLength = 500

/** What an operator does to the queue of a service that does not run: page by page. The caller holds its lock. */
export function* operateStored(
  config: QueueSources,
  operation: QueueOperation,
  selection: QueueSelection,
  options: { readonly dryRun?: boolean; readonly now?: boolean },
): Generator<OperationResult, void, void> {
  const directory = join(config.data_dir, 'queue')
  const { ids } = selection
  if (!existsSync(join(directory, 'queue.db'))) {
    if (ids !== undefined) yield { done: [], missing: ids, next: '', until: '' }
    return
  }
  const now = Date.now()
  const store = QueueStore.open(directory, { log: silentLog, now })
  const folder = new ContentFolder(directory)
  const active = new ActiveSet(store, folder, activeLimits(config))
  const router = new Router(routingSettings(config))
  const queueIds = new QueueIdSource(0)
  const operators = new Operators({
    store,
    folder,
    active,
    counts: new MailCounts(store.countStates()),
    log: silentLog,
    now: () => now,
    hostname: () => config.hostname,
    newQueueId: () => queueIds.next(Date.now()),
    destination: (address) => {
      const route = router.route(address)
      return isUnroutable(route) ? '' : `${route.transport}:${route.nexthop}`
    },
    // Nothing runs, and nothing is in memory.
    isUnderWay: () => false,
    forget: () => {},
    madeDue: () => {},
    arrived: () => {},
  })
  const page = { limit: pageLength, dryRun: options.dryRun === true, now: options.now === true }
  try {
    if (ids === undefined) {
      let after = ''
      const until = store.lastQueueId
      do {
        const result = operators.operate(operation, selection, { ...page, after, until })
        yield result
        after = result.next
      } while (after !== '')
    } else {
      for (let start = 0; start < ids.length; start += pageLength) {
        const part = { ...selection, ids: ids.slice(start, start + pageLength) }
        yield operators.operate(operation, part, { ...page, after: '' })
      }
    }
  } finally {
    store.close()
  }
}
