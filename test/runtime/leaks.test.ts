/** Starts and stops leave nothing behind: no thread, port, timer, listener or memory. Needs the collector at hand. */
import { existsSync, readFileSync } from 'node:fs'
import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, expect, test } from 'vitest'
import { type ActorRef, ActorSystem } from '../../src/index.ts'
import { createRing } from '../../src/runtime/transport/ring.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { expectNoMore, ofTheSystem, resources } from '../support/leak-probe.ts'
import { type Faulty, faulty } from './fault-actors.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

let system: ActorSystem | undefined
afterEach(() => system?.stop())

const listeners = (): number =>
  process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)

async function quiet(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    collect()
  }
}

async function heapKb(): Promise<number> {
  await quiet()
  return Math.round(getHeapStatistics().used_heap_size / 1024)
}

const children = [
  { id: 'a', actor: faulty, args: {}, registerAs: 'a' },
  { id: 'b', actor: faulty, args: {} },
]

async function cycle(): Promise<void> {
  const one = await ActorSystem.start({ children })
  const ref = one.spawn(faulty, {})
  ref.ask('never').catch(() => {})
  await ref.ask('ping')
  await one.whereis<Faulty>('a')!.ask('ping')
  await one.stop()
}

test('1,000 systems started and stopped', async () => {
  for (let i = 0; i < 100; i++) await cycle()
  const before = { heap: await heapKb(), resources: resources(), listeners: listeners() }
  for (let i = 0; i < 1_000; i++) await cycle()
  const after = { heap: await heapKb(), listeners: listeners() }
  await expectNoMore(before.resources)
  expect(after.listeners).toBe(before.listeners)
  // 1 KB for a cycle would be 1 MB.
  expect(after.heap - before.heap).toBeLessThan(1_000)
}, 60_000)

test('200 test systems with simulated threads, half of them killed', async () => {
  const run = async (seed: number): Promise<void> => {
    const one = await TestSystem.start({ seed, threads: { a: 2 }, children })
    one.chaos({ actors: 1, threads: 1, withinSteps: 30 })
    const ref = one.spawn(faulty, {}, { placement: { pool: 'a' } })
    await one.run(ref.ask('ping').catch(() => {}))
    await one.stop()
  }
  for (let seed = 1; seed <= 50; seed++) await run(seed)
  const before = { heap: await heapKb(), resources: resources() }
  for (let seed = 51; seed <= 250; seed++) await run(seed)
  const after = { heap: await heapKb() }
  await expectNoMore(before.resources)
  expect(after.heap - before.heap).toBeLessThan(1_000)
}, 60_000)

/** `MAILACTORS_CYCLES=1000` for the long way. */
const withThreads = Number(process.env.MAILACTORS_CYCLES ?? 12)

test(
  `${withThreads} systems with threads started and stopped, every third with a thread killed`,
  async () => {
    const systems: WeakRef<ActorSystem>[] = []
    const run = async (i: number): Promise<void> => {
      system = await ActorSystem.start({ children, pools: { a: { minThreads: 2 } } })
      systems.push(new WeakRef(system))
      const ref = system.spawn(faulty, {}, { placement: { pool: 'a' } })
      ref.ask('never').catch(() => {})
      await ref.ask('ping')
      if (i % 3 === 0) system.killThread(ref.thread)
      await system.stop()
    }
    for (let i = 0; i < 4; i++) await run(i)
    const before = {
      heap: await heapKb(),
      external: process.memoryUsage().arrayBuffers,
      resources: resources(),
      listeners: listeners(),
      system: ofTheSystem(),
    }
    for (let i = 0; i < withThreads; i++) await run(i)
    const after = {
      heap: await heapKb(),
      external: process.memoryUsage().arrayBuffers,
      listeners: listeners(),
      system: ofTheSystem(),
    }
    system = undefined
    await quiet()
    // One may still be on somebody's stack. A system that stayed has rings and tables, and all that its actors had.
    expect(systems.filter((one) => one.deref() !== undefined).length).toBeLessThanOrEqual(1)
    if (withThreads >= 100) console.info(JSON.stringify({ before, after }))
    // Threads of V8 and libuv may come and go: a worker that stayed, each time, would be seen.
    expect(after.system.threads - before.system.threads).toBeLessThan(4)
    expect(after.system.files - before.system.files).toBeLessThan(4)
    await expectNoMore(before.resources)
    expect(after.listeners).toBe(before.listeners)
    // Code that has become warm takes some of it, whatever their number.
    expect(after.heap - before.heap).toBeLessThan(1_000 + 2 * withThreads)
    // Each system has six rings of 1 MB: one that stayed would be seen.
    expect(after.external - before.external).toBeLessThan(1_000_000)
  },
  120_000 + 1_000 * withThreads,
)

