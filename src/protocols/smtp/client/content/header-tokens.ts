/**
 * Words, quoted strings and special characters of a structured header field, comments and folding removed: RFC 5322
 * section 3.2, RFC 2045 section 5.1. Never fails: what is left open ends with the field.
 */
export interface HeaderToken {
  readonly kind: 'word' | 'quoted' | 'special'
  /** Quoted strings without their quotes. */
  readonly text: string
}

export class HeaderTokens {
  readonly #text: string
  readonly #specials: string
  #at = 0

  constructor(text: string, specials: string) {
    this.#text = text
    this.#specials = specials
  }

  /** Tokens up to `terminator`, which is skipped, or to the end; undefined: nothing is left. */
  upTo(terminator: string): readonly HeaderToken[] | undefined {
    const tokens: HeaderToken[] = []
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at]!
      if (char === terminator) {
        this.#at++
        return tokens
      }
      const token = this.#next(char)
      if (token !== undefined) tokens.push(token)
    }
    return tokens.length === 0 ? undefined : tokens
  }

  #next(char: string): HeaderToken | undefined {
    if (/[ \t\r\n]/.test(char)) {
      this.#at++
      return undefined
    }
    if (char === '(') {
      this.#skipComment()
      return undefined
    }
    if (char === '"') return { kind: 'quoted', text: this.#quoted() }
    if (this.#isSpecial(char)) {
      this.#at++
      return { kind: 'special', text: char }
    }
    const start = this.#at
    do this.#at++
    while (
      this.#at < this.#text.length &&
      !/[ \t\r\n]/.test(this.#text[this.#at]!) &&
      !this.#isSpecial(this.#text[this.#at]!)
    )
    return { kind: 'word', text: this.#text.slice(start, this.#at) }
  }

  #isSpecial(char: string): boolean {
    return this.#specials.includes(char) || char < ' ' || char === '\x7f'
  }

  #skipComment(): void {
    let depth = 0
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at++]!
      if (char === '\\') this.#at++
      else if (char === '(') depth++
      else if (char === ')' && --depth === 0) return
    }
  }

  #quoted(): string {
    let value = ''
    this.#at++
    while (this.#at < this.#text.length) {
      const char = this.#text[this.#at++]!
      if (char === '"') break
      // Unfolding takes the break and the blanks before it.
      if (char === '\n') value = value.replace(/[ \t\r\n]+$/, '')
      else value += char === '\\' ? (this.#text[this.#at++] ?? '') : char
    }
    return value
  }
}
