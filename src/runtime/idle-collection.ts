/**
 * Gives the memory of garbage back once a thread has nothing to do. V8 collects when a heap has grown by a part of what was
 * alive, and leaves the rest to an embedder that knows when it is idle; Node never says so. After a burst, such as a mailbox of
 * a million mails that was opened, a thread would keep hundreds of MB of nothing until the next one.
 */
import { getHeapStatistics } from 'node:v8'

/** What is worth a look: growth, or what is held beyond a thread that has just started. */
const worthOctets = 32 * 2 ** 20
/** A thread is idle when it was so for as many periods in a row. */
const idlePeriods = 4
const idleUtilisation = 0.05
const betweenMs = 10_000
/** Without growth, what was alive may have become garbage: looked at less and less often while it has not. */
const longestMs = 3_600_000

/** Octets on the heap and held by it; pages of the heap that are empty count as well. */
function heldOctets(): number {
  const { total_heap_size: heap, external_memory: outside } = getHeapStatistics()
  return heap + outside
}

/** All garbage, and pages that are empty go back to the system. */
async function collect(): Promise<void> {
  const { Session } = await import('node:inspector')
  const session = new Session()
  session.connect()
  try {
    await new Promise<void>((resolve, reject) => {
      session.post('HeapProfiler.collectGarbage', (error) => {
        if (error === null) resolve()
        else reject(error)
      })
    })
  } finally {
    session.disconnect()
  }
}

export class IdleCollection {
  readonly #least = heldOctets()
  /** What was left after the last collection. */
  #base = this.#least
  #idle = 0
  #collectedAt = Number.NEGATIVE_INFINITY
  #patienceMs = betweenMs
  #isCollecting = false

  /** To be called again and again, with the utilisation of the event loop since the last time, 0 to 1. */
  look(utilisation: number): void {
    this.#idle = utilisation < idleUtilisation ? this.#idle + 1 : 0
    if (this.#idle < idlePeriods || this.#isCollecting) return
    this.#idle = 0
    const sinceMs = performance.now() - this.#collectedAt
    if (sinceMs < betweenMs) return
    const held = heldOctets()
    // What V8 has collected by itself is not there to be collected again.
    this.#base = Math.min(this.#base, held)
    // A collection takes its time for all that is alive.
    const hasGrown = held - this.#base > Math.max(worthOctets, this.#base / 2)
    if (hasGrown || (held - this.#least > worthOctets && sinceMs >= this.#patienceMs)) this.#collect(held)
  }

  #collect(before: number): void {
    this.#isCollecting = true
    collect()
      .catch(() => {
        // Without an inspector V8 does as it does.
      })
      .finally(() => {
        this.#isCollecting = false
        this.#collectedAt = performance.now()
        this.#base = heldOctets()
        const isUseful = before - this.#base > worthOctets
        this.#patienceMs = isUseful ? betweenMs : Math.min(2 * this.#patienceMs, longestMs)
      })
  }
}
