/** Random streams, random ends of everything: every stream ends once, on both sides. The seed: test/support/seed.ts. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ActorRef, ActorSystem, type StreamEnd, type StreamReader } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { chosenSeed } from '../support/seed.ts'
import { relay, type Writer, writer } from './fixtures/streams.ts'

fc.configureGlobal({ seed: chosenSeed() })

const index = fc.nat({ max: 1_000 })
const step = fc.oneof(
  { weight: 2, arbitrary: fc.record({ do: fc.constant('writer' as const), at: index }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('open' as const),
      at: index,
      kind: fc.constantFrom('count', 'follow', 'broken'),
      window: fc.integer({ min: 1, max: 9 }),
      forwarded: fc.boolean(),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant('read' as const), at: index, n: fc.integer({ min: 1, max: 9 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cancel' as const), at: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('publish' as const), at: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('finish' as const), at: index, fails: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('kill' as const), at: index }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('fail' as const), at: index }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('thread' as const), at: index }) },
)

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never

interface Play {
  readonly system: ActorSystem
  readonly places: readonly ('here' | { readonly pool: string })[]
  settle(): Promise<void>
}

async function play({ system, places, settle }: Play, steps: readonly Step[]) {
  const spawn = (at: number) => system.spawn(writer, undefined, { placement: places[at % places.length]! })
  const writers: ActorRef<Writer>[] = [spawn(0), spawn(1)]
  const readers: StreamReader<unknown>[] = []
  const ends: StreamEnd[] = []
  const pick = <T>(list: readonly T[], at: number): T | undefined => list[at % list.length]
  for (const one of steps) {
    const at = 'at' in one ? one.at : 0
    switch (one.do) {
      case 'writer':
        writers.push(spawn(at))
        break
      case 'open': {
        const options = { window: one.window }
        const to = pick(writers, at)!
        let reader: StreamReader<unknown>
        if (one.forwarded && one.kind === 'follow') {
          const between = system.spawn(relay, undefined, { placement: pick(places, at)! })
          reader = between.streamWith(options, 'follow', to)
        } else if (one.kind === 'count') reader = to.streamWith(options, 'count', 100)
        else reader = to.streamWith(options, one.kind as 'broken')
        readers.push(reader)
        void reader.ended.then((end) => ends.push(end))
        break
      }
      case 'read':
        for (let i = 0; i < one.n; i++)
          pick(readers, at)
            ?.next()
            .catch(() => {})
        break
      case 'cancel':
        pick(readers, at)?.cancel()
        break
      case 'publish':
        pick(writers, at)!.tell('publish', 'x')
        break
      case 'finish':
        pick(writers, at)!.tell('finish', one.fails ? 'failed' : null)
        break
      case 'kill':
        system.kill(pick(writers, at)!)
        break
      case 'fail':
        pick(writers, at)!.tell('fail', 'failed')
        break
      case 'thread': {
        const { thread } = pick(writers, at)!
        if (thread !== 0) system.killThread(thread)
        break
      }
      default:
        await settle()
    }
  }
  // Readers that are left leave: then no writer that lives has anyone who follows it.
  for (const reader of readers) reader.cancel()
  await settle()
  for (const ref of writers) {
    const end = performance.now() + 5_000
    for (;;) {
      const seen = await ref.ask('seen').catch(() => undefined)
      if (seen === undefined || seen.followers === 0) break
      if (performance.now() > end) throw new Error('a writer still has followers')
      await settle()
    }
  }
  await system.stop()
  await settle()
  expect(ends.length).toBe(readers.length)
  for (const { kind } of ends) {
    expect(['done', 'down', 'no_actor', 'cancelled', 'overloaded']).toContain(kind)
  }
}

test('every stream ends once, and no writer is left with a reader that has gone', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async (steps) => {
      const test = await TestSystem.start()
      await play({ system: test.system, places: ['here'], settle: () => test.settle() }, steps)
    }),
    { numRuns: 150, endOnFailure: true },
  )
}, 60_000)

test('so it does between threads, which die as well', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 120 }), async (steps) => {
      const system = await ActorSystem.start({
        pools: { a: { minThreads: 1, maxThreads: 1 }, b: { minThreads: 1, maxThreads: 1 } },
      })
      const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 2))
      await play({ system, places: ['here', { pool: 'a' }, { pool: 'b' }], settle }, steps)
    }),
    { numRuns: 10, endOnFailure: true },
  )
}, 60_000)
