/**
 * Cuts a stream of octets into lines; shared by all protocols that speak in lines.
 *
 * What ends a line depends on the protocol:
 *
 * - `crlf` (SMTP, LMTP): only CR LF. A CR or LF alone is an octet of the line like any other, so that what one
 *   server takes for the end of a line is never something else for the next (RFC 5321 section 2.3.8). The
 *   consumer refuses such lines, see {@link hasStrayLineEnd}.
 * - `lf` (POP3 as people speak it, SMTP from tools on this machine): LF, and one CR directly before it is dropped.
 *   Whether there was one is seen in {@link LineReader.wasBare}.
 *
 * Every octet is looked at a bounded number of times however the stream is cut into chunks, and no more than
 * `maxOctets` of an incomplete line are kept.
 */

/** What `next` returns once for a line longer than the limit; the rest of that line is then dropped unseen. */
export const lineTooLong: unique symbol = Symbol('line too long')

export interface LineReaderOptions {
  /** Longest line in octets, its end not counted. */
  readonly maxOctets: number
  /** Default `crlf`. */
  readonly ending?: 'crlf' | 'lf'
  /** With `lf`: a CR before the LF counts as an octet of the line. */
  readonly countsCr?: boolean
}

const CR = 13
const LF = 10

/** Not safe to share: one reader per stream. */
export class LineReader {
  /** Longest line in octets; may be changed between two lines. */
  maxOctets: number
  /** The line read last ended in LF without a CR. */
  wasBare = false
  readonly #strict: boolean
  /** Octets of a line's end that do not count. */
  readonly #grace: 0 | 1
  /** Chunks not yet cut, `#head` the first of them; `#at` is where the next line, or its rest, starts in it. */
  #chunks: Buffer[] = []
  #head = 0
  #at = 0
  #unread = 0
  /** Start of a line whose end has not come yet. Grows as a rope, so trickled octets are not copied again and again. */
  #held = ''
  #skipping = false
  #skipped = 0
  /** While skipping: whether the last octet of the chunk before was a CR. */
  #lastWasCr = false

  constructor(options: LineReaderOptions) {
    this.maxOctets = options.maxOctets
    this.#strict = options.ending !== 'lf'
    this.#grace = options.countsCr === true ? 0 : 1
  }

  /** Adds octets behind those not yet read. The chunk is kept, not copied: do not write to it afterwards. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return
    if (this.#head === this.#chunks.length) {
      this.#chunks.length = 0
      this.#head = 0
    }
    this.#chunks.push(chunk)
    this.#unread += chunk.length
  }

  /** Octets that were pushed and are not yet part of a line given out or held. */
  get unread(): number {
    return this.#unread
  }

  /** Octets of the incomplete line at the end of what was read. */
  get held(): number {
    return this.#held.length
  }

  /** The first of them. */
  heldStart(octets: number): string {
    return this.#held.slice(0, octets)
  }

  /** Octets dropped so far of the line that was too long; 0 when its end has come. */
  get skipped(): number {
    return this.#skipping ? this.#skipped : 0
  }

  /**
   * The next whole line without its end, one character per octet (Latin-1); undefined when there is none yet.
   * {@link lineTooLong} is returned once per oversized line, as soon as it is known to be one.
   */
  next(): string | typeof lineTooLong | undefined {
    while (this.#head < this.#chunks.length) {
      const chunk = this.#chunks[this.#head]!
      if (this.#skipping) {
        this.#skip(chunk)
        continue
      }
      const start = this.#at
      const lf = this.#findEnd(chunk, start)
      if (lf === -1) {
        const rest = chunk.length - start
        // A CR may turn out to be half of the line's end.
        if (this.#held.length + rest > this.maxOctets + this.#grace) return this.#tooLong()
        this.#held += chunk.toString('latin1', start, chunk.length)
        this.#advance(chunk, chunk.length)
        continue
      }
      if (this.#held === '') {
        const end = lf > start && chunk[lf - 1] === CR ? lf - 1 : lf
        this.wasBare = end === lf
        this.#advance(chunk, lf + 1)
        if (this.#isTooLong(end - start)) return lineTooLong
        return chunk.toString('latin1', start, end)
      }
      let line = this.#held + chunk.toString('latin1', start, lf)
      this.#held = ''
      this.#advance(chunk, lf + 1)
      this.wasBare = line.charCodeAt(line.length - 1) !== CR
      if (!this.wasBare) line = line.slice(0, -1)
      return this.#isTooLong(line.length) ? lineTooLong : line
    }
    return undefined
  }

  /** Of a line that was read, without its end. */
  #isTooLong(octets: number): boolean {
    return octets + (this.wasBare || this.#grace === 1 ? 0 : 1) > this.maxOctets
  }

  /**
   * Takes everything that was not read as a line, for a protocol that now reads something else (content, TLS).
   * Undefined when there is nothing. An incomplete line at the end is part of it.
   */
  takeRest(): Buffer | undefined {
    const parts = this.#chunks.slice(this.#head)
    if (this.#at > 0) parts[0] = parts[0]!.subarray(this.#at)
    if (this.#held !== '') parts.unshift(Buffer.from(this.#held, 'latin1'))
    this.#chunks.length = 0
    this.#head = 0
    this.#at = 0
    this.#unread = 0
    this.#held = ''
    if (parts.length === 0) return undefined
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
  }

  /** Index of the LF that ends the line starting at `start`, or -1. */
  #findEnd(chunk: Buffer, start: number): number {
    let lf = chunk.indexOf(LF, start)
    if (!this.#strict) return lf
    while (lf !== -1) {
      const before =
        lf > start ? chunk[lf - 1] : this.#held === '' ? 0 : this.#held.charCodeAt(this.#held.length - 1)
      if (before === CR) return lf
      lf = chunk.indexOf(LF, lf + 1)
    }
    return -1
  }

  #tooLong(): typeof lineTooLong {
    this.#lastWasCr = this.#held.charCodeAt(this.#held.length - 1) === CR
    this.#skipped = this.#held.length
    this.#held = ''
    this.#skipping = true
    return lineTooLong
  }

  #skip(chunk: Buffer): void {
    const start = this.#at
    let lf = chunk.indexOf(LF, start)
    if (this.#strict) {
      while (lf !== -1 && !(lf > start ? chunk[lf - 1] === CR : this.#lastWasCr)) {
        lf = chunk.indexOf(LF, lf + 1)
      }
    }
    if (lf !== -1) {
      this.#skipping = false
      this.#advance(chunk, lf + 1)
      return
    }
    this.#skipped += chunk.length - start
    this.#lastWasCr = chunk[chunk.length - 1] === CR
    this.#advance(chunk, chunk.length)
  }

  #advance(chunk: Buffer, to: number): void {
    this.#unread -= to - this.#at
    this.#at = to
    if (to < chunk.length) return
    // The slot is emptied so that the chunk can be freed while later ones are still waiting.
    this.#chunks[this.#head] = empty
    this.#head += 1
    this.#at = 0
  }
}

const empty = Buffer.alloc(0)

/** Whether a line read in `crlf` mode contains a CR, LF or NUL: nothing that belongs into a command. */
export function hasStrayLineEnd(line: string): boolean {
  return strayLineEnd.test(line)
}

const strayLineEnd = /[\r\n\0]/
