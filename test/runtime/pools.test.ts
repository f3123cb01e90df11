import { afterEach, describe, expect, test } from 'vitest'
import {
  type ActorRef,
  ActorSystem,
  type SystemOptions,
  type ThreadRecycledEvent,
  type ThreadStalledEvent,
} from '../../src/index.ts'
import { until } from '../support/until.ts'
import { fragile, group, type Member, member, resident, solitary, unlimited } from './fixtures/pool-actors.ts'
import { slow } from './fixtures/slow-module.ts'

let system: ActorSystem

const start = async (options: SystemOptions) => {
  system = await ActorSystem.start(options)
  return system
}
const spawn = (pool: string) => system.spawn(member, undefined, { placement: { pool } })
const pool = (name: string) => system.pools.list().find((one) => one.name === name)!
const threadsOf = async (name: string) => (await system.threads()).filter((one) => one.pool === name)
const ends = () => {
  const ended: number[] = []
  system.events.on('thread.exit', ({ thread }) => ended.push(thread))
  return ended
}

afterEach(() => system?.stop())

describe('resize', () => {
  test('starts what is missing, and settles when it runs', async () => {
    await start({ pools: { a: { minThreads: 1, maxThreads: 1 } } })
    const resized: unknown[] = []
    system.events.on('pool.resized', (event) => resized.push(event))
    const after = await system.pools.resize('a', { minThreads: 2, maxThreads: 3 })
    expect(after).toMatchObject({ name: 'a', minThreads: 2, maxThreads: 3, threads: 2 })
    expect(resized).toMatchObject([{ pool: 'a', minThreads: 2, threads: 2, why: 'requested' }])
    // One that has been busy, loading for instance, gets its first actor later.
    const threads = Array.from({ length: 12 }, () => spawn('a').thread)
    expect(new Set(threads).size).toBe(2)
  })

  test('lets threads that are too many finish, and loses nothing', async () => {
    await start({ pools: { a: { minThreads: 3, maxThreads: 3 } } })
    const ended = ends()
    const refs = Array.from({ length: 9 }, () => spawn('a'))
    const asks = refs.map((ref) => ref.ask('slow', 300))
    await system.pools.resize('a', { minThreads: 1, maxThreads: 1 })
    expect(pool('a')).toMatchObject({ threads: 1, draining: 2 })
    const next = Array.from({ length: 6 }, () => spawn('a'))
    expect(new Set(next.map((ref) => ref.thread)).size).toBe(1)
    expect(await Promise.all(asks)).toEqual(refs.map((ref) => ref.thread))
    expect(ended).toEqual([])
    for (const ref of refs) ref.tell('end')
    await until('the end of two threads', () => ended.length === 2)
  })

  test('actorsPerThread counts from the next start on', async () => {
    await start({ pools: { a: { minThreads: 1, maxThreads: 1, actorsPerThread: 1 } } })
    spawn('a')
    expect(() => spawn('a')).toThrow(/no room/)
    await system.pools.resize('a', { actorsPerThread: 2 })
    spawn('a')
    expect(() => spawn('a')).toThrow(/no room/)
  })

  test.each([
    {
      name: 'a pool that is not there',
      of: 'nowhere',
      size: {},
      message: /no pool nowhere \(there are a, jobs\)/,
    },
    { name: 'more at least than at most', of: 'a', size: { minThreads: 3 }, message: /at most maxThreads 1/ },
    { name: 'no threads at most', of: 'a', size: { maxThreads: 0, minThreads: 0 }, message: /maxThreads 0/ },
    { name: 'half a thread', of: 'a', size: { maxThreads: 1.5 }, message: /integer/ },
    { name: 'no actors', of: 'a', size: { actorsPerThread: 0 }, message: /actorsPerThread/ },
  ])('refuses $name', async ({ of, size, message }) => {
    await start({ pools: { a: { minThreads: 1 } } })
    await expect(system.pools.resize(of, size)).rejects.toMatchObject({
      code: 'MA_USAGE',
      message: expect.stringMatching(message),
    })
    expect(pool('a')).toMatchObject({ minThreads: 1, maxThreads: 1, actorsPerThread: 10_000 })
  })
})

