/** The order in which servers are tried: preference, chance, address family; SRV weights; room for both families. */
import type { Family } from '../../../dns/resolver.ts'

export interface Ranked {
  readonly preference: number
  readonly family: Family
  /** Of an SRV record. */
  readonly weight?: number
}

export interface OrderOptions {
  readonly randomize: boolean
  readonly familyFirst: 'any' | 'ipv4' | 'ipv6'
  /** 0 ≤ random() < 1. */
  random(): number
}

/** By preference; equals in random order, then by family. RFC 5321 section 5.1. */
export function byPreference<T extends Ranked>(servers: readonly T[], options: OrderOptions): T[] {
  const list = [...servers]
  if (options.randomize) shuffle(list, options.random)
  const familyRank = options.familyFirst === 'ipv6' ? -1 : options.familyFirst === 'ipv4' ? 1 : 0
  // Stable: equals stay shuffled.
  return list.sort((a, b) => a.preference - b.preference || familyRank * (a.family - b.family))
}

/** By priority; equals drawn one after the other, each with a chance in proportion to its weight. RFC 2782. */
export function byWeight<T extends Ranked>(servers: readonly T[], random: () => number): T[] {
  const ordered: T[] = []
  const priorities = [...new Set(servers.map(({ preference }) => preference))].sort((a, b) => a - b)
  for (const priority of priorities) {
    // Those without weight come first in the running sum, so that they have a very small chance, not none.
    const left = servers
      .filter(({ preference }) => preference === priority)
      .sort((a, b) => Number((a.weight ?? 0) > 0) - Number((b.weight ?? 0) > 0))
    while (left.length > 0) ordered.push(...left.splice(draw(left, random), 1))
  }
  return ordered
}

function draw(servers: readonly Ranked[], random: () => number): number {
  const total = servers.reduce((sum, { weight = 0 }) => sum + weight, 0)
  const point = Math.floor(random() * (total + 1))
  let sum = 0
  return servers.findIndex(({ weight = 0 }) => {
    sum += weight
    return sum >= point
  })
}

function shuffle<T>(list: T[], random: () => number): void {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[list[i], list[j]] = [list[j]!, list[i]!]
  }
}

/**
 * Leaves room for both families within `limit` addresses: a family that needs no more than half keeps all, else
 * they share evenly, and the odd place goes to the family of the first entry. Order is kept.
 */
export function balanceFamilies<T extends { readonly family: Family }>(
  list: readonly T[],
  limit: number,
): readonly T[] {
  const six = list.filter(({ family }) => family === 6).length
  const four = list.length - six
  if (list.length <= limit || six === 0 || four === 0) return list
  const half = limit / 2
  let keepSix: number
  if (six <= half) keepSix = six
  else if (four <= half) keepSix = limit - four
  else keepSix = list[0]!.family === 6 ? Math.ceil(half) : Math.floor(half)
  let keepFour = limit - keepSix
  return list.filter(({ family }) => (family === 6 ? keepSix-- > 0 : keepFour-- > 0))
}
