/**
 * Queue ids: 18 characters, digits and capital letters.
 *
 *     0-10   microseconds since the epoch, base 36: ids sort by time as text
 *     11-13  thread number, base 36: two threads never make the same id
 *     14-17  random, drawn once per thread and start: an id is not used again after a restart, even if the
 *            clock was set back meanwhile
 *
 * Within a thread the time is raised by one microsecond where two ids would share it; that is the counter.
 */
import { randomInt } from 'node:crypto'
import type { ActorContext } from '../actors/index.ts'

const timeDigits = 11
const threadDigits = 3
const randomDigits = 4

/** What every queue id looks like. */
export const queueIdPattern = /^[0-9A-Z]{18}$/

const digits = (value: number, width: number): string =>
  (value % 36 ** width).toString(36).toUpperCase().padStart(width, '0')

/** Makes the ids of one thread. */
export class QueueIdSource {
  readonly #suffix: string
  #last = 0

  constructor(thread: number, incarnation: number = randomInt(36 ** randomDigits)) {
    this.#suffix = digits(thread, threadDigits) + digits(incarnation, randomDigits)
  }

  /** An id for a mail that arrives at `now`, milliseconds since the epoch. Ids of one source always ascend. */
  next(now: number): string {
    const micros = Math.floor(now * 1000)
    this.#last = micros > this.#last ? micros : this.#last + 1
    return digits(this.#last, timeDigits) + this.#suffix
  }
}

/** A new queue id, unique in time over all threads. Any actor may make one; 18 characters of `[0-9A-Z]`. */
export function newQueueId(context: Pick<ActorContext, 'clock' | 'local' | 'self'>): string {
  return context.local('queue.ids', () => new QueueIdSource(context.self.thread)).next(context.clock.now())
}

/** When the id was made, milliseconds since the epoch; NaN for what is no queue id. */
export function queueIdTime(queueId: string): number {
  return queueIdPattern.test(queueId) ? Number.parseInt(queueId.slice(0, timeDigits), 36) / 1000 : Number.NaN
}
