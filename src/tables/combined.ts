/** Tables made of tables. */
import { found, type Lookup, none, type Query, type Table } from './result.ts'

/** `unionmap:`: what all tables find, joined by commas. */
export class UnionTable implements Table {
  readonly #tables: readonly Table[]

  constructor(tables: readonly Table[]) {
    this.#tables = tables
  }

  lookup(query: Query): Lookup {
    const values: string[] = []
    for (const table of this.#tables) {
      const answer = table.lookup(query)
      if (answer.kind === 'error') return answer
      if (answer.kind === 'found') values.push(answer.value)
    }
    return values.length === 0 ? none : found(values.join(','))
  }
}

/** `pipemap:`: what one table finds is the key for the next. */
export class PipeTable implements Table {
  readonly #tables: readonly Table[]

  constructor(tables: readonly Table[]) {
    this.#tables = tables
  }

  lookup(query: Query): Lookup {
    let answer = found(query.key)
    for (const table of this.#tables) {
      if (answer.kind !== 'found') break
      answer = table.lookup({ ...query, key: answer.value })
    }
    return answer
  }
}
