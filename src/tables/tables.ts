/**
 * The tables of one thread. Files are read when they are first asked for and again after they changed, which is
 * looked at once a second at most. A file that cannot be used any more leaves the last good content in place.
 */
import { readFileSync, statSync } from 'node:fs'
import { cidrTable } from './cidr.ts'
import { PipeTable, UnionTable } from './combined.ts'
import { innerSources, type TableSource, type TypedSource, typedSource } from './config.ts'
import { entriesTable, failTable, inlineTable, staticTable, textTable } from './fixed.ts'
import { Maps } from './maps.ts'
import { patternTable } from './patterns.ts'
import type { Lookup, Query, Table, TableProblem } from './result.ts'
import { TableError } from './result.ts'

/** How long the state of a file is taken for granted, milliseconds. */
const checkIntervalMs = 1_000

/** Files larger than this are no tables to be held in memory, octets. */
const maxFileOctets = 256 * 1024 * 1024

export interface TablesOptions {
  /** Milliseconds. */
  now(): number
  /** What is odd about a table that works, or why its old content stays. */
  warn(problem: TableProblem): void
}

export class Tables {
  readonly #options: TablesOptions
  readonly #known = new Map<string, Table>()
  readonly #maps = new WeakMap<readonly TableSource[], Maps>()

  constructor(options: TablesOptions) {
    this.#options = options
  }

  /** The tables of a setting, in order; made once for each list. */
  maps(sources: readonly TableSource[]): Maps {
    let maps = this.#maps.get(sources)
    if (maps === undefined) {
      maps = new Maps(sources.map((source) => this.#table(source)))
      this.#maps.set(sources, maps)
    }
    return maps
  }

  /** The table that is written so. */
  named(source: string): Table {
    return this.#table(source)
  }

  #table(source: TableSource): Table {
    if (typeof source !== 'string') return entriesTable(source)
    let table = this.#known.get(source)
    if (table === undefined) {
      table = this.#make(source)
      this.#known.set(source, table)
    }
    return table
  }

  #make(text: string): Table {
    try {
      const source = typedSource(text)
      switch (source.type) {
        case 'inline':
          return inlineTable(source.name)
        case 'static':
          return staticTable(source.name)
        case 'fail':
          return failTable(source.name)
        case 'unionmap':
          return new UnionTable(innerSources(source).map((inner) => this.#table(inner)))
        case 'pipemap':
          return new PipeTable(innerSources(source).map((inner) => this.#table(inner)))
        default:
          return new FileTable(source, this.#options)
      }
    } catch (error) {
      if (!(error instanceof TableError)) throw error
      // The configuration was checked when it was read; whoever got past that fails here, lookup by lookup.
      return failTable(error.message)
    }
  }
}

class FileTable implements Table {
  readonly #source: TypedSource
  readonly #options: TablesOptions
  #table: Table | undefined
  /** Why there is no table, or why it is an old one. */
  #failure = ''
  /** What the file was when it was read last: changes with each way to replace or write it. */
  #version = ''
  #nextCheck = Number.NEGATIVE_INFINITY

  constructor(source: TypedSource, options: TablesOptions) {
    this.#source = source
    this.#options = options
  }

  lookup(query: Query): Lookup {
    const now = this.#options.now()
    // A clock that was set back must not put the next look far away.
    if (now >= this.#nextCheck || now < this.#nextCheck - checkIntervalMs) {
      this.#nextCheck = now + checkIntervalMs
      this.#refresh()
    }
    return this.#table?.lookup(query) ?? { kind: 'error', detail: this.#failure }
  }

  #refresh(): void {
    const { type, name } = this.#source
    try {
      const version = fileVersion(name)
      if (version === this.#version) return
      this.#version = version
      this.#table = readTable(this.#source, (problem) => this.#options.warn(problem))
      this.#failure = ''
    } catch (error) {
      const problems = problemsOf(error, name)
      const failure = `${type}:${name}: ${problems.map(({ where, what }) => `${where}: ${what}`).join('; ')}`
      if (failure === this.#failure) return
      this.#failure = failure
      for (const { where, what } of problems) {
        const state =
          this.#table === undefined ? 'lookups fail until it is mended' : 'its last good content stays'
        this.#options.warn({ where, what: `${what}: ${state}` })
      }
    }
  }
}

function fileVersion(path: string): string {
  const { mtimeMs, ctimeMs, size, ino, dev } = statSync(path)
  return `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`
}

function problemsOf(error: unknown, path: string): readonly TableProblem[] {
  if (error instanceof TableError) return error.problems
  const { code, message } = error as NodeJS.ErrnoException
  const why = {
    ENOENT: 'there is no such file',
    EACCES: 'no permission to read it',
    EISDIR: 'is a directory',
  }
  return [{ where: path, what: why[code as keyof typeof why] ?? message }]
}

/** Reads a table file. @throws TableError, or the error of the file system. */
function readTable({ type, name }: TypedSource, warn: (problem: TableProblem) => void): Table {
  if (statSync(name).size > maxFileOctets) {
    throw new TableError([{ where: name, what: 'is larger than 256 MiB' }])
  }
  const content = readFileSync(name, 'utf8').replace(/^\uFEFF/, '')
  switch (type) {
    case 'regexp':
      return patternTable(content, name, 'posix')
    case 'pcre':
      return patternTable(content, name, 'perl')
    case 'cidr':
      return cidrTable(content, name)
    default:
      return textTable(content, name, warn)
  }
}

/** What is wrong with the tables of a setting: each is read once, as a lookup would. */
export function tableProblems(sources: readonly TableSource[]): readonly TableProblem[] {
  return sources.flatMap((source) => {
    if (typeof source !== 'string') return []
    try {
      return sourceProblems(source)
    } catch (error) {
      if (error instanceof TableError) return error.problems
      throw error
    }
  })
}

function sourceProblems(text: string): readonly TableProblem[] {
  const source = typedSource(text)
  if (source.type === 'inline') inlineTable(source.name)
  if (source.type === 'unionmap' || source.type === 'pipemap') return tableProblems(innerSources(source))
  if (source.type === 'inline' || source.type === 'static' || source.type === 'fail') return []
  try {
    readTable(source, () => {})
    return []
  } catch (error) {
    return problemsOf(error, source.name)
  }
}
