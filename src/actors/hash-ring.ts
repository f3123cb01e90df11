/** Points of each node: with so many the nodes' shares differ by some ten percent. */
const pointsPerNode = 64

/**
 * Consistent hashing: each key belongs to one node, and when a node comes or goes, only the keys of its share move.
 * The same on each thread and at each start.
 */
export class HashRing {
  readonly #points: readonly { readonly at: number; readonly node: number }[]

  /** Nodes by name, in whatever order. */
  constructor(nodes: readonly string[]) {
    const points: { at: number; node: number }[] = []
    for (const [node, name] of nodes.entries()) {
      for (let i = 0; i < pointsPerNode; i++) points.push({ at: hash(`${name}\n${i}`), node })
    }
    this.#points = points.sort((a, b) => a.at - b.at || a.node - b.node)
  }

  /** Index of the node that has `key`; -1 without nodes. */
  find(key: string | number): number {
    const at = hash(String(key))
    let low = 0
    let high = this.#points.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#points[middle]!.at < at) low = middle + 1
      else high = middle
    }
    return (this.#points[low] ?? this.#points[0])?.node ?? -1
  }
}

/** FNV-1a over UTF-16 units, with the finish of MurmurHash3: short keys that differ little come apart. */
function hash(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}
