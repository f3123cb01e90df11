/** comedy: actors in this thread or one of their own, with bson between them. */
import { createRequire } from 'node:module'
import {
  body,
  type Contestant,
  octetsEach,
  perSecond,
  perTurn,
  pipelined,
  roundTrips,
  window,
} from './workload.ts'

// biome-ignore lint/suspicious/noExplicitAny: installed on demand, so there are no types to check against
const comedy: any = createRequire(import.meta.url)('comedy')

type Mode = 'in-memory' | 'threaded'

// Functions of properties and not methods: they cross to the other thread as their source.
const sink = {
  take: function (this: { taken?: number }) {
    this.taken = (this.taken ?? 0) + 1
  },
  echo: (destination: string) => destination,
}

// biome-ignore lint/suspicious/noExplicitAny: as above
async function withRoot<T>(run: (root: any) => Promise<T>): Promise<T> {
  // `test` says nothing but what went wrong.
  const system = comedy.createSystem({ test: true })
  try {
    return await run(await system.rootActor())
  } finally {
    await system.destroy()
  }
}

function oneWay(mode: Mode, ms: number) {
  return withRoot(async (root) => {
    const to = await root.createChild(sink, { mode })
    // Its queue knows no bound: half a window at a time, as long as one is under way.
    const flood = async (duration: number): Promise<number> => {
      let sent = 0
      let half: Promise<unknown> | undefined
      for (const end = performance.now() + duration; performance.now() < end; ) {
        const before = half
        for (let i = 0; i < window / 2; i++) {
          to.send('take', ...body())
          if (++sent % perTurn === 0) await new Promise(setImmediate)
        }
        half = to.sendAndReceive('echo', ...body())
        await before
      }
      await half
      return sent
    }
    await flood(ms / 3)
    const start = performance.now()
    return { rate: perSecond(await flood(ms), start) }
  })
}

const asking = <T>(run: (ask: () => Promise<unknown>) => Promise<T>): Promise<T> =>
  withRoot(async (root) => {
    const to = await root.createChild(sink, { mode: 'threaded' })
    return await run(() => to.sendAndReceive('echo', ...body()))
  })

export const contestant: Contestant = {
  hereOneWay: (ms) => oneWay('in-memory', ms),
  oneWay: (ms) => oneWay('threaded', ms),
  pingPong: (ms) => asking((ask) => roundTrips(ms, ask)),
  ask: (ms) =>
    asking(async (ask) => ({
      p50: (await roundTrips(ms / 2, ask)).p50 ?? Number.NaN,
      rate: (await pipelined(ms / 2, 64, ask)).rate ?? Number.NaN,
    })),
  spawn: (ms) =>
    withRoot(async (root) => {
      const count = 500
      let rate = 0
      for (const end = performance.now() + ms; performance.now() < end; ) {
        const start = performance.now()
        const actors = await Promise.all(Array.from({ length: count }, () => root.createChild(sink)))
        rate = perSecond(count, start)
        await Promise.all(actors.map((one) => one.destroy()))
      }
      return { rate }
    }),
  memory: () =>
    withRoot(async (root) => ({
      octets: await octetsEach(2_000, (count) =>
        Promise.all(Array.from({ length: count }, () => root.createChild(sink))),
      ),
    })),
}
