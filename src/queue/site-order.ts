/** Sites where a delivery may start, ordered by who waits there first. A heap; places that changed are void. */
import type { Site } from './site.ts'

interface Place {
  readonly site: Site
  readonly number: number
  readonly order: number
  readonly turn: number
}

const isBefore = (a: Place, b: Place): boolean => (a.order === b.order ? a.turn < b.turn : a.order < b.order)

export class SiteOrder {
  readonly #heap: Place[] = []
  #numbers = 0

  /** Gives the site the place it should have: by its first peer when it is ready, else none. */
  place(site: Site): void {
    const { first } = site
    if (first === undefined || !site.isReady) {
      site.place = 0
      return
    }
    const { turn, job } = first
    if (site.place !== 0 && site.placedOrder === job.order && site.placedTurn === turn) return
    this.#numbers += 1
    site.place = this.#numbers
    site.placedOrder = job.order
    site.placedTurn = turn
    this.#push({ site, number: this.#numbers, order: job.order, turn })
  }

  /** The site whose first peer is first of all. */
  first(): Site | undefined {
    for (;;) {
      const top = this.#heap[0]
      if (top === undefined) return undefined
      if (top.site.place === top.number) return top.site
      this.#pop()
    }
  }

  #push(place: Place): void {
    const heap = this.#heap
    let at = heap.push(place) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(place, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = place
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}
