/** When a pool grows and shrinks: decided in `pool.ts`, done by `threads.ts`. */
import { afterEach, describe, expect, test } from 'vitest'
import { ActorSystem } from '../../src/index.ts'
import { Pool, type ThreadLoad } from '../../src/runtime/pool.ts'
import { poolLimits } from '../../src/runtime/pool-options.ts'
import { until } from '../support/until.ts'
import { member } from './fixtures/pool-actors.ts'

const poolOf = (options: Parameters<typeof poolLimits>[1]) =>
  new Pool({
    name: 'p',
    index: 0,
    limits: poolLimits('p', {
      minThreads: 1,
      maxThreads: 4,
      actorsPerThread: 100,
      maxIdleMs: 5_000,
      ...options,
    }),
    hooks: undefined,
    host: { entry: undefined, resourceLimits: undefined, onError: () => {} },
  })
const load = (utilisation: number, actors = 10): ThreadLoad => ({ utilisation, actors })

describe('a pool', () => {
  test('wants a thread more when all have been busy for three looks, and not for less', () => {
    const pool = poolOf({})
    const wants = (...threads: ThreadLoad[]) => pool.wants(threads, 0)
    expect([wants(load(0.9)), wants(load(0.9))]).toEqual(['same', 'same'])
    expect(wants(load(0.5))).toBe('same')
    expect([wants(load(0.9)), wants(load(0.9)), wants(load(0.9))]).toEqual(['same', 'same', 'more'])
    // The looks are counted anew for the next one, and one thread with time to spare is enough.
    expect([1, 2, 3, 4].map(() => wants(load(0.9), load(0.9)))).toEqual(['same', 'same', 'more', 'same'])
    expect([1, 2, 3, 4].map(() => wants(load(1), load(0.7)))).toEqual(['same', 'same', 'same', 'same'])
  })

  test('wants it at once when all are nearly full, and never beyond its limit', () => {
    const pool = poolOf({ maxThreads: 2 })
    expect(pool.wants([load(0, 79)], 0)).toBe('same')
    expect(pool.wants([load(0, 80)], 0)).toBe('more')
    expect(pool.wants([load(0, 100), load(0, 100)], 0)).toBe('same')
  })

  test('wants one less when it could have done with it for maxIdleMs, without a break', () => {
    const pool = poolOf({})
    const wants = (now: number, ...threads: ThreadLoad[]) => pool.wants(threads, now)
    expect(wants(0, load(0.1), load(0.2))).toBe('same')
    expect(wants(4_000, load(0.1), load(0.2))).toBe('same')
    // Busy in between: 0.5 would be too much for one.
    expect(wants(4_500, load(0.1), load(0.4))).toBe('same')
    expect(wants(5_000, load(0.1), load(0.2))).toBe('same')
    expect(wants(9_000, load(0.1), load(0.2))).toBe('same')
    expect(wants(10_000, load(0.1), load(0.2))).toBe('fewer')
    expect(wants(20_000, load(0))).toBe('same')
  })

  test('wants nothing between what is little and what is much: it does not swing', () => {
    const pool = poolOf({})
    for (const utilisation of [0.25, 0.4, 0.5, 0.6, 0.79]) {
      const answers = Array.from({ length: 100 }, (_, look) =>
        pool.wants([load(utilisation), load(utilisation)], look * 1_000),
      )
      expect(new Set(answers), `${utilisation}`).toEqual(new Set(['same']))
    }
    // What makes it grow does not make it shrink with a thread more, nor the other way round.
    for (let percent = 0; percent <= 100; percent++) {
      const total = (percent / 100) * 2
      const grows = poolOf({})
      const isGrowing = [1, 2, 3]
        .map(() => grows.wants([load(total / 2), load(total / 2)], 0))
        .includes('more')
      const third = [load(total / 3), load(total / 3), load(total / 3)]
      const shrinks = poolOf({})
      shrinks.wants(third, 0)
      const isShrinking = shrinks.wants(third, 6_000) === 'fewer'
      expect(isGrowing && isShrinking, `${percent} %`).toBe(false)
    }
  })
})

describe('a running pool', () => {
  let system: ActorSystem

  afterEach(() => system?.stop())

  test('grows under load, and shrinks again when it is over', async () => {
    system = await ActorSystem.start({
      pools: { a: { minThreads: 1, maxThreads: 2, maxIdleMs: 1_000, spareThreads: 0 } },
    })
    const why: string[] = []
    system.events.on('pool.resized', (event) => why.push(event.why))
    const placement = { pool: 'a' }
    const busy = system.spawn(member, undefined, { placement })
    let isLoaded = true
    const work = (async () => {
      while (isLoaded) await busy.ask('block', 40)
    })()
    await until('another thread', () => system.pools.list().find(({ name }) => name === 'a')?.threads === 2)
    expect(why).toEqual(['busy'])
    const other = system.spawn(member, undefined, { placement })
    expect(await other.ask('where')).not.toBe(busy.thread)
    isLoaded = false
    await work
    other.tell('end')
    await until('one thread', () => system.pools.list().find(({ name }) => name === 'a')?.threads === 1)
    expect(why).toEqual(['busy', 'idle'])
    expect(await busy.ask('where')).toBe(busy.thread)
  }, 60_000)
})
