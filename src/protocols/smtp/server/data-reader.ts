/**
 * Mail content after DATA: takes the dots of RFC 5321 section 4.5.2 away and finds the end. After BDAT (RFC 3030)
 * there are no dots and no end to find; what is said about line ends holds there as well.
 *
 * Only CR LF "." CR LF ends the content, and only a dot after CR LF is taken away. What other servers have taken
 * for an end (LF "." LF, LF "." CR LF, CR "." CR and so on: "SMTP smuggling") is content here. And because a
 * server further on may be one of those, a CR or LF alone never leaves this reader: LF becomes CR LF, CRs in front
 * of a line end go, any other CR becomes a space, as in Postfix. That an LF stood alone is remembered, for servers
 * that refuse such mail.
 */

const CR = 13
const LF = 10
const DOT = 46

const crlf = Buffer.from('\r\n')
const space = Buffer.from(' ')

/** Where we are relative to a line end, between two chunks. */
type Position = 'line' | 'cr' | 'line-start' | 'dot' | 'dot-cr'

export class DataReader {
  /** An LF that was not part of CR LF has been seen. */
  hasBareNewline = false
  /** The command itself ended in CR LF: a dot may come first. */
  #position: Position = 'line-start'
  /** CRs that the chunk before ended in. */
  #crs = 0
  /** In `line`: something of the line has come. Not after an LF alone, behind which a dot is no line start either. */
  #isOpen = true
  readonly #hasDots: boolean

  /** `data`: until the dot. `chunks`: as the client counts them. */
  constructor(form: 'data' | 'chunks' = 'data') {
    this.#hasDots = form === 'data'
  }

  /**
   * Reads `chunk` from `from` on and hands what is content to `sink`, as views of the chunk. Returns the index
   * after the end of the content, or -1 when it has not come yet.
   */
  push(chunk: Buffer, from: number, sink: (slice: Buffer) => void): number {
    const { length } = chunk
    let at = from
    while (at < length && this.#position !== 'line') {
      const octet = chunk[at]
      switch (this.#position) {
        case 'line-start':
          if (octet === DOT && this.#hasDots) {
            this.#position = 'dot'
            at += 1
          } else this.#position = 'line'
          break
        case 'dot':
          if (octet === CR) {
            this.#position = 'dot-cr'
            at += 1
          } else this.#position = 'line'
          break
        case 'cr':
          if (octet === LF) {
            sink(crlf)
            this.#position = 'line-start'
            at += 1
          } else if (octet === CR) {
            this.#crs += 1
            at += 1
          } else this.#bareCrs(sink)
          break
        case 'dot-cr':
          if (octet === LF) return at + 1
          this.#crs = 1
          this.#position = 'cr'
          break
      }
    }
    return at === length ? -1 : this.#lines(chunk, at, sink)
  }

  /** After the last chunk: content ends in a line end. */
  finish(sink: (slice: Buffer) => void): void {
    if (this.#position === 'cr' || (this.#position === 'line' && this.#isOpen)) sink(crlf)
    this.#position = 'line-start'
  }

  #bareCrs(sink: (slice: Buffer) => void): void {
    this.#position = 'line'
    for (; this.#crs > 0; this.#crs -= 1) sink(space)
  }

  /** From within a line to the end of the chunk. `start`: where content begins that was not handed on yet. */
  #lines(chunk: Buffer, from: number, sink: (slice: Buffer) => void): number {
    const { length } = chunk
    let start = from
    let at = from
    let cr = -1
    let lf = -1
    for (;;) {
      // Each is searched again only when passed, so a chunk of LFs alone does not search for CRs at every one.
      if (cr < at) cr = indexOrEnd(chunk, CR, at)
      if (lf < at) lf = indexOrEnd(chunk, LF, at)
      if (cr === length && lf === length) {
        emit(chunk, start, length, sink)
        this.#position = 'line'
        this.#isOpen = start < length
        return -1
      }
      if (lf < cr) {
        this.hasBareNewline = true
        emit(chunk, start, lf, sink)
        sink(crlf)
        at = start = lf + 1
        continue
      }
      if (lf === cr + 1 && lf < length) at = lf + 1
      else {
        let end = cr + 1
        while (end < length && chunk[end] === CR) end += 1
        emit(chunk, start, cr, sink)
        if (end === length) {
          this.#crs = end - cr
          this.#position = 'cr'
          return -1
        }
        if (chunk[end] !== LF) {
          for (let count = end - cr; count > 0; count -= 1) sink(space)
          at = start = end
          continue
        }
        sink(crlf)
        at = start = end + 1
      }
      if (at === length) {
        emit(chunk, start, length, sink)
        this.#position = 'line-start'
        return -1
      }
      if (chunk[at] !== DOT || !this.#hasDots) continue
      emit(chunk, start, at, sink)
      at = start = at + 1
      if (at === length) {
        this.#position = 'dot'
        return -1
      }
      if (chunk[at] !== CR) continue
      if (at + 1 === length) {
        this.#position = 'dot-cr'
        return -1
      }
      if (chunk[at + 1] === LF) return at + 2
    }
  }
}

function indexOrEnd(chunk: Buffer, octet: number, from: number): number {
  const index = chunk.indexOf(octet, from)
  return index === -1 ? chunk.length : index
}

function emit(chunk: Buffer, start: number, end: number, sink: (slice: Buffer) => void): void {
  if (end > start) sink(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end))
}
