/**
 * Patterns of POSIX (`regexp:`) and Perl (`pcre:`) in JavaScript's words. The result needs no flags: letter case is
 * written out (`[aA]`), as V8 can fall back to its matcher without backtracking only for patterns without `i`
 * (see `src/cli/main.ts`). The groups of the pattern are named `g1`, `g2`, …
 */
import { type ClassContext, characterClass, foldedCharacter } from './character-class.ts'

export type Dialect = 'posix' | 'perl'

/** The pattern is not one that we can match; the message says why. */
export class PatternError extends Error {
  override readonly name = 'PatternError'
}

export interface TranslatedPattern {
  readonly source: string
  readonly groups: number
}

interface Modes {
  ignoreCase: boolean
  /** `^` and `$` match at line ends. */
  multiline: boolean
  /** `.` matches a line end. */
  dotAll: boolean
  /** White space and `#` comments in the pattern mean nothing. */
  extended: boolean
  ungreedy: boolean
}

const flagNames: Readonly<Record<Dialect, string>> = { posix: 'imx', perl: 'imsxAEUX' }

/** Flags toggle, as in Postfix: `/i` makes letter case count. @throws PatternError */
export function translatePattern(pattern: string, flags: string, dialect: Dialect): TranslatedPattern {
  const unknown = [...flags].find((flag) => !flagNames[dialect].includes(flag))
  if (unknown !== undefined) {
    throw new PatternError(`"${unknown}" after the pattern is no flag (there are ${flagNames[dialect]})`)
  }
  const toggled = (flag: string) => flags.split(flag).length % 2 === 0
  if (dialect === 'posix' && toggled('x')) {
    throw new PatternError('basic regular expressions are not supported (leave the flag x out)')
  }
  const multiline = toggled('m')
  const translator = new Translator(pattern, dialect, {
    ignoreCase: !toggled('i'),
    multiline,
    // POSIX ties both to one flag: a pattern that knows lines has no dot that crosses them.
    dotAll: dialect === 'posix' ? !multiline : !toggled('s'),
    extended: dialect === 'perl' && toggled('x'),
    ungreedy: dialect === 'perl' && toggled('U'),
  })
  const { source, groups } = translator.run()
  return { source: dialect === 'perl' && toggled('A') ? `^(?:${source})` : source, groups }
}

interface OpenGroup {
  readonly start: number
  readonly modes: Modes
  /** What the closing parenthesis becomes. */
  readonly close: string
}

const quantifier = /^(?:[*+?]|\{\d+(?:,\d*)?\})/
const start = '(?<![^])'
const end = '(?![^])'

class Translator {
  readonly #pattern: string
  readonly #dialect: Dialect
  readonly #open: OpenGroup[] = []
  #modes: Modes
  #at = 0
  /** Translated pieces; a quantifier may still have to wrap the last ones. */
  #out: string[] = []
  /** Index in `#out` where what a quantifier would repeat begins; -1 when there is nothing. */
  #atom = -1
  #groups = 0
  #atomics = 0

  constructor(pattern: string, dialect: Dialect, modes: Modes) {
    this.#pattern = pattern
    this.#dialect = dialect
    this.#modes = modes
  }

  run(): TranslatedPattern {
    while (this.#at < this.#pattern.length) this.#step()
    if (this.#open.length > 0) throw new PatternError('a ")" is missing')
    return { source: this.#out.join(''), groups: this.#groups }
  }

  get #rest(): string {
    return this.#pattern.slice(this.#at)
  }

  #step(): void {
    const char = this.#pattern[this.#at]!
    const isPerl = this.#dialect === 'perl'
    if (isPerl && this.#modes.extended && /[\s#]/.test(char)) {
      const skipped = /^(?:\s+|#[^\n]*)/.exec(this.#rest)
      this.#at += skipped?.[0].length ?? 1
      return
    }
    switch (char) {
      case '\\':
        this.#escape()
        return
      case '[':
        this.#class()
        return
      case '(':
        this.#group()
        return
      case ')':
        this.#endGroup()
        return
      case '|':
        this.#at++
        this.#assertion('|')
        return
      case '.':
        this.#at++
        this.#emit(this.#modes.dotAll ? '[^]' : '[^\\n]')
        return
      case '^':
        this.#at++
        this.#assertion(this.#modes.multiline ? '(?:^|(?<=\\n))' : '^')
        return
      case '$':
        this.#at++
        this.#assertion(this.#modes.multiline ? '(?:$|(?=\\n))' : '$')
        return
      case '*':
      case '+':
      case '?':
      case '{':
        this.#quantifier(char)
        return
      default:
        this.#at++
        this.#literal(char)
        return
    }
  }

  #emit(text: string): void {
    this.#atom = this.#out.length
    this.#out.push(text)
  }

  #assertion(text: string): void {
    this.#out.push(text)
    this.#atom = -1
  }

