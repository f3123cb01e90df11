/**
 * Quoted-printable of RFC 2045 section 6.7, line by line as it goes out: `=XX` for everything that is not printable
 * ASCII, soft breaks before column 76, no blank at the end of a line.
 */

/** A soft break comes when more than this is in the line: one more character takes three columns, `=` one. */
const softLimit = 72

export class QuotedPrintable {
  #line = ''

  /** Encodes a piece of a line, octets as latin1; `ends`: the line ends here. Returns what is ready, CRLF included. */
  encode(text: string, ends: boolean): string {
    let out = ''
    for (let i = 0; i < text.length; i++) {
      if (this.#line.length > softLimit) {
        out += `${this.#line}=\r\n`
        this.#line = ''
      }
      const code = text.charCodeAt(i)
      this.#line += (code < 32 && code !== 9) || code === 0x3d || code > 126 ? escaped(code) : text[i]!
    }
    if (!ends) return out
    const last = this.#line.charCodeAt(this.#line.length - 1)
    const line = last === 32 || last === 9 ? this.#line.slice(0, -1) + escaped(last) : this.#line
    this.#line = ''
    return `${out}${line}\r\n`
  }
}

const escaped = (code: number): string => `=${code.toString(16).toUpperCase().padStart(2, '0')}`
