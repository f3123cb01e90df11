import { afterEach, describe, expect, expectTypeOf, test } from 'vitest'
import { ActorSystem, type JobsOptions } from '../../src/index.ts'
import { until } from '../support/until.ts'
import { add, die, fail, later, plain, spin, where } from './fixtures/jobs.ts'

let system: ActorSystem

const start = async (jobs: JobsOptions = {}) => {
  system = await ActorSystem.start({ jobs })
  return system.jobs
}
const pool = () => system.pools.list().find(({ name }) => name === 'jobs')!

afterEach(() => system?.stop())

describe('a job', () => {
  test('runs on a thread of its own, which starts with the first one', async () => {
    const jobs = await start()
    expect(pool().threads).toBe(0)
    const sum = await jobs.run(add, [2, 3])
    expectTypeOf(sum).toEqualTypeOf<number>()
    expect(sum).toBe(5)
    expect(await jobs.run(where, [])).not.toBe(0)
    expect(pool().threads).toBeGreaterThan(0)
  })

  test('may be any exported function', async () => {
    const jobs = await start()
    const shout = { module: new URL('./fixtures/jobs.ts', import.meta.url).href, name: plain.name }
    expect(await jobs.run<[string], string>(shout, ['loud'])).toBe('LOUD')
  })

  test('that throws passes its error on', async () => {
    const jobs = await start()
    await expect(jobs.run(fail, [])).rejects.toThrow('of the job')
  })

  test('that takes too long fails as timeout, and its thread is replaced', async () => {
    const jobs = await start({ maxThreads: 1 })
    await expect(jobs.run(spin, [], { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'MA_TIMEOUT',
      failure: 'timeout',
    })
    expect(await jobs.run(add, [1, 1])).toBe(2)
  })

  test('can be given up, also before it starts', async () => {
    const jobs = await start({ maxThreads: 1 })
    const abort = new AbortController()
    const [running, waiting] = [jobs.run(spin, [], { signal: abort.signal }), jobs.run(add, [1, 2])]
    abort.abort()
    await expect(running).rejects.toMatchObject({ code: 'MA_CANCELLED' })
    expect(await waiting).toBe(3)
    await expect(jobs.run(add, [1, 2], { signal: abort.signal })).rejects.toMatchObject({
      code: 'MA_CANCELLED',
    })
  })

  test('whose thread dies fails as down; others go on', async () => {
    const jobs = await start({ maxThreads: 1 })
    await expect(jobs.run(die, [])).rejects.toMatchObject({ code: 'MA_DOWN' })
    expect(await jobs.run(add, [1, 3])).toBe(4)
  })

  test('that its module does not export is a mistake of the program', async () => {
    const jobs = await start()
    const missing = { module: new URL('./fixtures/jobs.ts', import.meta.url).href, name: 'missing' }
    await expect(jobs.run(missing, [])).rejects.toMatchObject({ code: 'MA_USAGE' })
    await expect(jobs.run({ module: 'here.ts', name: 'x' }, [])).rejects.toMatchObject({ code: 'MA_USAGE' })
  })

  test('beyond the bound of the queue is refused', async () => {
    const jobs = await start({ maxThreads: 1, maxQueue: 1 })
    const taken = [jobs.run(later, [50]), jobs.run(later, [50])]
    await expect(jobs.run(add, [1, 1])).rejects.toMatchObject({ code: 'MA_OVERLOADED' })
    await Promise.all(taken)
  })

  test('that runs at the stop of the system ends with it', async () => {
    const jobs = await start()
    const running = jobs.run(spin, [])
    running.catch(() => {})
    await until('it runs', () => pool().threads > 0)
    await system.stop()
    await expect(running).rejects.toThrow()
    await expect(jobs.run(add, [1, 1])).rejects.toMatchObject({ code: 'MA_USAGE' })
  })
})

describe('the pool of jobs', () => {
  test('is recycled without losing a job', async () => {
    const jobs = await start({ maxThreads: 2 })
    const before = Array.from({ length: 10 }, () => jobs.run(later, [30]))
    const { drained } = await system.pools.recycle('jobs')
    const after = Array.from({ length: 10 }, () => jobs.run(later, [1]))
    const old = new Set(await Promise.all(before))
    for (const thread of await Promise.all(after)) expect(old).not.toContain(thread)
    await drained
    expect(pool().draining).toBe(0)
  })

  test('is resized', async () => {
    const jobs = await start({ maxThreads: 1 })
    await system.pools.resize('jobs', { maxThreads: 3 })
    const threads = await Promise.all(Array.from({ length: 3 }, () => jobs.run(later, [500])))
    expect(new Set(threads).size).toBe(3)
    await expect(system.pools.resize('jobs', { actorsPerThread: 5 })).rejects.toMatchObject({
      code: 'MA_USAGE',
    })
  })
})
