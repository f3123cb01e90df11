/** How those who ask the cache wait for its answer. */
import type { Lease } from './contract.ts'

/** How long an answer of the cache that comes too late is looked out for, milliseconds. */
export const lateAnswerMs = 60_000

/**
 * Waits for what the cache lends, `asked`, for as long as a delivery may wait, then settles for null. What is lent
 * to nobody, because it comes later, is closed.
 */
export function lentInTime(asked: Promise<Lease | null>, timeoutMs: number): Promise<Lease | null> {
  return new Promise((resolve) => {
    let isOver = false
    const settle = (lease: Lease | null) => {
      if (isOver) lease?.keeper.tell('close', lease.connection)
      isOver = true
      clearTimeout(timer)
      resolve(lease)
    }
    const timer = setTimeout(settle, timeoutMs, null)
    // Without the cache a delivery makes its own connection.
    asked.then(settle, () => settle(null))
  })
}
