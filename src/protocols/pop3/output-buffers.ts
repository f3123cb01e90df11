/**
 * Memory that mails are put together in before they are sent, shared by the sessions of a thread: the same few buffers
 * over and over stay in the processor's caches.
 */
export const pooledOctets = 128 * 1024
/** As many pipelined answers can be under way in one turn. */
const maxPooled = 16

export class OutputBuffers {
  readonly #free: Buffer[] = []

  /** At least `octets` long. */
  take(octets: number): Buffer {
    if (octets > pooledOctets) return Buffer.allocUnsafeSlow(octets)
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(pooledOctets)
  }

  /** It has been sent. */
  give(buffer: Buffer): void {
    if (buffer.length === pooledOctets && this.#free.length < maxPooled) this.#free.push(buffer)
  }
}
