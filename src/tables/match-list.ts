/** Lists of names that may name tables too, as Postfix's string lists. */
import { isTableType } from './config.ts'
import type { Tables } from './tables.ts'

/**
 * Whether a list has a name. An element is the name itself, `type:name` of a table that has it as a key, or `!` and
 * one of these; the first that fits decides. A table that cannot be asked fits nothing.
 */
export function isInList(list: readonly string[], name: string, tables: Tables): boolean {
  const wanted = name.toLowerCase()
  for (const element of list) {
    const isNegated = element.startsWith('!')
    const pattern = isNegated ? element.slice(1) : element
    const fits = isTableType(pattern)
      ? tables.named(pattern).lookup({ key: wanted, partial: false }).kind === 'found'
      : pattern.toLowerCase() === wanted
    if (fits) return !isNegated
  }
  return false
}