describe('recycle', () => {
  test('leaves the old threads where they are when a new one does not start', async () => {
    await start({ pools: { a: { minThreads: 2, maxThreads: 2 } } })
    const old = (await threadsOf('a')).map(({ thread }) => thread)
    const recycling = system.pools.recycle('a')
    const newest = Math.max(...old) + 2
    expect(system.killThread(newest)).toBe(true)
    await expect(recycling).rejects.toMatchObject({
      code: 'MA_START',
      message: `thread ${newest} of pool a did not start: it was killed`,
    })
    await until('the end of the other new one', async () => {
      const threads = await threadsOf('a')
      return threads.length === 2 && threads.every(({ thread }) => old.includes(thread))
    })
    expect(old).toContain(spawn('a').thread)
  })

  test('replaces the threads; those who are there finish', async () => {
    await start({ pools: { a: { minThreads: 2 } } })
    const events: ThreadRecycledEvent[] = []
    system.events.on('thread.recycled', (event) => events.push(event))
    const before = (await threadsOf('a')).map(({ thread }) => thread)
    const refs = [spawn('a'), spawn('a')]
    const ask = refs[0]!.ask('slow', 200)
    const { threads, drained } = await system.pools.recycle('a')
    expect(threads).toEqual(before)
    expect(before).not.toContain(spawn('a').thread)
    expect(await ask).toBe(refs[0]!.thread)
    expect(events.map(({ thread, why }) => [thread, why])).toEqual(before.map((one) => [one, 'requested']))
    for (const ref of refs) ref.tell('end')
    await drained
    expect(await threadsOf('a')).toHaveLength(2)
    expect(pool('a')).toMatchObject({ recycled: 2, draining: 0, crashes: 0 })
  })

  test('moves what a supervisor keeps running; no message told to it by name or ref is lost', async () => {
    const counter = new SharedArrayBuffer(4)
    await start({
      settings: { counter },
      pools: { a: { minThreads: 1 }, b: { minThreads: 1 } },
      children: [{ id: 'm', actor: member, placement: { pool: 'a' }, registerAs: 'm' }],
      intensity: 0,
    })
    const old = system.whereis<Member>('m')!
    let told = 0
    const asks: Promise<number>[] = []
    let isDone = false
    const traffic = (async () => {
      while (!isDone) {
        for (let i = 0; i < 20; i++) {
          const ref = i % 2 === 0 ? old : system.whereis<Member>('m')
          if (ref === undefined) continue
          if (i % 5 === 0) {
            const ask = ref.ask('count')
            ask.catch(() => {})
            asks.push(ask)
          } else if (ref.tell('count')) told++
        }
        // Not a flood: what a slow machine has not handled would be refused.
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
    })()
    const recycling = await system.pools.recycle('a')
    await until('the move', () => {
      const now = system.whereis<Member>('m')
      return now !== undefined && now.id !== old.id
    })
    // A second later the old thread is gone, and its refs lead nowhere.
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 2))
    isDone = true
    await traffic
    const results = await Promise.allSettled(asks)
    const failures = results.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []))
    expect([...new Set(failures)]).toEqual([])
    await recycling.drained
    const moved = system.whereis<Member>('m')!
    expect(moved.thread).not.toBe(old.thread)
    await until('all are counted', () => Atomics.load(new Int32Array(counter), 0) === told + asks.length)
  })

  test('moves a whole subtree in order, and does not count as a failure', async () => {
    const lone = (id: string) => ({ id, actor: member, registerAs: id })
    await start({
      pools: { a: { minThreads: 1 } },
      intensity: 0,
      children: [
        {
          id: 'g',
          actor: group,
          placement: { pool: 'a' },
          args: { strategy: 'rest_for_one', intensity: 0, children: [lone('x'), lone('y')] },
        },
      ],
    })
    const before = system.whereis<Member>('x')!
    for (let i = 0; i < 3; i++) {
      const { drained } = await system.pools.recycle('a')
      await drained
    }
    await until('both are back', () => system.whereis('x') !== undefined && system.whereis('y') !== undefined)
    expect(system.whereis('x')!.thread).toBe(system.whereis('y')!.thread)
    expect(system.whereis('x')!.thread).not.toBe(before.thread)
    expect(await system.whereis<Member>('y')!.ask('where')).toBe(system.whereis('y')!.thread)
  })

  test('ends a resident of the thread when all others have ended', async () => {
    await start({ pools: { a: { minThreads: 1 } } })
    const keeper = system.spawn(resident, undefined, { placement: { pool: 'a' } })
    await keeper.ask('where')
    expect(pool('a').actors).toBe(0)
    const ref = spawn('a')
    const { drained } = await system.pools.recycle('a')
    expect(await keeper.ask('where')).toBe(ref.thread)
    ref.tell('end')
    await drained
    await expect(keeper.ask('where')).rejects.toMatchObject({ failure: 'no_actor' })
  })

  test('hurries what takes longer than drainMs', async () => {
    await start({ pools: { a: { minThreads: 1, drainMs: 50 } } })
    const ref = spawn('a')
    await ref.ask('where')
    const { drained } = await system.pools.recycle('a')
    await drained
    await expect(ref.ask('where')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
  })
})

