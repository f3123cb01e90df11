/** Finds what somebody probably meant. */

/** Letters to insert, delete, replace or swap to get from `from` to `to` (optimal string alignment). */
export function editDistance(from: string, to: string): number {
  let before: number[] = []
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let row = 1; row <= from.length; row++) {
    const current = [row]
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1]
      let cost = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      )
      const isSwap =
        row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]
      if (isSwap) cost = Math.min(cost, (before[column - 2] ?? 0) + 1)
      current.push(cost)
    }
    before = previous
    previous = current
  }
  return previous[to.length] ?? 0
}

/** The candidate nearest to `word`, unless none is near enough to be meant. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/**
 * The setting that was probably meant by the unknown `key` (dotted). Tried in this order: the name in its own
 * table, the same name in another table, the Postfix or Dovecot spelling (`smtp_connect_timeout`), near names.
 */
export function nearestSetting(key: string, known: readonly string[]): string | undefined {
  const table = key.slice(0, key.lastIndexOf('.') + 1)
  const leaf = key.slice(table.length)
  const inTable = nearest(
    key,
    known.filter((name) => name.startsWith(table) && table !== ''),
  )
  if (inTable !== undefined) return inTable
  const flat = (name: string) => name.replaceAll('.', '_')
  // In [smtp], `smtp_connect_timeout` has the prefix twice.
  for (const spelling of [flat(leaf), flat(key)]) {
    const same = known.find((name) => flat(name) === spelling)
    if (same !== undefined) return same
  }
  const elsewhere = known.find((name) => name.endsWith(`.${leaf}`) || name === leaf)
  if (elsewhere !== undefined) return elsewhere
  return nearest(key, known) ?? nearest(leaf, known)
}
