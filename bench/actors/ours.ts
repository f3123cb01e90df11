import type { ActorRef, PoolOptions } from '../../src/index.ts'
import { idle, type Link, ringLink, type Sink, type Source, sink, source } from './ours-actors.ts'
import { holder } from './ours-holder.js'
import { ours } from './ours-library.ts'
import {
  body,
  type Contestant,
  type Figures,
  latency,
  octetsEach,
  perSecond,
  pipelined,
  roundTrips,
} from './workload.ts'

const { ActorSystem } = ours
const idleActors = 100_000
const actorsInRing = 1_000
const tokens = 100
const openAsks = 1_000
const permanent = 10

const threads = (count: number): Record<string, PoolOptions> => ({ work: { minThreads: count } })
const work = { placement: { pool: 'work' } } as const

async function oneWay(from: ActorRef<Source>, to: ActorRef<Sink>, ms: number): Promise<Figures> {
  // Refused while the ring is still full: later.
  const taken = async (count: number): Promise<void> => {
    for (;;) {
      try {
        await to.askWith({ timeoutMs: Infinity }, 'until', count)
        return
      } catch (error) {
        if ((error as { failure?: string }).failure !== 'overloaded') throw error
        await new Promise(setImmediate)
      }
    }
  }
  let all = await from.askWith({ timeoutMs: Infinity }, 'flood', to, ms / 3)
  await taken(all)
  const start = performance.now()
  const sent = await from.askWith({ timeoutMs: Infinity }, 'flood', to, ms)
  all += sent
  await taken(all)
  return { rate: perSecond(sent, start) }
}

async function rally(from: ActorRef<Source>, to: ActorRef<Sink>, ms: number) {
  await from.askWith({ timeoutMs: Infinity }, 'rally', to, ms / 3)
  const samples = await from.askWith({ timeoutMs: Infinity }, 'rally', to, ms)
  return { rate: (samples.length / ms) * 1_000, ...latency(Float64Array.from(samples)) }
}

/** Between main and one thread. */
async function between(spinUs: number, ms: number, run: typeof oneWay) {
  await using system = await ActorSystem.start({ pools: threads(1), spinUs })
  return await run(system.spawn(source, undefined), system.spawn(sink, undefined, work), ms)
}

async function hereRing(ms: number) {
  await using system = await ActorSystem.start()
  let finished = 0
  let allDone = (): void => {}
  const done = (): void => {
    if (++finished === tokens) allDone()
  }
  const links: ActorRef<Link>[] = []
  for (let i = 0; i < actorsInRing; i++) links.push(system.spawn(ringLink, { done }))
  for (let i = 0; i < actorsInRing; i++) links[i]!.tell('next', links[(i + 1) % actorsInRing]!)
  const run = (hops: number): Promise<void> =>
    new Promise((resolve) => {
      finished = 0
      allDone = resolve
      for (let i = 0; i < tokens; i++) links[i * (actorsInRing / tokens)]!.tell('token', hops, ...body())
    })
  let hops = 1_000
  let rate = 0
  // Until it is warm and a run takes long enough.
  for (let spent = 0; spent < ms; ) {
    const start = performance.now()
    await run(hops)
    spent = performance.now() - start
    rate = perSecond(tokens * (hops + 1), start)
    hops = Math.ceil(Math.min(hops * 4, (rate * ms * 1.2) / 1_000 / tokens + 1_000))
  }
  return { rate }
}

async function spawn(ms: number) {
  await using system = await ActorSystem.start()
  const round = 20_000
  let rate = 0
  const rates: number[] = []
  for (const end = performance.now() + ms * 1.3; performance.now() < end; ) {
    const refs: ActorRef[] = []
    const start = performance.now()
    for (let i = 0; i < round; i++) refs.push(system.spawn(idle, undefined) as ActorRef as never)
    await refs.at(-1)!.ask('total')
    rate = perSecond(round, start)
    rates.push(rate)
    for (const ref of refs) system.kill(ref)
    await new Promise(setImmediate)
  }
  return { rate: rates.slice(1).sort((a, b) => a - b)[(rates.length - 1) >> 1] ?? rate }
}

async function memory() {
  await using system = await ActorSystem.start()
  const octets = await octetsEach(idleActors, async (count) => {
    const refs = []
    for (let i = 0; i < count; i++) refs.push(system.spawn(idle, undefined))
    await refs.at(-1)!.ask('total')
    // The system keeps them alive; whoever needs them keeps a ref of its own.
    return undefined
  })
  return { octets }
}

/** A thread with ten permanent actors and a thousand open asks is killed. */
async function recover(spareThreads: number): Promise<number> {
  await using system = await ActorSystem.start({
    pools: { work: { minThreads: 1, spareThreads } },
    intensity: 1_000,
    children: Array.from({ length: permanent }, (_, i) => ({
      id: `holder-${i}`,
      actor: holder,
      registerAs: `holder-${i}`,
      ...work,
    })),
  })
  const holders = () => Array.from({ length: permanent }, (_, i) => system.whereis(`holder-${i}`))
  const times: number[] = []
  for (let round = 0; round < 3; round++) {
    const before = holders() as ActorRef[]
    const open = Array.from({ length: openAsks }, (_, i) => before[i % permanent]!.ask('hold'))
    await before[0]!.ask('ready')
    const restarted = new Promise<void>((resolve) => {
      let count = 0
      const heard = (): void => {
        if (++count < permanent) return
        system.events.off('actor.restarted', heard)
        resolve()
      }
      system.events.on('actor.restarted', heard)
    })
    const start = performance.now()
    system.killThread(before[0]!.thread)
    const settled = await Promise.allSettled(open)
    if (settled.some(({ status }) => status !== 'rejected')) throw new Error('an ask outlived its thread')
    await restarted
    await Promise.all(holders().map((ref) => ref!.ask('ready')))
    times.push(performance.now() - start)
    // The next spare thread has its time.
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
  return times.sort((a, b) => a - b)[1] ?? Number.NaN
}

export const contestant: Contestant = {
  hereOneWay: async (ms) => {
    await using system = await ActorSystem.start()
    return await oneWay(system.spawn(source, undefined), system.spawn(sink, undefined), ms)
  },
  herePingPong: async (ms) => {
    await using system = await ActorSystem.start()
    return await rally(system.spawn(source, undefined), system.spawn(sink, undefined), ms)
  },
  ring: hereRing,
  oneWay: (ms) => between(0, ms, oneWay),
  pingPong: async (ms) => {
    const cold = await between(0, ms / 2, rally)
    const spinning = await between(20, ms / 2, rally)
    return { ...cold, spinning: spinning.p50 ?? Number.NaN }
  },
  ask: async (ms) => {
    await using system = await ActorSystem.start({ pools: threads(1) })
    const to = system.spawn(sink, undefined, work)
    const { p50 = Number.NaN } = await roundTrips(ms / 2, () => to.ask('echo', ...body()))
    const { rate = Number.NaN } = await pipelined(ms / 2, 64, () => to.ask('echo', ...body()))
    return { p50, rate }
  },
  spawn,
  memory,
  recovery: async () => ({ ms: await recover(1), cold: await recover(0) }),
}