describe('a pool with no threads', () => {
  test('starts one for the first actor, whichever thread starts it', async () => {
    await start({ pools: { a: { minThreads: 1 }, b: { minThreads: 0, maxThreads: 2 } } })
    expect(pool('b').threads).toBe(0)
    const one = spawn('a')
    const other = (await one.ask('spawn', 'b')) as unknown as ActorRef<Member>
    expect(await other.ask('where')).toBe(other.thread)
    expect([0, one.thread]).not.toContain(other.thread)
    expect(pool('b').threads).toBe(1)
  })

  test('does not get more threads than it may, however many ask at once', async () => {
    await start({
      pools: { a: { minThreads: 2 }, b: { minThreads: 0, maxThreads: 2, actorsPerThread: 5 } },
    })
    const [one, other] = [spawn('a'), spawn('a')]
    const refs = (
      await Promise.all([one.ask('spawnMany', 'b', 5), other.ask('spawnMany', 'b', 5)])
    ).flat() as unknown as ActorRef<Member>[]
    const threads = await Promise.all(refs.map((ref) => ref.ask('where')))
    expect(new Set(threads).size).toBe(2)
    expect(pool('b').threads).toBe(2)
    await expect(one.ask('spawnMany', 'b', 20)).rejects.toMatchObject({
      exitReason: { message: expect.stringMatching(/no room/) },
    })
  })

  test('ends it when it has been idle for long enough', async () => {
    await start({ pools: { b: { minThreads: 0, maxThreads: 1, maxIdleMs: 100 } } })
    const ended = ends()
    const ref = spawn('b')
    await ref.ask('where')
    ref.tell('end')
    await until('the end of the thread', () => ended.length === 1)
    expect(pool('b').threads).toBe(0)
    expect(await spawn('b').ask('where')).not.toBe(ref.thread)
  })
})

describe('a thread whose handler blocks', () => {
  test.each([
    { message: 'blockForEver' as const, isSuspected: false },
    { message: 'blockAfterAwait' as const, isSuspected: true },
  ])('is found, named and replaced: $message', async ({ message, isSuspected }) => {
    await start({ pools: { a: { minThreads: 1, stallMs: 600 } } })
    const stalled: ThreadStalledEvent[] = []
    const recycled: ThreadRecycledEvent[] = []
    system.events.on('thread.stalled', (event) => stalled.push(event))
    system.events.on('thread.recycled', (event) => recycled.push(event))
    const [ref, neighbour] = [spawn('a'), spawn('a')]
    await neighbour.ask('where')
    const blocked = ref.askWith({ timeoutMs: Infinity }, message)
    await expect(blocked).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { kind: 'thread_exit' } })
    await expect(blocked).rejects.toThrow(/thread ended/)
    const named = { pool: 'a', thread: ref.thread, actor: ref.id, component: 'member', message, isSuspected }
    expect(stalled).toMatchObject([named])
    expect(recycled).toMatchObject([{ thread: ref.thread, why: 'stalled' }])
    expect(await spawn('a').ask('where')).not.toBe(ref.thread)
    expect(pool('a')).toMatchObject({ stalls: 1, recycled: 1, crashes: 1 })
  })

  test('for a while only is told of, and goes on', async () => {
    await start({ pools: { a: { minThreads: 1, stallMs: 3_000 } } })
    const stalled: ThreadStalledEvent[] = []
    system.events.on('thread.stalled', (event) => stalled.push(event))
    const ref = spawn('a')
    await ref.ask('where')
    await ref.ask('block', 1_700)
    expect(await ref.ask('where')).toBe(ref.thread)
    expect(stalled).toMatchObject([{ component: 'member', message: 'block' }])
    expect((await threadsOf('a'))[0]).toMatchObject({ stalls: 1 })
  })

  test('is not one that loads a module for longer', async () => {
    await start({ pools: { a: { minThreads: 1, stallMs: 1_000 } } })
    const recycled: ThreadRecycledEvent[] = []
    system.events.on('thread.recycled', (event) => recycled.push(event))
    const ref = system.spawn(slow, undefined, { placement: { pool: 'a' } })
    expect(await ref.askWith({ timeoutMs: 20_000 }, 'ping')).toBe('pong')
    expect(recycled).toEqual([])
  })
})

