/**
 * Replies of a server, RFC 5321 section 4.2:
 *
 *     Reply-line = *( Reply-code "-" [ textstring ] CRLF )
 *                     Reply-code [ SP textstring ] CRLF
 *     Reply-code = %x32-35 %x30-35 %x30-39
 *
 * Reads straight from the chunks of the socket. Tolerant where servers are known to be careless, never where a
 * mistake could shift replies: a line that is no reply line is skipped, remembered as a protocol error, and never
 * taken for an answer. What is kept of a reply is bounded and printable.
 */
import { isUtf8 } from 'node:buffer'

/** One complete reply. */
export interface Reply {
  /** Of the last line. */
  readonly code: number
  /** All lines with their codes, joined by LF, printable, cut at the limit. For EHLO and logs. */
  readonly text: string
  /** The last line, with its code: the words to report. */
  readonly lastLine: string
}

export interface ReplyListener {
  onReply(reply: Reply): void
  /** A line that is no reply line; already printable and cut. */
  onGarbage(line: string): void
  /** A line longer than what is kept of one. */
  onCutLine(): void
}

/** `line_length_limit`: what is kept of a line and of a reply, in octets. */
export const replyLimit = 2_048
/** A line that goes on for so long is an attack or a broken peer: nothing more is read. */
const hopelessLine = 1_048_576

const LF = 0x0a
const CR = 0x0d

export class ReplyParser {
  /** The unfinished line, at most `replyLimit` octets of it. */
  #rest: Buffer | undefined
  /** Octets of the unfinished line that were dropped. */
  #skipped = 0
  /** Lines of the unfinished reply, joined. */
  #text = ''
  #filter: ((line: string) => string) | undefined
  /** A line was no reply line, since the parser was made. */
  #damaged = false

  /** Whether the peer broke the grammar: its connection is not kept. */
  get damaged(): boolean {
    return this.#damaged
  }

  /** Whether bytes of an unfinished reply are here. */
  get pending(): boolean {
    return this.#rest !== undefined || this.#text !== ''
  }

  /** Forgets all input: after STARTTLS nothing that came before it counts, RFC 3207 section 4.2. */
  reset(): void {
    this.#rest = undefined
    this.#skipped = 0
    this.#text = ''
  }

  /**
   * Takes what the socket read; calls the listener for each reply that is complete. The chunk may be used again
   * afterwards. `filter` says what is read in the place of a line, octets as latin1. Returns false when the peer sends
   * a line without end: the connection is beyond repair.
   */
  push(chunk: Buffer, listener: ReplyListener, filter?: (line: string) => string): boolean {
    this.#filter = filter
    let start = 0
    let end = chunk.indexOf(LF)
    while (end >= 0) {
      if (this.#rest === undefined && this.#skipped === 0) this.#line(chunk, start, end, listener)
      else this.#joinedLine(chunk.subarray(start, end), listener)
      start = end + 1
      end = chunk.indexOf(LF, start)
    }
    return start === chunk.length || this.#keep(chunk.subarray(start))
  }

  #keep(tail: Buffer): boolean {
    const held = this.#rest?.length ?? 0
    const room = Math.min(tail.length, replyLimit - held)
    // A copy: the chunk is a view of a pool that the next read fills again.
    if (room > 0) this.#rest = Buffer.concat([this.#rest ?? Buffer.alloc(0), tail.subarray(0, room)])
    this.#skipped += tail.length - room
    return this.#skipped < hopelessLine
  }

  #joinedLine(tail: Buffer, listener: ReplyListener): void {
    this.#keep(tail)
    const line = this.#rest ?? tail
    if (this.#skipped > 0) listener.onCutLine()
    this.#rest = undefined
    this.#skipped = 0
    this.#line(line, 0, line.length, listener)
  }

  #line(bytes: Buffer, start: number, lineEnd: number, listener: ReplyListener): void {
    let end = lineEnd
    while (end > start && bytes[end - 1] === CR) end--
    if (end - start > replyLimit) {
      end = start + replyLimit
      listener.onCutLine()
    }
    if (this.#filter === undefined) {
      this.#take(bytes, start, end, listener)
      return
    }
    const text = bytes.toString('latin1', start, end)
    const filtered = this.#filter(text)
    if (filtered === text) this.#take(bytes, start, end, listener)
    else this.#take(Buffer.from(filtered, 'latin1'), 0, filtered.length, listener)
  }

  #take(bytes: Buffer, start: number, end: number, listener: ReplyListener): void {
    const line = lineText(bytes, start, end)
    const code = replyCode(bytes, start, end)
    if (code < 0) {
      this.#damaged = true
      listener.onGarbage(line)
      return
    }
    if (end - start > 3 && bytes[start + 3] === 0x2d) {
      this.#append(line)
      return
    }
    this.#append(line)
    const text = this.#text
    this.#text = ''
    listener.onReply({ code, text, lastLine: line })
  }

  #append(line: string): void {
    if (this.#text === '') this.#text = line
    else if (this.#text.length < replyLimit) this.#text = `${this.#text}\n${line}`.slice(0, replyLimit)
  }
}

/** Three digits, then `-`, a space or the end; otherwise -1. */
function replyCode(bytes: Buffer, start: number, end: number): number {
  if (end - start < 3) return -1
  const a = bytes[start]! - 0x30
  const b = bytes[start + 1]! - 0x30
  const c = bytes[start + 2]! - 0x30
  if (a < 0 || a > 9 || b < 0 || b > 9 || c < 0 || c > 9) return -1
  const separator = end - start > 3 ? bytes[start + 3] : 0x20
  return separator === 0x20 || separator === 0x2d ? a * 100 + b * 10 + c : -1
}

/** A line of a reply, fit to be shown. Servers may speak UTF-8 (RFC 6531 section 3.7.4.2); other octets are no text. */
function lineText(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString('latin1', start, end)
  if (!/[^\x20-\x7e]/.test(text)) return text
  const octets = bytes.subarray(start, end)
  return isUtf8(octets) ? octets.toString().replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '?') : printable(text)
}

/** Replaces what a terminal or a log must not see. */
export function printable(text: string): string {
  return /[^\x20-\x7e]/.test(text) ? text.replace(/[^\x20-\x7e]/g, '?') : text
}

/**
 * The RFC 3463 code of a reply. One that disagrees with the reply code does not count (RFC 2034 section 4):
 * then it is `c.0.0`, and `5.5.0` for codes that cannot be an answer here.
 */
export function enhancedCode(reply: Reply): string {
  const kind = Math.floor(reply.code / 100)
  if (kind !== 2 && kind !== 4 && kind !== 5) return '5.5.0'
  const match = /^[0-9]{3}[ -] *(([245])\.[0-9]{1,3}\.[0-9]{1,3})(?= |$)/.exec(reply.lastLine)
  if (match === null || Number(match[2]) !== kind) return `${kind}.0.0`
  return match[1]!
}

/** A reply on one line, for reports. */
export function oneLine(reply: Reply): string {
  return reply.text.includes('\n') ? reply.text.replaceAll('\n', ' ') : reply.text
}
