/** Bracket expressions of POSIX and Perl in JavaScript's words. */

export interface ClassContext {
  /** In Perl a backslash escapes, in POSIX it is a character like others. */
  readonly isPerl: boolean
  readonly ignoreCase: boolean
  /** Whether what is not listed leaves line ends out too. */
  readonly excludesNewline: boolean
}

const named: Readonly<Record<string, string>> = {
  alnum: 'a-zA-Z0-9',
  alpha: 'a-zA-Z',
  ascii: '\\x00-\\x7f',
  blank: ' \\t',
  cntrl: '\\x00-\\x1f\\x7f',
  digit: '0-9',
  graph: '\\x21-\\x7e',
  lower: 'a-z',
  print: '\\x20-\\x7e',
  punct: '\\x21-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\x7e',
  space: ' \\t-\\r',
  upper: 'A-Z',
  word: '\\w',
  xdigit: '0-9a-fA-F',
}

const perlClasses: Readonly<Record<string, string>> = {
  d: '\\d',
  D: '\\D',
  w: '\\w',
  W: '\\W',
  s: '\\s',
  S: '\\S',
  h: '\\t ',
  v: '\\n-\\r',
}

const perlCharacters: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  f: '\f',
  a: '\x07',
  e: '\x1b',
  b: '\b',
  '0': '\0',
}

/** One character as a pattern; both cases of a letter when case does not count. */
export function foldedCharacter(char: string, ignoreCase: boolean): string {
  const both = ignoreCase ? cases(char) : [char]
  return both.length === 1 ? escaped(char) : `[${both.map(escaped).join('')}]`
}

function cases(char: string): string[] {
  return [...new Set([char, char.toLowerCase(), char.toUpperCase()])].filter((one) => one.length === 1)
}

function escaped(char: string): string {
  if (/[\x00-\x1f\x7f]/.test(char)) return `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
  return /[\^$\\.*+?()[\]{}|/-]/.test(char) ? `\\${char}` : char
}

interface Item {
  readonly end: number
  /** A single character, which may begin a range; else a class, ready to be used. */
  readonly char?: string
  readonly source?: string
}

/** Translates the bracket expression at `at`, where the `[` stands. */
export function characterClass(
  pattern: string,
  at: number,
  context: ClassContext,
): { readonly source: string; readonly end: number } | { readonly problem: string } {
  const isNegated = pattern[at + 1] === '^'
  let position = at + (isNegated ? 2 : 1)
  const first = position
  let source = isNegated && context.excludesNewline ? '\\n' : ''
  // A "]" in the first place is a character.
  while (pattern[position] !== ']' || position === first) {
    const item = nextItem(pattern, position, context)
    if (typeof item === 'string') return { problem: item }
    position = item.end
    if (item.char === undefined) {
      source += context.ignoreCase && /^(?:a-z|A-Z)$/.test(item.source ?? '') ? 'a-zA-Z' : item.source
      continue
    }
    const last = rangeEnd(pattern, position, context)
    if (typeof last === 'string') return { problem: last }
    if (last?.char === undefined) {
      source += (context.ignoreCase ? cases(item.char) : [item.char]).map(escaped).join('')
      continue
    }
    if (last.char < item.char) return { problem: `the range "${item.char}-${last.char}" runs backwards` }
    position = last.end
    source += range(item.char, last.char, context.ignoreCase)
  }
  return { source: `[${isNegated ? '^' : ''}${source}]`, end: position + 1 }
}

/** The character after a `-` that makes a range; undefined when the `-` is a character itself. */
function rangeEnd(pattern: string, at: number, context: ClassContext): Item | string | undefined {
  if (pattern[at] !== '-' || pattern[at + 1] === ']' || pattern[at + 1] === undefined) return undefined
  return nextItem(pattern, at + 1, context)
}

function nextItem(pattern: string, at: number, { isPerl }: ClassContext): Item | string {
  const char = pattern[at]
  if (char === undefined) return 'a "]" is missing'
  const bracket = /^\[([:=.])(\^?)(.*?)\1\]/.exec(pattern.slice(at, at + 24))
  if (bracket !== null) {
    const [text, kind, not, name = ''] = bracket
    const end = at + text.length
    if (kind !== ':') return name.length === 1 ? { end, char: name } : `"${text}" is not supported`
    const source = named[name]
    if (source === undefined || not !== '') return `there is no character class ${text}`
    return { end, source }
  }
  if (char !== '\\' || !isPerl) return { end: at + 1, char }
  const hex = /^\\x(?:\{([0-9a-f]{1,4})\}|([0-9a-f]{2}))/i.exec(pattern.slice(at))
  if (hex !== null) {
    const code = Number.parseInt(hex[1] ?? hex[2] ?? '', 16)
    return { end: at + hex[0].length, char: String.fromCharCode(code) }
  }
  const next = pattern[at + 1]
  if (next === undefined) return 'the pattern ends with a "\\"'
  const source = perlClasses[next]
  if (source !== undefined) return { end: at + 2, source }
  const control = perlCharacters[next]
  if (control !== undefined) return { end: at + 2, char: control }
  return /[a-z0-9]/i.test(next) ? `"\\${next}" is not supported in brackets` : { end: at + 2, char: next }
}

function range(from: string, to: string, ignoreCase: boolean): string {
  const plain = `${escaped(from)}-${escaped(to)}`
  if (!ignoreCase) return plain
  return plain + overlap(from, to, 'a', 'z', -32) + overlap(from, to, 'A', 'Z', 32)
}

/** The letters of the range within `low`-`high`, in the other case. */
function overlap(from: string, to: string, low: string, high: string, shift: number): string {
  const first = from > low ? from : low
  const last = to < high ? to : high
  if (first > last) return ''
  const moved = (char: string) => String.fromCharCode(char.charCodeAt(0) + shift)
  return `${moved(first)}-${moved(last)}`
}
