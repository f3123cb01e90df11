/** Whether the queue takes a new mail: its form, a limit on mails, and space that must stay free on the disk. */
import { statfsSync } from 'node:fs'
import type { NewMail } from './contract.ts'

/** How long a look at the file system counts: looking costs as much as storing a mail. */
const validMs = 500

export class Room {
  readonly #directory: string
  #checkedAt = Number.NEGATIVE_INFINITY
  #free = Number.POSITIVE_INFINITY

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Why there is no room, or undefined. `monotonic` in milliseconds. */
  refusal(
    mails: number,
    limits: { readonly max_messages: number; readonly minfree: number },
    monotonic: number,
  ): string | undefined {
    if (limits.max_messages > 0 && mails >= limits.max_messages) return 'the mail queue is full'
    if (limits.minfree === 0) return undefined
    if (monotonic - this.#checkedAt >= validMs) {
      this.#checkedAt = monotonic
      const { bavail, bsize } = statfsSync(this.#directory)
      this.#free = bavail * bsize
    }
    return this.#free < limits.minfree ? 'not enough free space for the mail queue' : undefined
  }
}

/** What is wrong with a mail that no caller should send; undefined: nothing. */
export function malformed({ queueId, envelope, content }: NewMail): string | undefined {
  if (!/^[0-9A-Za-z]{1,64}$/.test(queueId)) return 'the queue id is malformed'
  if (envelope.recipients.length === 0) return 'no recipients'
  if (typeof envelope.sender !== 'string') return 'no sender'
  if (!envelope.recipients.every(({ address }) => typeof address === 'string')) return 'malformed recipient'
  return 'bytes' in content && !(content.bytes instanceof Uint8Array) ? 'malformed content' : undefined
}
