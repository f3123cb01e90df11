/**
 * Finds the line of each key in a TOML text, for error messages; the parser does not say. It expects a text
 * the parser has accepted, and on any other finds less, nothing worse.
 */

/** Lines by key path, the parts joined with NUL; entries of an array of tables have their index as a part. */
export type KeyLines = ReadonlyMap<string, number>

const separator = '\0'

export function keyLines(text: string): KeyLines {
  const lines = new Map<string, number>()
  const arrays = new Map<string, number>()
  let table: readonly string[] = []
  let line = 1
  let at = 0

  const remember = (path: readonly string[], where: number) => {
    const key = path.join(separator)
    if (!lines.has(key)) lines.set(key, where)
  }

  while (at < text.length) {
    at = skipBlanks(text, at)
    const char = text[at]
    if (char === '\n') {
      line++
      at++
    } else if (char === '#') {
      at = endOfLine(text, at)
    } else if (char === '[') {
      const isArray = text[at + 1] === '['
      const { parts, end } = readKey(text, at + (isArray ? 2 : 1))
      const path = throughArrays(parts, arrays, isArray)
      table = path
      remember(path, line)
      at = endOfLine(text, end)
    } else if (char !== undefined) {
      const { parts, end } = readKey(text, at)
      remember([...table, ...parts], line)
      const after = skipValue(text, end)
      for (let index = at; index < after; index++) if (text[index] === '\n') line++
      at = Math.max(after, at + 1)
    }
  }
  return lines
}

/** The line of a key, or of the nearest table around it. */
export function lineOf(lines: KeyLines, path: readonly (string | number)[]): number {
  for (let length = path.length; length > 0; length--) {
    const line = lines.get(path.slice(0, length).join(separator))
    if (line !== undefined) return line
  }
  return 1
}

function throughArrays(parts: readonly string[], arrays: Map<string, number>, isArray: boolean): string[] {
  const path: string[] = []
  parts.forEach((part, index) => {
    path.push(part)
    const key = path.join(separator)
    const isLast = index === parts.length - 1
    if (isLast && isArray) arrays.set(key, (arrays.get(key) ?? -1) + 1)
    const entry = arrays.get(key)
    if (entry !== undefined) path.push(String(entry))
  })
  return path
}

/** Reads a dotted key; `end` is behind the `]` or `=` it ends with. */
function readKey(text: string, start: number): { parts: string[]; end: number } {
  const parts: string[] = []
  let at = start
  for (;;) {
    at = skipBlanks(text, at)
    const quote = text[at]
    if (quote === '"' || quote === "'") {
      const end = endOfString(text, at)
      parts.push(unquote(text.slice(at, end)))
      at = end
    } else {
      const bare = /[A-Za-z0-9_-]*/y
      bare.lastIndex = at
      const word = bare.exec(text)?.[0] ?? ''
      parts.push(word)
      at += word.length
    }
    at = skipBlanks(text, at)
    if (text[at] !== '.') return { parts, end: at + 1 }
    at++
  }
}

function unquote(quoted: string): string {
  if (quoted.startsWith("'")) return quoted.slice(1, -1)
  try {
    return String(JSON.parse(quoted))
  } catch {
    return quoted.slice(1, -1)
  }
}

/** The place of the newline that ends the value which begins at `start`, or of the end of the text. */
function skipValue(text: string, start: number): number {
  let depth = 0
  let at = start
  while (at < text.length) {
    const char = text[at]
    if (char === '"' || char === "'") {
      at = endOfString(text, at)
      continue
    }
    if (char === '#') {
      at = endOfLine(text, at)
      continue
    }
    if (char === '[' || char === '{') depth++
    else if (char === ']' || char === '}') depth--
    else if (char === '\n' && depth <= 0) return at
    at++
  }
  return at
}

function endOfString(text: string, start: number): number {
  const quote = text[start] ?? ''
  const triple = quote.repeat(3)
  const isLong = text.startsWith(triple, start)
  let at = start + (isLong ? 3 : 1)
  while (at < text.length) {
    const char = text[at]
    if (char === '\\' && quote === '"') at += 2
    else if (isLong && text.startsWith(triple, at)) {
      at += 3
      // A long string may end in up to two quotes of its own before the three that close it.
      while (text[at] === quote) at++
      return at
    } else if (!isLong && char === quote) return at + 1
    else if (!isLong && char === '\n') return at
    else at++
  }
  return at
}

function endOfLine(text: string, start: number): number {
  const end = text.indexOf('\n', start)
  return end < 0 ? text.length : end
}

function skipBlanks(text: string, start: number): number {
  let at = start
  while (text[at] === ' ' || text[at] === '\t' || text[at] === '\r') at++
  return at
}
