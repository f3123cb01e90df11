/** Tables of keys and values: `texthash:` files, `inline:`, entries of the configuration, `static:`, `fail:`. */

import { insideBraces, splitSources } from './config.ts'
import { type LogicalLine, logicalLines } from './lines.ts'
import { found, type Lookup, none, type Query, type Table, TableError, type TableProblem } from './result.ts'

/** Keys are compared without regard to case, as all tables of fixed keys do in Postfix. */
export class FixedTable implements Table {
  readonly #entries = new Map<string, Lookup>()

  /** `false` when the key is there already; the first one counts. */
  add(key: string, value: string): boolean {
    const folded = key.toLowerCase()
    if (this.#entries.has(folded)) return false
    this.#entries.set(folded, found(value))
    return true
  }

  lookup({ key }: Query): Lookup {
    return this.#entries.get(key.toLowerCase()) ?? none
  }
}

export function entriesTable(entries: Readonly<Record<string, string>>): Table {
  const table = new FixedTable()
  for (const [key, value] of Object.entries(entries)) table.add(key, value)
  return table
}

/** `key value` a line. @throws TableError */
export function textTable(content: string, path: string, warn: (problem: TableProblem) => void): Table {
  const table = new FixedTable()
  const problems: TableProblem[] = []
  for (const line of logicalLines(content, path)) {
    const entry = keyAndValue(line)
    if (entry === undefined) {
      problems.push({
        where: line.where,
        // Not what stands there: in a list of passwords it may be one whose key was forgotten.
        what: 'there is a key and no value (write: key, white space, value)',
      })
    } else if (!table.add(...entry)) {
      warn({ where: line.where, what: `the key ${entry[0]} is there already; its first value counts` })
    }
  }
  if (problems.length > 0) throw new TableError(problems)
  return table
}

/** White space inside double quotes belongs to the key: the local part of an address may have some. */
function keyAndValue({ text }: LogicalLine): [key: string, value: string] | undefined {
  const match = /^((?:"(?:[^"\\]|\\.)*"|\\.|[^\s"\\])+)\s+(.+)$/s.exec(text) ?? /^(\S+)\s+(.+)$/s.exec(text)
  return match === null ? undefined : [match[1]!, match[2]!]
}

/** `{ key = value, { key = value, with commas } }`. @throws TableError */
export function inlineTable(name: string): Table {
  const where = `inline:${name}`
  const list = insideBraces(name)
  const elements = list === undefined ? [] : inlineElements(list)
  if (elements.length === 0) {
    throw new TableError([{ where, what: 'has no entries (write inline:{key=value, {key = two words}})' }])
  }
  const table = new FixedTable()
  for (const element of elements) {
    const text = insideBraces(element) ?? element
    const equals = text.indexOf('=')
    const key = text.slice(0, Math.max(equals, 0)).trim()
    const value = text.slice(equals + 1).trim()
    if (equals < 0 || key === '' || value === '') {
      throw new TableError([{ where, what: `"${element}" is not key=value` }])
    }
    table.add(key, value)
  }
  return table
}

/** White space around `=` does not separate entries, so that `{ a = b, c = d }` is what it looks like. */
function inlineElements(list: string): string[] {
  return splitSources(list.replace(/\s*=\s*/g, '='))
}

/** The same answer to everything; `{ }` around it keeps white space and commas. */
export function staticTable(name: string): Table {
  const answer = found(insideBraces(name) ?? name)
  return { lookup: () => answer }
}

/** Every lookup fails: what is refused for now while a table is repaired. */
export function failTable(name: string): Table {
  const answer: Lookup = { kind: 'error', detail: `fail:${name}` }
  return { lookup: () => answer }
}