/** Octets of malloc's main heap that are in memory; nothing where there is no /proc. */
function mallocHeap(): number {
  if (!existsSync('/proc/self/smaps')) return 0
  const [, resident] =
    /\[heap\]\n(?:\w+:.*\n)*?Rss: +(\d+) kB/.exec(readFileSync('/proc/self/smaps', 'utf8')) ?? []
  return Number(resident ?? 0) * 1024
}

test('rings that come and go leave no holes in the heap of malloc', async () => {
  // What lives on between them keeps a heap from shrinking.
  const between: Buffer[] = []
  const before = mallocHeap()
  for (let round = 0; round < 10; round++) {
    const rings = Array.from({ length: 20 }, (_, i) => {
      between.push(Buffer.allocUnsafeSlow(9_000 + i))
      return new Uint8Array(createRing()).fill(1).length
    })
    expect(rings.length).toBe(20)
    await quiet()
  }
  expect(between.length).toBe(200)
  expect(mallocHeap() - before).toBeLessThan(8_000_000)
})

test('100,000 actors started and ended, here', async () => {
  system = await ActorSystem.start()
  const run = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += 1_000) {
      const refs: ActorRef<Faulty>[] = Array.from({ length: 1_000 }, () => system!.spawn(faulty, {}))
      await refs.at(-1)!.ask('ping')
      for (const [i, ref] of refs.entries()) {
        if (i % 2 === 0) ref.tell('stop')
        else system!.kill(ref)
      }
      await refs
        .at(-2)!
        .ask('ping')
        .catch(() => {})
    }
  }
  await run(10_000)
  const before = { heap: await heapKb(), resources: resources() }
  await run(100_000)
  const after = { heap: await heapKb() }
  await expectNoMore(before.resources)
  expect(after.heap - before.heap).toBeLessThan(1_000)
  expect(await system.inspect()).toMatchObject([{ name: 'root' }])
}, 60_000)

test('20,000 actors started and ended on another thread, with monitors, links and names', async () => {
  system = await ActorSystem.start({ pools: { a: {} } })
  const heapThere = async (): Promise<number> => {
    const [, there] = await system!.threads()
    return Math.round(there!.heapBytes / 1024)
  }
  const watcher = system.spawn(faulty, {})
  const run = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += 200) {
      const refs = Array.from({ length: 200 }, (_, i) =>
        system!.spawn(
          faulty,
          {},
          { placement: { pool: 'a' }, ...(i % 10 === 0 ? { registerAs: `n${done}.${i}` } : {}) },
        ),
      )
      const end = watcher.askWith({ timeoutMs: 10_000 }, 'watch', refs.at(-1)!)
      await refs.at(-1)!.ask('ping')
      for (const [i, ref] of refs.entries()) {
        if (i % 2 === 0) ref.tell('stop')
        else system!.kill(ref)
      }
      await end
    }
  }
  await run(4_000)
  const before = { heap: await heapKb(), there: await heapThere(), resources: resources() }
  await run(20_000)
  expect((await heapKb()) - before.heap).toBeLessThan(1_500)
  await expectNoMore(before.resources)
  // Nobody can ask that thread to collect; it does when it has made enough. A leak of 1 KB an actor, 20 MB by now,
  // would only grow.
  let there = await heapThere()
  for (let round = 0; round < 20 && there - before.there >= 12_000; round++) {
    await run(2_000)
    there = await heapThere()
  }
  expect(there - before.there).toBeLessThan(12_000)
}, 60_000)
