/** Mail of a local user that comes over the control socket: `mailactors send`. */
import { join } from 'node:path'
import type { ActorRef, AskError } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import { receivedField } from '../protocols/smtp/server/header.ts'
import { Spool } from '../protocols/smtp/server/spool.ts'
import type { ClientInfo, Content, Envelope, QueueContract } from '../queue/contract.ts'
import { QueueIdSource } from '../queue/queue-id.ts'
import type { SubmitResult } from './contract.ts'

/** A commit waits for the disk, and for the commits before it. */
const enqueueMs = 60_000
/** Larger content goes to a file, as the queue wants it. */
const inMemoryLimit = 128 * 1024

export class Submission {
  readonly #config: () => Config
  readonly #queue: () => ActorRef<QueueContract>
  // The main thread's own sessions have another source; the random part keeps them apart.
  readonly #ids = new QueueIdSource(0)

  constructor(config: () => Config, queue: () => ActorRef<QueueContract>) {
    this.#config = config
    this.#queue = queue
  }

  /** Queues the mail; local recipients too, the queue delivers to them. */
  async submit(envelope: Envelope, bytes: Uint8Array, client: ClientInfo): Promise<SubmitResult> {
    const { message_size_limit: limit } = this.#config().smtpd
    if (limit !== 0 && bytes.length > limit) {
      const reason = `message of ${bytes.length} octets is larger than smtpd.message_size_limit ${limit}`
      return { ok: false, temporary: false, dsn: '5.3.4', reason }
    }
    const arrivedAt = Date.now()
    const queueId = this.#ids.next(arrivedAt)
    const only = envelope.recipients.length === 1 ? envelope.recipients[0]?.address : undefined
    const { hostname, data_dir: dataDir } = this.#config()
    const field = receivedField({ queueId, hostname, client, arrivedAt, recipient: only })
    const spool = new Spool({
      file: join(dataDir, 'queue', 'content', queueId),
      inMemoryLimit,
      maxOctets: 0,
      compose: (head) => [Buffer.from(field), head],
      onRoom: () => {},
    })
    try {
      spool.append(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))
      const content: Content = await spool.finish()
      await spool.sync()
      const queue = this.#queue()
      const mail = { queueId, envelope, content, client, arrivedAt }
      const result = await queue
        .askWith({ timeoutMs: enqueueMs }, 'enqueue', mail)
        .catch((error: AskError) => {
          // No answer is no refusal: the queue may have the mail, so its content has to stay.
          if (error.failure === 'timeout' || error.failure === 'down') spool.release()
          throw error
        })
      if (result.status === 'refused') {
        return { ok: false, temporary: result.temporary, dsn: result.dsn, reason: result.reason }
      }
      spool.release()
      return { ok: true, queueId }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'ENOSPC' && code !== 'EDQUOT') throw error
      return { ok: false, temporary: true, dsn: '4.3.1', reason: 'no space left for the queue' }
    } finally {
      await spool.discard()
    }
  }
}
