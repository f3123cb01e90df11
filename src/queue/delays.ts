/** Where the time of a delivery went, as the `delivery` event shows it. */

/** Milliseconds since the epoch; 0: never came to that. */
export interface DeliveryStamps {
  readonly arrivedAt: number
  /** Taken from the queue for this attempt. */
  readonly activeAt: number
  /** The delivery actor began. */
  readonly startedAt: number
  /** Session ready, the mail transaction begins. */
  readonly setupAt: number
  readonly doneAt: number
}

/**
 * `delay` from arrival to end in seconds, and its parts `a/b/c/d`: before it was picked up, waiting for a
 * delivery, connecting, transmission. A missing stamp leaves the time in the part before it.
 */
export function deliveryDelays(
  stamps: DeliveryStamps,
  decimals = 2,
): { readonly delay: number; readonly delays: string } {
  const { arrivedAt, activeAt, startedAt, setupAt, doneAt } = stamps
  const parts: [number, number, number, number] = [0, 0, 0, 0]
  if (activeAt === 0) parts[0] = doneAt - arrivedAt
  else {
    parts[0] = activeAt - arrivedAt
    if (startedAt === 0) parts[1] = doneAt - activeAt
    else {
      parts[1] = startedAt - activeAt
      if (setupAt === 0) parts[3] = doneAt - startedAt
      else {
        parts[2] = setupAt - startedAt
        parts[3] = doneAt - setupAt
      }
    }
  }
  return {
    delay: Number(formatDelay(doneAt - arrivedAt, decimals)),
    delays: parts.map((part) => formatDelay(part, decimals)).join('/'),
  }
}

/** Milliseconds as seconds with two significant digits and at most `decimals` places; from 10 s on whole seconds. */
export function formatDelay(milliseconds: number, decimals = 2): string {
  // The clock went back.
  if (!(milliseconds > 0)) return '0'
  const seconds = milliseconds / 1000
  if (seconds >= 9.95) return String(Math.round(seconds))
  const magnitude = Math.floor(Math.log10(seconds))
  const places = Math.min(decimals, 1 - magnitude)
  // From whole milliseconds, half up: 1.25 is 1.3, whatever binary fraction it has.
  const unit = 10 ** places
  const rounded = Math.floor((milliseconds * unit) / 1000 + 0.5 + 1e-9) / unit
  return String(rounded)
}
