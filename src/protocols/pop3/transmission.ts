/**
 * A stored mail as RETR and TOP send it (RFC 1939 sections 3, 5 and 7): lone LF becomes CRLF, a dot at the start of
 * a line is doubled, the last line is ended if it was not, and `.` CRLF follows. The mail comes in pieces of any
 * size; no more than one line or `maxHeld` of it is kept. Text is latin1: V8 replaces line ends in such strings
 * faster than JavaScript can walk the octets.
 */
import { toCrlf } from '../../mailbox/contract.ts'

export interface TransmissionOptions {
  /** Lines of the body to send (TOP); undefined: all. */
  readonly lines: number | undefined
  /** `outlook-no-nuls`: NUL is sent as 0x80. */
  readonly noNuls: boolean
  /** `oe-ns-eoh`: a mail without an end of headers gets one. */
  readonly addEndOfHeaders: boolean
}

/** A line that is longer is sent in parts. */
const maxHeld = 65_536

export class Transmission {
  readonly #options: TransmissionOptions
  /** Start of a line whose end has not come. */
  #held = ''
  /** What was sent last was not the end of a line. */
  #midLine = false
  #empty = true
  #inBody = false
  #linesLeft: number
  #octets = 0
  /** TOP has all its lines: what follows is not needed. */
  complete = false

  constructor(options: TransmissionOptions) {
    this.#options = options
    this.#linesLeft = options.lines ?? 0
  }

  /** Octets pushed so far, counted with CRLF line ends and before dots are doubled, as the size of a mail is. */
  get total(): number {
    return this.#octets + toCrlf(this.#held).length
  }

  /** What to send for the next piece of the mail. */
  push(piece: string): string {
    if (this.complete) return ''
    const text = this.#held === '' ? piece : this.#held + piece
    let cut = text.lastIndexOf('\n') + 1
    // A CR at the end waits: an LF may follow.
    if (cut === 0 && text.length > maxHeld) cut = text.endsWith('\r') ? text.length - 1 : text.length
    this.#held = cut === text.length ? '' : text.slice(cut)
    return this.#convert(cut === text.length ? text : text.slice(0, cut))
  }

  /** What to send after the last piece, the final dot included. */
  end(): string {
    let text = this.complete ? '' : this.#convert(this.#held)
    this.#held = ''
    if (this.#midLine || this.#empty) text += '\r\n'
    if (this.#options.addEndOfHeaders && !this.#inBody) text += '\r\n'
    return `${text}.\r\n`
  }

  #convert(stored: string): string {
    if (stored === '') return ''
    let text = toCrlf(stored)
    if (this.#options.lines !== undefined) text = this.#limit(text)
    else if (this.#options.addEndOfHeaders && !this.#inBody) this.#inBody = this.#endOfHeaders(text) !== -1
    this.#octets += text.length
    if (text === '') return ''
    const startsLine = !this.#midLine
    this.#empty = false
    this.#midLine = text.charCodeAt(text.length - 1) !== 10
    // The very first octet of a mail counts as the start of a line too: without that, a mail that begins with a
    // dot and CRLF would end the answer early.
    if (startsLine && text.charCodeAt(0) === 46) text = `.${text}`
    if (text.includes('\n.')) text = text.replaceAll('\n.', '\n..')
    if (this.#options.noNuls && text.includes('\0')) text = text.replaceAll('\0', '\x80')
    return text
  }

  /** Where the body begins in `text`, or -1. The empty line must be CRLF, a CR alone is data. */
  #endOfHeaders(text: string): number {
    if (!this.#midLine && text.startsWith('\r\n')) return 2
    const found = text.indexOf('\n\r\n')
    return found === -1 ? -1 : found + 3
  }

  /** As much of `text` as TOP still has to send. */
  #limit(text: string): string {
    let at = 0
    if (!this.#inBody) {
      at = this.#endOfHeaders(text)
      if (at === -1) return text
      this.#inBody = true
    }
    while (this.#linesLeft > 0) {
      const end = text.indexOf('\n', at)
      if (end === -1) return text
      at = end + 1
      this.#linesLeft--
    }
    this.complete = true
    return text.slice(0, at)
  }
}