  #literal(char: string): void {
    this.#emit(foldedCharacter(char, this.#modes.ignoreCase))
  }

  #quantifier(char: string): void {
    // `{,3}` is from 0 in POSIX.
    const found = quantifier.exec(this.#rest.replace(/^\{,(?=\d+\})/, '{0,'))
    if (found === null) {
      if (this.#dialect === 'posix') throw new PatternError('"{" is not followed by a count (write "\\{")')
      this.#at++
      this.#literal(char)
      return
    }
    const [text] = found
    this.#at += text.length - (this.#rest.startsWith('{,') ? 1 : 0)
    if (this.#atom < 0) {
      // POSIX leaves a repetition of nothing open; GNU takes a star at the start for itself.
      if (this.#dialect === 'posix' && text === '*') {
        this.#literal('*')
        return
      }
      throw new PatternError(`there is nothing "${text}" could repeat`)
    }
    if (this.#dialect === 'posix') {
      // Not `a*?`, which JavaScript reads as "as few as possible".
      this.#repeat(text)
      return
    }
    const suffix = this.#pattern[this.#at]
    if (suffix === '+') {
      this.#at++
      this.#repeat(text)
      this.#makeAtomic(this.#atom)
      return
    }
    const isLazy = suffix === '?'
    if (isLazy) this.#at++
    this.#repeat(isLazy !== this.#modes.ungreedy ? `${text}?` : text)
  }

  /** What is repeated is one piece afterwards, which a further quantifier may repeat. */
  #repeat(text: string): void {
    const body = this.#out.splice(this.#atom).join('')
    this.#out.push(`(?:${body}${text})`)
  }

  /** `(?>…)`: a lookahead is never entered again, and the reference takes what it found. */
  #makeAtomic(from: number): void {
    const name = `a${++this.#atomics}`
    const body = this.#out.splice(from).join('')
    this.#atom = this.#out.length
    this.#out.push(`(?:(?=(?<${name}>${body}))\\k<${name}>)`)
  }

  #class(): void {
    const context: ClassContext = {
      isPerl: this.#dialect === 'perl',
      ignoreCase: this.#modes.ignoreCase,
      excludesNewline: this.#dialect === 'posix' && this.#modes.multiline,
    }
    const found = characterClass(this.#pattern, this.#at, context)
    if ('problem' in found) throw new PatternError(found.problem)
    this.#at = found.end
    this.#emit(found.source)
  }

  #group(): void {
    const perl =
      /^\(\?(?:(#[^)]*\))|(>)|(:)|(<?[=!])|P?<(\w+)>|'(\w+)'|([imsxUJ]*(?:-[imsxU]*)?)([:)]))/.exec(
        this.#rest,
      )
    if (this.#rest.startsWith('(?') || this.#rest.startsWith('(*')) {
      if (this.#dialect === 'posix') {
        throw new PatternError(`"${this.#rest.slice(0, 4)}" is not POSIX syntax (use a pcre: table)`)
      }
      if (perl === null) throw new PatternError(`"${this.#rest.slice(0, 6)}" is not supported`)
    }
    if (perl === null) {
      this.#at++
      this.#openGroup(`(?<g${++this.#groups}>`, ')')
      return
    }
    const [text, comment, atomic, plain, look, name, quoted, modes, close] = perl
    this.#at += text.length
    if (comment !== undefined) return
    if (atomic !== undefined) {
      this.#openGroup('', 'atomic')
      return
    }
    if (plain !== undefined) {
      this.#openGroup('(?:', ')')
      return
    }
    if (look !== undefined) {
      this.#openGroup(`(?${look}`, ')')
      return
    }
    if (name !== undefined || quoted !== undefined) {
      this.#openGroup(`(?<g${++this.#groups}>`, ')')
      return
    }
    if (close === ':') this.#openGroup('(?:', ')')
    this.#modes = this.#changed(modes ?? '')
  }

  #changed(letters: string): Modes {
    const modes = { ...this.#modes }
    const [on = '', off = ''] = letters.split('-')
    const keys = { i: 'ignoreCase', m: 'multiline', s: 'dotAll', x: 'extended', U: 'ungreedy' } as const
    for (const [letter, key] of Object.entries(keys)) {
      if (on.includes(letter)) modes[key] = true
      if (off.includes(letter)) modes[key] = false
    }
    return modes
  }

  #openGroup(opening: string, close: string): void {
    this.#open.push({ start: this.#out.length, modes: { ...this.#modes }, close })
    this.#out.push(opening)
    this.#atom = -1
  }

  #endGroup(): void {
    this.#at++
    const group = this.#open.pop()
    if (group === undefined) {
      // POSIX: a ")" that closes nothing is itself.
      if (this.#dialect === 'posix') {
        this.#literal(')')
        return
      }
      throw new PatternError('a ")" has no "("')
    }
    this.#modes = group.modes
    if (group.close === 'atomic') {
      this.#makeAtomic(group.start)
      return
    }
    this.#out.push(group.close)
    this.#atom = group.start
  }

  #escape(): void {
    const rest = this.#rest
    const char = rest[1]
    if (char === undefined) throw new PatternError('the pattern ends with a "\\"')
    const reference = /^\\(?:([1-9])|g\{?([1-9])\}?|g?k<(\w+)>)/.exec(rest)
    if (reference !== null) {
      this.#reference(reference)
      return
    }
    this.#at += 2
    if (/[wWsS]/.test(char)) {
      this.#emit(`\\${char}`)
      return
    }
    if (/[bB]/.test(char)) {
      this.#assertion(`\\${char}`)
      return
    }
    if (this.#dialect === 'posix') {
      this.#posixEscape(char)
      return
    }
    this.#perlEscape(char)
  }

  /** What GNU's library knows beyond POSIX. */
  #posixEscape(char: string): void {
    if (char === '<') {
      this.#assertion('\\b(?=\\w)')
      return
    }
    if (char === '>') {
      this.#assertion('\\b(?<=\\w)')
      return
    }
    if (char === '`') {
      this.#assertion(start)
      return
    }
    if (char === "'") {
      this.#assertion(end)
      return
    }
    this.#literal(char)
  }

  #perlEscape(char: string): void {
    if (char === 'Q') {
      this.#quoted()
      return
    }
    if (char === 'E') return
    const hex = /^\\x(?:\{([0-9a-f]{1,4})\}|([0-9a-f]{2}))/i.exec(this.#pattern.slice(this.#at - 2))
    if (char === 'x' && hex !== null) {
      this.#at += hex[0].length - 2
      this.#literal(String.fromCharCode(Number.parseInt(hex[1] ?? hex[2] ?? '', 16)))
      return
    }
    const source = perlEscapes[char]
    if (source !== undefined) {
      this.#emit(source)
      return
    }
    const assertion = perlAssertions[char]
    if (assertion !== undefined) {
      this.#assertion(assertion)
      return
    }
    if (/[a-z0-9]/i.test(char)) throw new PatternError(`"\\${char}" is not supported`)
    this.#literal(char)
  }

  #quoted(): void {
    const until = this.#pattern.indexOf('\\E', this.#at)
    const text = this.#pattern.slice(this.#at, until < 0 ? undefined : until)
    for (const char of text) this.#literal(char)
    this.#at += text.length + (until < 0 ? 0 : 2)
  }

  #reference([text, digit, braced, name]: RegExpExecArray): void {
    if (name !== undefined) throw new PatternError(`"${text}": refer to a group by its number`)
    const group = Number(digit ?? braced)
    if (this.#dialect === 'perl' && digit !== undefined && /\d/.test(this.#rest[2] ?? '')) {
      throw new PatternError(`"${this.#rest.slice(0, 3)}" is not supported (write \\g{1} before a digit)`)
    }
    if (group > this.#groups) throw new PatternError(`there is no group ${group} before "${text}"`)
    this.#at += text.length
    this.#emit(this.#modes.ignoreCase ? `(?i:\\k<g${group}>)` : `\\k<g${group}>`)
  }
}

const perlEscapes: Readonly<Record<string, string>> = {
  d: '\\d',
  D: '\\D',
  h: '[\\t ]',
  H: '[^\\t ]',
  R: '(?:\\r\\n|[\\n-\\r])',
  N: '[^\\n]',
  v: '[\\n-\\r]',
  V: '[^\\n-\\r]',
  n: '\\n',
  r: '\\r',
  t: '\\t',
  f: '\\f',
  e: '\\x1b',
  a: '\\x07',
  '0': '\\0',
}

const perlAssertions: Readonly<Record<string, string>> = { A: start, z: end, Z: '(?=\\n?(?![^]))' }
