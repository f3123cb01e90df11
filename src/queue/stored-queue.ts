/** Reads the queue of a service that does not run. Nothing is written, so a service may start meanwhile. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { QueueListing } from './contract.ts'

const stateNames = ['incoming', 'deferred', 'hold', 'corrupt'] as const

/** Every stored mail, oldest first. */
export function* storedQueue(directory: string): Generator<QueueListing, void, void> {
  const path = join(directory, 'queue.db')
  if (!existsSync(path)) return
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    const mails = database.prepare(
      'SELECT id, queue_id, arrived, size, sender, state, recipients FROM message ORDER BY queue_id',
    )
    const recipients = database.prepare(
      'SELECT address, site, attempts, next_attempt, reason FROM recipient WHERE id >= ? AND id < ? AND outcome IS NULL ORDER BY id',
    )
    for (const row of mails.iterate()) {
      const first = Number(row.id)
      yield {
        queueId: String(row.queue_id),
        queueName: stateNames[Number(row.state)] ?? 'corrupt',
        arrivedAt: Number(row.arrived),
        size: Number(row.size),
        sender: String(row.sender),
        recipients: recipients.all(first, first + Number(row.recipients)).map((recipient) => ({
          address: String(recipient.address),
          destination: String(recipient.site),
          attempts: Number(recipient.attempts),
          nextAttempt: Math.max(0, Number(recipient.next_attempt)),
          reason: recipient.reason === null ? null : String(recipient.reason),
        })),
      }
    }
  } finally {
    database.close()
  }
}