describe('quarantine', () => {
  test('of a pool: no new thread after one that died before its first job', async () => {
    await start({ pools: { a: { minThreads: 1, throttleMs: 700 } } })
    const quarantined: unknown[] = []
    system.events.on('pool.quarantined', (event) => quarantined.push(event))
    const [{ thread } = { thread: 0 }] = await threadsOf('a')
    system.killThread(thread)
    await until('the quarantine', () => quarantined.length === 1)
    expect(() => spawn('a')).toThrow(/quarantined/)
    expect(pool('a').quarantinedMs).toBeGreaterThan(0)
    await until('the end of it', () => pool('a').threads === 1)
    expect(await spawn('a').ask('where')).toBeGreaterThan(thread)
  })

  test('of a pool does not follow when a job was done before', async () => {
    await start({ pools: { a: { minThreads: 1, throttleMs: 60_000, stallMs: 600 } } })
    const ref = spawn('a')
    await ref.ask('slow', 300)
    system.killThread(ref.thread)
    await until('a new thread', () => pool('a').threads === 1)
    expect(await spawn('a').ask('where')).toBeGreaterThan(ref.thread)
  })

  test('of a kind: nobody starts it, on any thread, after a crash before the first job', async () => {
    await start({ pools: { a: { minThreads: 1 }, b: { minThreads: 1 } } })
    const answer = await system.startChild({
      id: 'f',
      actor: fragile,
      args: { fail: true },
      restart: 'temporary',
      placement: { pool: 'a' },
    })
    expect(answer).toMatchObject({ ok: false, reason: { message: 'broken' } })
    await until('the quarantine', () => {
      try {
        system.spawn(fragile, undefined, { placement: { pool: 'b' } })
        return false
      } catch (error) {
        return (error as { code: string }).code === 'MA_QUARANTINED'
      }
    })
  })

  test('of a kind does not follow a crash after the first job', async () => {
    await start({ pools: { a: { minThreads: 1 } } })
    const ref = system.spawn(fragile, undefined, { placement: { pool: 'a' } })
    await ref.ask('where')
    await ref.ask('fail').catch(() => {})
    expect(await system.spawn(fragile, undefined, { placement: { pool: 'a' } }).ask('where')).toBe(ref.thread)
  })
})

describe('kinds', () => {
  test('a solitary one is alone, and only where one thread is the most', async () => {
    await start({ pools: { one: { minThreads: 1 }, many: { minThreads: 1, maxThreads: 2 } } })
    const in_ = (name: string) => system.spawn(solitary, undefined, { placement: { pool: name } })
    expect(() => in_('many')).toThrow(/must have maxThreads 1/)
    const ref = in_('one')
    await ref.ask('where')
    await until('its name', () => system.whereis('solitary hermit') !== undefined)
    expect(() => in_('one')).toThrow(/taken/)
    ref.tell('end')
    await until('its end', () => system.whereis('solitary hermit') === undefined)
    await in_('one').ask('where')
  })

  test('an unlimited one is refused where there is a limit', async () => {
    await start({ pools: { few: { actorsPerThread: 5 }, all: { actorsPerThread: Infinity } } })
    const in_ = (name: string) => system.spawn(unlimited, undefined, { placement: { pool: name } })
    expect(() => in_('few')).toThrow(/must have actorsPerThread Infinity/)
    await in_('all').ask('where')
  })
})

