/**
 * How tables are written in a setting: `type:name`, several separated by commas or white space, as Postfix has
 * them. What stands in braces belongs together. A table may also be given right there, as a TOML table of strings.
 */
import { isAbsolute, resolve } from 'node:path'
import { TableError } from './result.ts'

/** One table of a setting: `type:name`, or its entries. */
export type TableSource = string | Readonly<Record<string, string>>

/** Types whose name is a path. */
export const fileTypes: ReadonlySet<string> = new Set(['texthash', 'regexp', 'pcre', 'cidr'])
const wordTypes: ReadonlySet<string> = new Set(['inline', 'static', 'fail'])
const combinedTypes: ReadonlySet<string> = new Set(['unionmap', 'pipemap'])

/** Types of Postfix that are files of a database library; their source is a text file in texthash's format. */
const databaseTypes: ReadonlySet<string> = new Set(['hash', 'btree', 'lmdb', 'dbm', 'cdb', 'sdbm'])

export interface TypedSource {
  readonly type: string
  readonly name: string
}

/**
 * Splits at commas and white space outside of braces.
 * @throws TableError when the braces do not match.
 */
export function splitSources(text: string): string[] {
  const parts: string[] = []
  let part = ''
  let depth = 0
  for (const char of text) {
    if (char === '{') depth++
    if (char === '}') depth--
    if (depth < 0) break
    if (depth === 0 && /[\s,]/.test(char)) {
      if (part !== '') parts.push(part)
      part = ''
    } else part += char
  }
  if (depth !== 0) throw new TableError([{ where: text, what: 'the braces do not match' }])
  if (part !== '') parts.push(part)
  return parts
}

/** The text between the braces around `text`; undefined when there are none. */
export function insideBraces(text: string): string | undefined {
  return text.startsWith('{') && text.endsWith('}') ? text.slice(1, -1).trim() : undefined
}

/**
 * Reads `type:name`.
 * @throws TableError for a type that is not there, with what to write instead.
 */
export function typedSource(text: string): TypedSource {
  // Postfix reads such tables through a daemon outside of its chroot; we have neither.
  const plain = text.replace(/^(?:proxy:)+/, '')
  const match = /^([a-z][a-z0-9]*):(.*)$/s.exec(plain)
  if (match === null) {
    throw new TableError([{ where: text, what: 'is not type:name (write texthash:FILE for a text file)' }])
  }
  const [, type = '', name = ''] = match
  if (databaseTypes.has(type)) {
    const what = `${type}: needs a database library (write texthash:${name}, which reads the text file it was made from)`
    throw new TableError([{ where: text, what }])
  }
  if (!fileTypes.has(type) && !wordTypes.has(type) && !combinedTypes.has(type)) {
    const types = [...fileTypes, ...wordTypes, ...combinedTypes].join(', ')
    throw new TableError([{ where: text, what: `there is no table type ${type} (there are ${types})` }])
  }
  if (name.trim() === '') throw new TableError([{ where: text, what: `the name after ${type}: is missing` }])
  return { type, name }
}

/** The tables inside `unionmap:{…}` and `pipemap:{…}`. */
export function innerSources({ type, name }: TypedSource): string[] {
  const list = insideBraces(name)
  const sources = list === undefined ? [] : splitSources(list)
  if (sources.length === 0) {
    const what = `the tables are missing (write ${type}:{type:name, type:name})`
    throw new TableError([{ where: `${type}:${name}`, what }])
  }
  return sources
}

/**
 * The tables of a setting as a list, paths made absolute against `base`, when it is given.
 * @throws TableError with what is wrong with how they are written.
 */
export function tableSources(written: unknown, base?: string): readonly TableSource[] {
  if (typeof written === 'string') return splitSources(written).map((source) => absoluteSource(source, base))
  if (Array.isArray(written)) return written.flatMap((one) => tableSources(one, base))
  if (typeof written === 'object' && written !== null && !(written instanceof Date)) {
    const wrong = Object.entries(written).find(([, value]) => typeof value !== 'string')
    if (wrong === undefined) return [{ ...(written as Record<string, string>) }]
    throw new TableError([{ where: wrong[0], what: `${JSON.stringify(wrong[1])} is not a string` }])
  }
  throw new TableError([{ where: JSON.stringify(written) ?? String(written), what: 'is not a table' }])
}

function absoluteSource(text: string, base: string | undefined): string {
  const source = typedSource(text)
  const { type, name } = source
  if (fileTypes.has(type))
    return `${type}:${base === undefined || isAbsolute(name) ? name : resolve(base, name)}`
  if (!combinedTypes.has(type)) return `${type}:${name}`
  return `${type}:{${innerSources(source)
    .map((inner) => absoluteSource(inner, base))
    .join(', ')}}`
}

/** `tableSources` with what is wrong as a sentence. */
export function parsedSources(written: unknown): { readonly value: unknown } | { readonly problem: string } {
  try {
    return { value: tableSources(written) }
  } catch (error) {
    if (error instanceof TableError) return { problem: error.message }
    throw error
  }
}

/** Whether an element of a list is a table and no name, address or socket path. */
export function isTableType(element: string): boolean {
  const type = /^(?:proxy:)*([a-z]+):/.exec(element)?.[1] ?? ''
  return fileTypes.has(type) || wordTypes.has(type) || combinedTypes.has(type) || databaseTypes.has(type)
}

/** What is wrong with the elements of a list that are tables; undefined: nothing. For `check` of a setting. */
export function listProblem(list: readonly string[]): string | undefined {
  for (const element of list) {
    const pattern = element.replace(/^!/, '')
    if (!isTableType(pattern)) continue
    try {
      const { type, name } = typedSource(pattern)
      if (fileTypes.has(type) && !name.startsWith('/'))
        return `\`${element}\`: give the whole path of the table`
    } catch (error) {
      return (error as Error).message
    }
  }
  return undefined
}
