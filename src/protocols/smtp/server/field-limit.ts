/**
 * Cuts header fields that are longer than `content.header_size_limit`, as Postfix does when mail comes in: a line that
 * does not fit goes with all that follow it in its field, a line that is very long is cut. Everything else passes as it
 * is: once the header is over, without a look.
 */

/** A line that is longer need not fit as a whole. */
const pieceOctets = 2_048
const TAB = 9
const LF = 10
const CR = 13
const SPACE = 32
const COLON = 58

export class FieldLimit {
  readonly #limit: number
  readonly #pass: (slice: Buffer) => void
  /**
   * What becomes of the line: `name`: it may be a field, of which the name is not over; `held`: it is not known yet
   * whether it fits.
   */
  #line: 'name' | 'kept' | 'held' | 'dropped' = 'name'
  #isBody = false
  #isFirst = true
  /** Octets of the line so far, without its CR. */
  #octets = 0
  /** How many of them there is room for. */
  #room: number
  #held: number[] = []
  /** Octets of the field that are kept, its line ends counted as one each. */
  #field = 0
  #isFull = false
  #hasName = false

  constructor(limit: number, pass: (slice: Buffer) => void) {
    this.#limit = limit
    this.#pass = pass
    this.#room = limit
  }

  push(slice: Buffer): void {
    if (this.#isFirst) {
      this.#isFirst = false
      const end = slice.indexOf('\r\n\r\n')
      // What most mail is: no field can be too long.
      this.#isBody = end !== -1 && end <= this.#limit
    }
    if (this.#isBody) this.#pass(slice)
    else this.#scan(slice)
  }

  #scan(slice: Buffer): void {
    /** Where begins what is kept and not passed on yet. */
    let from = 0
    const skip = (at: number) => {
      if (at > from) this.#pass(slice.subarray(from, at))
      from = at + 1
    }
    for (let at = 0; at < slice.length; at++) {
      const octet = slice[at]!
      if (this.#line === 'name') this.#begin(octet)
      if (this.#isBody) break
      if (this.#line === 'held') {
        skip(at)
        this.#hold(octet)
      } else if (this.#line === 'dropped') skip(at)
      else if (octet !== CR && octet !== LF && ++this.#octets > this.#room) {
        skip(at)
        this.#isFull = true
      }
      if (octet === LF) this.#endLine()
    }
    if (from < slice.length) this.#pass(slice.subarray(from))
  }

  /** An octet at the start of a line, or of what may be the name of a field. */
  #begin(octet: number): void {
    const isBlank = octet === SPACE || octet === TAB
    if (this.#octets === 0 && isBlank && this.#field > 0) {
      this.#room = this.#limit - this.#field - 1
      this.#line = this.#isFull ? 'dropped' : this.#room < pieceOctets ? 'held' : 'kept'
      return
    }
    if (this.#octets === 0) {
      this.#field = 0
      this.#isFull = false
      this.#hasName = false
      this.#room = this.#limit
    }
    if (octet === COLON && this.#octets > 0) this.#line = 'kept'
    else if (isBlank && this.#octets > 0) this.#hasName = true
    else this.#isBody = octet <= SPACE || octet > 126 || this.#hasName || this.#octets >= pieceOctets
  }

  #hold(octet: number): void {
    this.#held.push(octet)
    if (octet !== CR && octet !== LF) this.#octets += 1
    if (this.#octets > this.#room) {
      this.#isFull = true
      this.#line = 'dropped'
      this.#held = []
    } else if (octet === LF) {
      this.#pass(Buffer.from(this.#held))
      this.#held = []
    }
  }

  #endLine(): void {
    if (this.#line !== 'dropped')
      this.#field += Math.min(this.#octets, this.#room) + (this.#field > 0 ? 1 : 0)
    this.#octets = 0
    this.#line = 'name'
  }
}
