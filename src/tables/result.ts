/** What comes back from a lookup table, and what is wrong with one. */

/**
 * - `found`: the text of the table.
 * - `none`: the table does not know the key.
 * - `error`: nobody can say for now, such as a file that cannot be read. Mail that depends on it waits (4.3.0).
 */
export type Lookup =
  | { readonly kind: 'found'; readonly value: string }
  | { readonly kind: 'none' }
  | { readonly kind: 'error'; readonly detail: string }

export const none: Lookup = { kind: 'none' }

export function found(value: string): Lookup {
  return { kind: 'found', value }
}

/** A key as it is asked for. A `partial` one, such as the domain of an address, is no subject for patterns. */
export interface Query {
  readonly key: string
  readonly partial: boolean
}

/** The content of one table, ready to be asked. Never throws. */
export interface Table {
  lookup(query: Query): Lookup
}

export interface TableProblem {
  /** `FILE:LINE`, `FILE`, or the table as it was written. */
  readonly where: string
  /** What is wrong, and how to mend it. */
  readonly what: string
}

/** A table cannot be used. `problems` has everything that is wrong with it. */
export class TableError extends Error {
  readonly problems: readonly TableProblem[]

  constructor(problems: readonly TableProblem[]) {
    super(problems.map(({ where, what }) => `${where}: ${what}`).join('; '))
    this.name = 'TableError'
    this.problems = problems
  }
}
