/** nact: actors of one thread. */
import { createRequire } from 'node:module'
import { body, type Contestant, octetsEach, perSecond, perTurn, window } from './workload.ts'

// biome-ignore lint/suspicious/noExplicitAny: installed on demand, so there are no types to check against
const nact: any = createRequire(import.meta.url)('nact')

/** A sink that answers `until` once it has taken so many. */
function sink(system: unknown): unknown {
  let count = 0
  return nact.spawnStateless(system, (message: { until?: () => void }) => {
    if (message.until === undefined) count++
    else message.until()
    return count
  })
}

async function oneWay(ms: number) {
  const system = nact.start()
  const to = sink(system)
  const flood = async (duration: number): Promise<number> => {
    let sent = 0
    for (const end = performance.now() + duration; performance.now() < end; ) {
      for (let i = 0; i < window; i++) nact.dispatch(to, { body: body() })
      sent += window
      await new Promise<void>((until) => nact.dispatch(to, { until }))
    }
    return sent
  }
  await flood(ms / 3)
  const start = performance.now()
  return { rate: perSecond(await flood(ms), start) }
}

export const contestant: Contestant = {
  hereOneWay: oneWay,
  spawn: async (ms) => {
    const system = nact.start()
    let rate = 0
    for (const end = performance.now() + ms; performance.now() < end; ) {
      const count = perTurn * 50
      const start = performance.now()
      const refs = Array.from({ length: count }, () => nact.spawnStateless(system, () => {}))
      rate = perSecond(count, start)
      for (const ref of refs) nact.stop(ref)
      await new Promise(setImmediate)
    }
    return { rate }
  },
  memory: async () => {
    const system = nact.start()
    // Its own names are random, and so few that two of these many would meet.
    let made = 0
    return {
      octets: await octetsEach(20_000, async (count) =>
        Array.from({ length: count }, () => nact.spawn(system, (total = 0) => total, `m${made++}`)),
      ),
    }
  },
}
