/** When deferred mail is tried again, and when it is given up: by its age, not by counting attempts. */
import type { QueueConfig } from './config.ts'

type Backoff = Pick<QueueConfig, 'minimal_backoff_time' | 'maximal_backoff_time'>
type Lifetimes = Pick<QueueConfig, 'maximal_queue_lifetime' | 'bounce_queue_lifetime'>

/** Time of the next attempt: waits as long again as the mail is old, within the two limits. All in milliseconds. */
export function nextAttempt(now: number, arrivedAt: number, settings: Backoff): number {
  // A clock set back makes mail younger than new; the lower limit covers that.
  const age = now - arrivedAt
  return now + Math.max(settings.minimal_backoff_time, Math.min(settings.maximal_backoff_time, age))
}

/** No mail that is put off now is due before so many milliseconds, and no look for what is due is later than `run_delay`. */
export const soonestAttempt = (settings: Pick<QueueConfig, 'minimal_backoff_time' | 'run_delay'>): number =>
  Math.min(settings.minimal_backoff_time, settings.run_delay)

/** When mail that is still deferred goes back to its sender. Asked after an attempt: lifetime 0 is one attempt. */
export function expiresAt(sender: string, arrivedAt: number, settings: Lifetimes): number {
  return arrivedAt + (sender === '' ? settings.bounce_queue_lifetime : settings.maximal_queue_lifetime)
}
