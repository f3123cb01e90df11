/**
 * Content on its way to a server, changed where the settings or the server ask for it: 8-bit bodies converted,
 * header and body checks, addresses of the header mapped. A stream: no more than a line or a header field is held.
 */
import { addressFields, mapAddressField } from './address-field.ts'
import type { ContentChecks } from './checks.ts'
import { type HeaderClass, type MimeLimits, MimeWalker } from './mime-walker.ts'

export interface RewriteOptions {
  readonly limits: MimeLimits
  /** Pieces of lines that are looked at one by one, `net.line_length_limit`. */
  readonly lineLimit: number
  readonly convert: boolean
  readonly checks?: ContentChecks
  /** Another address for one of the header; undefined: it stays. */
  readonly mapAddress?: (address: string) => string | undefined
}

const LF = 0x0a

export class ContentRewriter {
  readonly #options: RewriteOptions
  readonly #walker: MimeWalker
  #rest = ''
  #out = ''

  constructor(options: RewriteOptions) {
    this.#options = options
    const checked = options.checks?.ofHeaders === true || options.checks?.ofBodies === true
    this.#walker = new MimeWalker(
      { limits: options.limits, convert: options.convert, parts: options.convert || checked },
      {
        onField: (field, name, where) => this.#field(field, name, where),
        onBody: (text, ends) => this.#body(text, ends),
        onEncoded: (lines) => this.#encoded(lines),
      },
    )
  }

  /** Takes content as it is stored and returns what goes out for it. Throws what the walker and the checks throw. */
  push(chunk: Buffer): Buffer {
    let start = 0
    for (let lf = chunk.indexOf(LF); lf >= 0; lf = chunk.indexOf(LF, start)) {
      this.#line(this.#rest + chunk.toString('latin1', start, lf))
      this.#rest = ''
      start = lf + 1
    }
    this.#rest += chunk.toString('latin1', start)
    const { lineLimit } = this.#options
    // A CR at the end may be half a line end.
    while (this.#rest.length > lineLimit + 1) {
      this.#walker.line(this.#rest.slice(0, lineLimit), false)
      this.#rest = this.#rest.slice(lineLimit)
    }
    return this.#take()
  }

  /** The content is over. */
  finish(): Buffer {
    if (this.#rest !== '') this.#walker.line(this.#rest, false)
    this.#rest = ''
    this.#walker.end()
    return this.#take()
  }

  #line(text: string): void {
    let rest = text.endsWith('\r') ? text.slice(0, -1) : text
    const { lineLimit } = this.#options
    while (rest.length > lineLimit) {
      this.#walker.line(rest.slice(0, lineLimit), false)
      rest = rest.slice(lineLimit)
    }
    this.#walker.line(rest, true)
  }

  #take(): Buffer {
    const out = Buffer.from(this.#out, 'latin1')
    this.#out = ''
    return out
  }

  #field(field: string, name: string, where: HeaderClass): void {
    const { checks, mapAddress } = this.#options
    let text = field
    if (checks?.ofHeaders === true) {
      const { before, line } = checks.field(field, name, where)
      if (before !== undefined) this.#write(before, true)
      if (line === undefined) return
      text = line
    }
    if (mapAddress !== undefined && where === 'primary' && addressFields.has(name)) {
      const colon = text.indexOf(':')
      text = mapAddressField(text.slice(0, colon), text.slice(colon + 1), mapAddress) ?? text
    }
    this.#write(text.replaceAll('\n', '\r\n'), true)
  }

  #body(text: string, ends: boolean): void {
    const { checks } = this.#options
    if (checks?.ofBodies !== true) {
      this.#write(text, ends)
      return
    }
    const { before, line } = checks.line(text)
    if (before !== undefined) this.#write(before, true)
    if (line !== undefined) this.#write(line, ends)
  }

  /** Encoded lines are judged as they go out. */
  #encoded(lines: string): void {
    if (this.#options.checks?.ofBodies !== true) {
      this.#out += lines
      return
    }
    for (const line of lines.slice(0, -2).split('\r\n')) this.#body(line, true)
  }

  #write(text: string, ends: boolean): void {
    this.#out += ends ? `${text}\r\n` : text
  }
}
