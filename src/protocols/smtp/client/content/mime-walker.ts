/**
 * Walks through a mail line by line and says what each line is: part of a header field, of which header, or of a
 * body. It knows multipart and message bodies (RFC 2046), recovers from boundaries that are missing, and takes what
 * it does not understand for body. When it converts, bodies of eight bits become quoted-printable and the header in
 * front of them says so (RFC 6152 section 3).
 */
import type { Settings } from '../../../../config/schema.ts'
import type { contentSettings } from './config.ts'
import { isEightBit, leafType, type MediaType, messageType, parseMediaType } from './media-type.ts'
import { QuotedPrintable } from './quoted-printable.ts'

/** Which header a field is in: the mail's own, that of a part, that of an attached mail. */
export type HeaderClass = 'primary' | 'mime' | 'nested'

export interface MimeLimits {
  /** `header_size_limit`: octets of a field that are looked at and passed on. */
  readonly headerSize: number
  /** `mime_boundary_length_limit`: octets of a boundary that are compared. */
  readonly boundaryLength: number
  /** `mime_nesting_limit`: multiparts within multiparts. */
  readonly nesting: number
}

export const mimeLimits = (settings: Settings<typeof contentSettings>): MimeLimits => ({
  headerSize: settings.header_size_limit,
  boundaryLength: settings.mime_boundary_length_limit,
  nesting: settings.mime_nesting_limit,
})

export interface MimeListener {
  /** A whole field, its lines joined by LF, `name` in lower case. */
  onField(field: string, name: string, where: HeaderClass): void
  /** A line of a body or a piece of one; `ends`: with it the line ends. */
  onBody(text: string, ends: boolean): void
  /** Lines that are ready, CRLF included. */
  onEncoded(lines: string): void
}

export interface MimeOptions {
  readonly limits: MimeLimits
  /** 8 to 7 bits. */
  readonly convert: boolean
  /** False: only the first header is a header, the rest is one body. */
  readonly parts: boolean
}

/** More multiparts within multiparts than `mime_nesting_limit`: the mail cannot be converted. */
export class MimeNestingError extends Error {}

interface Boundary {
  readonly text: string
  /** What a part is that does not say: a mail in a digest. */
  readonly partType: MediaType
}

export class MimeWalker {
  readonly #listener: MimeListener
  readonly #options: MimeOptions
  readonly #encoder = new QuotedPrintable()
  /** Innermost last. */
  readonly #boundaries: Boundary[] = []
  #where: HeaderClass | 'body' = 'primary'
  #type: MediaType = leafType
  #eightBit = false
  /** The unfinished field. */
  #field = ''
  /** No more of it is kept. */
  #isFull = false
  /** The last piece did not end its line. */
  #continued = false

  constructor(options: MimeOptions, listener: MimeListener) {
    this.#options = options
    this.#listener = listener
  }

  /** Takes a line, or a piece of one that is very long; octets as latin1, without CRLF. */
  line(text: string, ends: boolean): void {
    if (this.#where === 'body' || !this.#inHeader(text)) this.#body(text, ends)
    this.#continued = !ends
  }

  /** The mail is over. */
  end(): void {
    if (this.#continued) this.line('', true)
    if (this.#where === 'body') return
    this.#endField()
    this.#endHeader()
    this.#where = 'body'
  }

  /** False: the header is over, and the line belongs to the body. */
  #inHeader(text: string): boolean {
    if (this.#field !== '') {
      const folded = text.startsWith(' ') || text.startsWith('\t')
      if (this.#continued || folded) {
        this.#lengthen(text)
        return true
      }
      this.#endField()
    }
    const name = fieldName.exec(text)
    if (name !== null) {
      // `Name :` was legal once.
      this.#field = name[1]! + text.slice(name[0].length - 1)
      this.#isFull = false
      return true
    }
    this.#endHeader()
    this.#beginBody(text)
    return false
  }

  /** A field without end: a line that does not fit is dropped with all behind it, a very long one is cut. */
  #lengthen(text: string): void {
    if (this.#isFull) return
    const room = this.#options.limits.headerSize - this.#field.length
    this.#isFull = this.#continued ? text.length > room : text.length >= room
    if (this.#continued) this.#field += text.slice(0, room)
    else if (!this.#isFull) this.#field += `\n${text}`
  }

  #endField(): void {
    const field = this.#field
    if (field === '') return
    this.#field = ''
    const colon = field.indexOf(':')
    const name = field.slice(0, colon).toLowerCase()
    if (this.#options.parts) {
      if (name === 'content-type') this.#setType(parseMediaType(field.slice(colon + 1)))
      else if (name === 'content-transfer-encoding') {
        this.#eightBit = isEightBit(field.slice(colon + 1)) ?? this.#eightBit
        // What it will be is known when the header ends.
        if (this.#options.convert && this.#eightBit) return
      }
    }
    this.#listener.onField(field, name, this.#where as HeaderClass)
  }

  #setType(type: MediaType | undefined): void {
    if (type === undefined) return
    this.#type = type
    const { nesting, boundaryLength } = this.#options.limits
    const partType = type.subtype === 'digest' ? messageType : leafType
    for (const text of type.boundaries) {
      if (this.#boundaries.length < nesting) {
        this.#boundaries.push({ text: text.slice(0, boundaryLength), partType })
      } else if (this.#options.convert) throw new MimeNestingError()
    }
  }

  #endHeader(): void {
    if (!this.#options.convert || !this.#eightBit) return
    const { kind, subtype } = this.#type
    const domain = kind === 'multipart' || (kind === 'message' && subtype !== 'global')
    const encoding = domain ? '7bit' : 'quoted-printable'
    const field = `Content-Transfer-Encoding: ${encoding}`
    this.#listener.onField(field, '', this.#where as HeaderClass)
  }

  #beginBody(text: string): void {
    const was = this.#where
    this.#where = 'body'
    if (text !== '') {
      // Not a field: the body starts without its blank line. In a part it must stay as it was signed.
      if (was === 'primary') this.#listener.onBody('', true)
      return
    }
    const { kind, subtype } = this.#type
    if (kind === 'multipart') this.#set('body', leafType)
    else if (kind === 'message') {
      const opaque = this.#options.convert && this.#eightBit
      if (subtype === 'rfc822' || (subtype === 'global' && !opaque)) this.#set('nested', leafType)
    }
  }

  #set(where: HeaderClass | 'body', type: MediaType): void {
    this.#where = where
    this.#type = type
    this.#eightBit = false
  }

  #body(text: string, ends: boolean): void {
    if (!this.#continued && this.#boundaries.length > 0 && text.length > 2 && text.startsWith('--'))
      this.#atBoundary(text)
    if (this.#options.convert && this.#eightBit) {
      const lines = this.#encoder.encode(text, ends)
      if (lines !== '') this.#listener.onEncoded(lines)
    } else this.#listener.onBody(text, ends)
  }

  /** The boundary of any multipart we are in ends all within it. */
  #atBoundary(text: string): void {
    for (let i = this.#boundaries.length - 1; i >= 0; i--) {
      const boundary = this.#boundaries[i]!
      if (!text.startsWith(boundary.text, 2)) continue
      this.#boundaries.length = i + 1
      if (text.startsWith('--', 2 + boundary.text.length)) {
        this.#boundaries.length = i
        this.#set('body', leafType)
      } else this.#set('mime', boundary.partType)
      return
    }
  }
}

/** RFC 5322 section 3.6.8, with the blanks before the colon of section 4.5. */
const fieldName = /^([^\x00-\x20\x7f-\xff:]+)[ \t]*:/