describe('hooks', () => {
  test('are called at the turns of a thread’s life', async () => {
    const said: string[] = []
    const channel = new BroadcastChannel('pool-hooks-test')
    channel.onmessage = (event) => said.push(String((event as MessageEvent).data))
    await start({ pools: { h: { hooks: new URL('./fixtures/pool-hooks.ts', import.meta.url).href } } })
    const ref = spawn('h')
    const { thread } = ref
    await ref.ask('where')
    await until('three loops', () => said.filter((one) => one.startsWith('loop')).length === 3)
    const first = (what: string) => said.indexOf(`${what} h ${thread}`)
    expect(first('preInit')).toBe(0)
    expect(first('postInit')).toBeLessThan(first('preAccept-member'))
    expect(first('preAccept-member')).toBeGreaterThan(0)
    const answer = await system.startChild({
      id: 'f',
      actor: fragile,
      restart: 'temporary',
      placement: { pool: 'h' },
    })
    expect(answer).toMatchObject({ ok: false, reason: { message: 'not here' } })
    system.spawn(solitary, undefined, { placement: { pool: 'h' } }).tell('end')
    await until('it asks for its replacement', () => pool('h').recycled === 1)
    ref.tell('end')
    await until('its exit', () => first('exit') > 0)
    channel.close()
  })

  test.each([
    { name: 'is not there', hooks: 'file:///nowhere/hooks.ts', message: /cannot be imported/ },
    { name: 'is no URL', hooks: 'hooks.ts', message: /import.meta.url/ },
  ])('of a module that $name fail the start', async ({ hooks, message }) => {
    await expect(start({ pools: { h: { hooks } } })).rejects.toMatchObject({
      code: 'MA_START',
      message: expect.stringMatching(message),
    })
  })
})

describe('resource limits', () => {
  test.each([
    { limits: { maxOldGenerationSizeMb: 2 }, message: /maxOldGenerationSizeMb 2 must be at least 16/ },
    { limits: { maxOldGenerationSizeMb: -5 }, message: /must be at least/ },
    { limits: { stackSizeMb: 0.1 }, message: /stackSizeMb 0.1 must be at least 1/ },
    { limits: { heap: 100 } as object, message: /heap is no limit|resourceLimits.heap/ },
  ])('that V8 would not survive are refused: $limits', async ({ limits, message }) => {
    await expect(start({ pools: { a: { resourceLimits: limits } } })).rejects.toMatchObject({
      code: 'MA_START',
      message: expect.stringMatching(message),
    })
  })

  test('that are the least are enough to start with; more heap than that ends the thread alone', async () => {
    await start({
      pools: { a: { minThreads: 1, resourceLimits: { maxOldGenerationSizeMb: 16, stackSizeMb: 1 } } },
    })
    const ref = spawn('a')
    expect(await ref.ask('where')).toBe(ref.thread)
    await expect(ref.askWith({ timeoutMs: Infinity }, 'grow', 200)).rejects.toMatchObject({
      exitReason: { kind: 'thread_exit' },
    })
    expect(await spawn('a').ask('where')).not.toBe(ref.thread)
  })
})

describe('heap growth', () => {
  test('above the limit has the thread replaced', async () => {
    await start({ pools: { a: { minThreads: 1, maxHeapBytes: 60 * 2 ** 20 } } })
    const events: ThreadRecycledEvent[] = []
    system.events.on('thread.recycled', (event) => events.push(event))
    const ref = spawn('a')
    await ref.ask('grow', 80)
    ref.tell('end')
    await until('the replacement', () => events.length === 1, { deadlineMs: 20_000 })
    expect(events).toMatchObject([{ thread: ref.thread, why: 'heap' }])
    expect(spawn('a').thread).not.toBe(ref.thread)
  }, 60_000)
})
