/**
 * Content on its way to a server: dot-stuffing (RFC 5321 section 4.5.2), folding of lines that are too long
 * (section 4.5.3.1.6) and the final CRLF. Most mail needs none of it and passes through as the bytes it came as:
 * two searches decide, and nothing looks at single lines.
 */

const LF = 0x0a
const CR = 0x0d
const DOT = 0x2e
const lineStartDot = Buffer.from('\n.')
const fold = Buffer.from('\r\n ')
const stuffing = Buffer.from('.')

/** Works on a stream of chunks; a chunk may end anywhere. */
export class ContentEncoder {
  readonly #limit: number
  /** The next octet starts a line of the source. */
  #lineStart = true
  /** Octets of the current output line. */
  #column = 0
  /** The last chunk ended in CR: whether it ends a line is known with the next. */
  #heldCr = false
  #folded = false

  /** `lineLimit`: octets in a line without its CRLF; 0: never fold. */
  constructor(lineLimit: number) {
    this.#limit = lineLimit === 0 ? Number.POSITIVE_INFINITY : Math.max(lineLimit, 2)
  }

  /** Whether a line was too long so far; worth a line in the log. */
  get folded(): boolean {
    return this.#folded
  }

  /** What goes on the wire for `chunk`: the same buffer when nothing had to change. */
  encode(chunk: Buffer): Buffer {
    let input = chunk
    if (this.#heldCr) {
      input = Buffer.concat([Buffer.from('\r'), chunk])
      this.#heldCr = false
    }
    if (input.length > 0 && input[input.length - 1] === CR) {
      this.#heldCr = true
      input = input.subarray(0, -1)
    }
    if (input.length === 0) return input
    if (!this.#needsWork(input)) {
      const last = input.lastIndexOf(LF)
      this.#lineStart = last === input.length - 1
      this.#column = last < 0 ? this.#column + input.length : input.length - last - 1
      return input
    }
    return this.#rewrite(input)
  }

  /** What ends the content: a CRLF if the last line lacks it, then the final dot. */
  finish(): string {
    const end = this.#heldCr ? '\r\r\n.\r\n' : this.#lineStart ? '.\r\n' : '\r\n.\r\n'
    this.#heldCr = false
    return end
  }

  #needsWork(input: Buffer): boolean {
    if (this.#lineStart && input[0] === DOT) return true
    return input.includes(lineStartDot) || this.#hasLongLine(input)
  }

  /** Looks only around every possible end of a line of legal length: a few steps for each KiB. */
  #hasLongLine(input: Buffer): boolean {
    let start = -this.#column
    while (input.length - start > this.#limit) {
      // The LF of a line of legal length is at most here, after the CR.
      const lf = input.lastIndexOf(LF, start + this.#limit + 1)
      if (lf < Math.max(start, 0)) return true
      // Without a CR the octet before it belongs to the line.
      if (lf === start + this.#limit + 1 && input[lf - 1] !== CR) return true
      start = lf + 1
    }
    return false
  }

  #rewrite(input: Buffer): Buffer {
    const pieces: Buffer[] = []
    let position = 0
    while (position < input.length) {
      const lf = input.indexOf(LF, position)
      const end = lf < 0 ? input.length : lf + 1
      if (this.#lineStart && input[position] === DOT) pieces.push(stuffing)
      const textEnd = lf < 0 ? end : lf > position && input[lf - 1] === CR ? lf - 1 : lf
      while (this.#column + (textEnd - position) > this.#limit) {
        const room = this.#limit - this.#column
        pieces.push(input.subarray(position, position + room), fold)
        position += room
        this.#column = 1
        this.#folded = true
      }
      pieces.push(input.subarray(position, end))
      this.#lineStart = lf >= 0
      this.#column = lf >= 0 ? 0 : this.#column + (end - position)
      position = end
    }
    return Buffer.concat(pieces)
  }
}
