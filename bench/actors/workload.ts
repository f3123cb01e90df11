/** What every contestant does the same way: the message, the clock, and how a flow of messages is bounded. */

/** Body of the message: 180 octets as msgpack, of the kind a delivery actor sends when it is done. */
export type Body = readonly [
  destination: string,
  result: { relay: string; code: number; reply: string },
  note: string,
]

/** A fresh one each time, as actors make them; what is the same in all is the same string. */
const note = 'a'.repeat(92)
export const body = (): Body => [
  'example.org:25',
  { relay: 'mx.example.org', code: 250, reply: '2.0.0 Ok: queued as 4B1234' },
  note,
]

/** Messages a sender hands over before it lets others run. */
export const perTurn = 64

/** Messages under way at most, where the contestant itself knows no bound. */
export const window = 4_096

/** Numbers of one measurement, by the keys of its columns. */
export type Figures = Readonly<Record<string, number>>

/** One question, answered in a process of its own. `ms` is about how long it may take. */
export type Measure = (ms: number) => Promise<Figures>

/** The questions, and what they are called in the table. */
export const questions = {
  hereOneWay: 'one way, same thread',
  herePingPong: 'ping-pong, same thread',
  ring: 'ring of 1,000 actors, same thread',
  oneWay: 'one way, other thread',
  pingPong: 'ping-pong, other thread',
  ask: 'asks, other thread',
  spawn: 'spawn',
  memory: 'memory of an idle actor',
  recovery: 'recovery from a killed thread',
} as const
export type Question = keyof typeof questions

export type Contestant = Partial<Record<Question, Measure>>

/** Messages a second of `count` since `start`. */
export const perSecond = (count: number, start: number): number =>
  (count / (performance.now() - start)) * 1_000

/** Microseconds: the middle and the 99th of a hundred. */
export function latency(samples: Float64Array): Figures {
  const sorted = samples.slice().sort()
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN
  return { p50: at(0.5) * 1_000, p99: at(0.99) * 1_000 }
}

/** Awaits `roundTrip` again and again for `ms`; the first third warms up. */
export async function roundTrips(ms: number, roundTrip: () => Promise<unknown>): Promise<Figures> {
  const warm = performance.now() + ms / 3
  while (performance.now() < warm) await roundTrip()
  const samples: number[] = []
  const start = performance.now()
  let now = start
  while (now - start < ms) {
    await roundTrip()
    const then = now
    now = performance.now()
    samples.push(now - then)
  }
  return { rate: perSecond(samples.length, start), ...latency(Float64Array.from(samples)) }
}

/** Keeps `depth` round trips under way for `ms`; the first third warms up. */
export async function pipelined(
  ms: number,
  depth: number,
  roundTrip: () => Promise<unknown>,
): Promise<Figures> {
  let count = 0
  const worker = async (end: number): Promise<void> => {
    while (performance.now() < end) {
      await roundTrip()
      count++
    }
  }
  const run = (duration: number): Promise<unknown> => {
    const end = performance.now() + duration
    return Promise.all(Array.from({ length: depth }, () => worker(end)))
  }
  await run(ms / 3)
  count = 0
  const start = performance.now()
  await run(ms)
  return { rate: perSecond(count, start) }
}

/** Octets each of `count` things takes, made by `make` and kept alive by what it returns. */
export async function octetsEach(count: number, make: (count: number) => Promise<unknown>): Promise<number> {
  const { gc } = globalThis
  if (gc === undefined) throw new Error('run with --expose-gc')
  const used = async (): Promise<number> => {
    for (let i = 0; i < 3; i++) {
      await new Promise(setImmediate)
      gc()
    }
    return process.memoryUsage().heapUsed
  }
  // What the first ones bring along is not theirs.
  const kept = [await make(100)]
  const before = await used()
  kept.push(await make(count))
  const after = await used()
  if (kept.length !== 2) throw new Error('unreachable: keeps them alive')
  return (after - before) / count
}
