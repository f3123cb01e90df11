/**
 * The acceptance cases of group M: service skeleton and supervisor, as far as they are the runtime's. An instance is an
 * actor or a thread of a pool, a job is a message to it.
 *
 * M15 and M16 are of the runtime's credits; mail intake has no tokens, as the queue itself holds its answer back: test/queue/operators.test.ts
 * "flow control: what new mail waits for, and which of it". Not here: M19 as a reload of listeners (test/system/reload.test.ts).
 * There are no M03, M08, M13 and M18.
 */
import { afterEach, describe, expect, test } from 'vitest'
import {
  type ActorRef,
  ActorSystem,
  actor,
  type Contract,
  Credits,
  type SystemOptions,
  supervisor,
} from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { until } from '../support/until.ts'
import { group, type Member, member, solitary } from './fixtures/pool-actors.ts'

const systems: { stop(): Promise<void> }[] = []

afterEach(async () => {
  await Promise.all(systems.splice(0).map((system) => system.stop()))
})

async function start(options: SystemOptions): Promise<ActorSystem> {
  const system = await ActorSystem.start(options)
  systems.push(system)
  return system
}

const spawn = (system: ActorSystem, pool = 'a') => system.spawn(member, undefined, { placement: { pool } })
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const hooks = new URL('./fixtures/epoch-hooks.ts', import.meta.url).href

/** What the threads' exit hooks say. */
function exits(): { readonly said: string[]; close(): void } {
  const said: string[] = []
  const channel = new BroadcastChannel('epoch-hooks-test')
  channel.onmessage = (event) => said.push(String((event as MessageEvent).data))
  return { said, close: () => channel.close() }
}

describe('an instance', () => {
  test('M01 with max_use 3 serves three jobs, runs its exit hook, and another one serves the next', async () => {
    const system = await start({ pools: { a: { minThreads: 1, maxUse: 3, hooks } } })
    const { said, close } = exits()
    const [first, ...others] = [spawn(system), spawn(system), spawn(system)]
    const { thread } = first!
    for (const ref of [first!, ...others]) {
      expect(await ref.ask('where')).toBe(thread)
      ref.tell('end')
    }
    await until('the exit hook', () => said.includes(`exit ${thread}`))
    close()
    expect(await spawn(system).ask('where')).not.toBe(thread)
  })

  test('M02 M04 is not idle while it has clients or jobs come, and ends when it has been idle for long enough', async () => {
    const system = await start({ pools: { a: { minThreads: 0, maxThreads: 1, maxIdleMs: 2_500 } } })
    const ended: number[] = []
    system.events.on('thread.exit', ({ thread }) => ended.push(thread))
    // M04: three clients that say nothing.
    const clients = [spawn(system), spawn(system), spawn(system)]
    const { thread } = clients[0]!
    await clients[0]!.ask('where')
    await sleep(3_600)
    expect(ended).toEqual([])
    for (const client of clients) client.tell('end')
    // M02: the time begins anew with each job.
    for (let job = 0; job < 3; job++) {
      await sleep(900)
      const ref = spawn(system)
      expect(await ref.ask('where')).toBe(thread)
      ref.tell('end')
    }
    expect(ended).toEqual([])
    await until('the end of the idle thread', () => ended.includes(thread))
  })

  test('M05 handles what waits behind a request without anything new arriving', async () => {
    const system = await start({ pools: { a: { minThreads: 1 } } })
    const ref = spawn(system)
    await ref.ask('where')
    // Three in one piece; the first one lets the others wait.
    const answers = [ref.ask('slow', 50), ref.ask('where'), ref.ask('epoch', 0)]
    expect(await Promise.all(answers)).toEqual([ref.thread, ref.thread, undefined])
  })

  test('M06 that is gone is not heard any more: neither its number nor its refs come back', async () => {
    const system = await start({ pools: { a: { minThreads: 1 } } })
    const stale = spawn(system)
    await stale.ask('where')
    system.killThread(stale.thread)
    await until('the next one', async () => {
      const threads = (await system.threads()).filter(
        ({ pool, state }) => pool === 'a' && state === 'running',
      )
      return threads.length === 1 && threads[0]!.thread !== stale.thread
    })
    const next = spawn(system)
    expect(next.thread).toBeGreaterThan(stale.thread)
    expect(await next.ask('where')).toBe(next.thread)
    await expect(stale.ask('where')).rejects.toMatchObject({ failure: 'no_actor' })
    const row = (await system.threads()).find(({ thread }) => thread === next.thread)
    expect(row).toMatchObject({ actors: 1, started: 1 })
  })

  test('M07 that dies before its first job is done keeps its kind from being started for 60 s', async () => {
    const system = await TestSystem.start()
    systems.push(system)
    const broken = actor<Contract<{ job(): void }>>({
      name: 'broken',
      module: import.meta.url,
      throttleMs: 60_000,
      init: () => ({
        job() {
          throw new Error('broken')
        },
      }),
    })
    const ref = system.spawn(broken, undefined)
    await expect(system.run(ref.ask('job'))).rejects.toMatchObject({ failure: 'down' })
    expect(() => system.spawn(broken, undefined)).toThrow(expect.objectContaining({ code: 'MA_QUARANTINED' }))
    await system.advance(59_000)
    expect(() => system.spawn(broken, undefined)).toThrow(/quarantined for 1 s more/)
    await system.advance(1_001)
    expect(() => system.spawn(broken, undefined)).not.toThrow()
  })

  test('M09 whose job hangs is ended, and the job fails as a crash', async () => {
    const system = await start({ pools: { a: { minThreads: 1, stallMs: 600 } } })
    const ref = spawn(system)
    await expect(ref.askWith({ timeoutMs: 15_000 }, 'blockForEver')).rejects.toMatchObject({
      failure: 'down',
      exitReason: { kind: 'thread_exit', message: expect.stringContaining('member.blockForEver') },
    })
    expect(await spawn(system).ask('where')).not.toBe(ref.thread)
  })

  test('M10 finishes a job with the settings it began with; the next one has the new ones', async () => {
    const system = await start({ settings: { epoch: 1 }, pools: { a: { minThreads: 1 } } })
    const ref = spawn(system)
    await ref.ask('where')
    const job = ref.ask('epoch', 500)
    await until('the job', async () => JSON.stringify(await system.inspect()).includes('"current":"epoch"'))
    await system.configure({ epoch: 2 })
    const next = ref.ask('epoch', 0)
    expect(await job).toBe(1)
    expect(await next).toBe(2)
  })

  test('M11 whose tables have changed is replaced before it takes the next job', async () => {
    const system = await start({ pools: { a: { minThreads: 1, hooks } } })
    const { said, close } = exits()
    const before = spawn(system)
    expect(await before.ask('where')).toBe(before.thread)
    before.tell('end')
    const news = new BroadcastChannel('epoch-hooks-news')
    news.postMessage('changed')
    await until('the replacement', () => system.pools.list().find(({ name }) => name === 'a')?.recycled === 1)
    expect(await spawn(system).ask('where')).not.toBe(before.thread)
    await until('the end of the old one', () => said.includes(`exit ${before.thread}`))
    news.close()
    close()
  })

  test('M12 ends with its supervisor: at once when it is idle, after the job when it is busy', async () => {
    const system = await TestSystem.start()
    systems.push(system)
    const done: string[] = []
    const worker = actor<Contract<{ job(): void }>, string>({
      name: 'worker',
      module: import.meta.url,
      init: (_context, name) => ({
        async job() {
          await new Promise<void>((resolve) => {
            finish = resolve
          })
          done.push(name)
        },
      }),
    })
    let finish = (): void => {}
    const crew = supervisor<undefined>({
      name: 'crew',
      module: import.meta.url,
      init: () => ({
        strategy: 'one_for_one',
        children: ['idle', 'busy'].map((id) => ({ id, actor: worker, args: id, registerAs: id })),
      }),
    })
    const boss = system.spawn(crew, undefined)
    await system.settle()
    const [idle, busy] = ['idle', 'busy'].map((name) => system.whereis(name)!)
    ;(busy as ActorRef<Contract<{ job(): void }>>).tell('job')
    await system.settle()
    system.kill(boss)
    await system.settle()
    const ended = () => system.terminated.map(({ actorId }) => actorId)
    expect(ended()).toContain(idle!.id)
    expect(ended()).not.toContain(busy!.id)
    finish()
    await system.until('the end of the busy one', () => ended().includes(busy!.id))
    expect(done).toEqual(['busy'])
  })
})

test('M14 a solitary kind where there may be two is refused', async () => {
  const system = await start({ pools: { two: { minThreads: 1, maxThreads: 2 } } })
  expect(() => system.spawn(solitary, undefined, { placement: { pool: 'two' } })).toThrow(
    expect.objectContaining({ code: 'MA_USAGE' }),
  )
  const answer = await system.startChild({ id: 'h', actor: solitary, placement: { pool: 'two' } })
  expect(answer).toMatchObject({ ok: false, reason: { code: 'MA_USAGE' } })
})

describe('credits', () => {
  test('M15 without one the intake waits for its delay, and then goes on', async () => {
    const credits = Credits.create(1)
    expect(await credits.takeWithin(1_000)).toBe(true)
    const before = performance.now()
    expect(await credits.takeWithin(100)).toBe(false)
    expect(performance.now() - before).toBeGreaterThan(90)
    expect(credits.statistics).toEqual({ taken: 1, delayed: 1 })
  })

  test('M16 one comes back for each mail that goes on, and there are never more than the limit', () => {
    const credits = Credits.create(3)
    for (let i = 0; i < 3; i++) credits.take()
    credits.give()
    expect(credits.available).toBe(1)
    credits.give(5)
    expect(credits.available).toBe(3)
  })
})

test('M17 a wake-up that begins with the first use is not there before', async () => {
  const system = await TestSystem.start()
  systems.push(system)
  const sleepy = actor<Contract<{ use(): void; wake(): void; woken(): number }>>({
    name: 'sleepy',
    module: import.meta.url,
    init(context) {
      let timer = 0
      let woken = 0
      const wakeLater = () => {
        timer = context.sendAfter(1_000_000, 'wake')
      }
      return {
        use() {
          if (timer === 0) wakeLater()
        },
        wake() {
          woken++
          wakeLater()
        },
        woken: () => woken,
      }
    },
  })
  const ref = system.spawn(sleepy, undefined)
  await system.advance(5_000_000)
  expect(await system.run(ref.ask('woken'))).toBe(0)
  ref.tell('use')
  await system.advance(2_000_000)
  expect(await system.run(ref.ask('woken'))).toBe(2)
})

test('M19 a service that is removed ends with its instances, and the others go on', async () => {
  const system = await start({ pools: { a: { minThreads: 1 } } })
  const services = system.spawn(group, {
    strategy: 'one_for_one',
    children: ['one', 'other'].map((id) => ({
      id,
      actor: member,
      registerAs: id,
      placement: { pool: 'a' },
    })),
  })
  await services.ask('whichChildren')
  const [one, other] = ['one', 'other'].map((name) => system.whereis<Member>(name)!)
  expect(await services.ask('terminateChild', 'one')).toEqual({ ok: true })
  expect(await services.ask('deleteChild', 'one')).toEqual({ ok: true })
  await expect(one!.ask('where')).rejects.toMatchObject({ failure: 'no_actor' })
  expect(await services.ask('countChildren')).toMatchObject({ specs: 1, active: 1 })
  expect(await other!.ask('where')).toBe(other!.thread)
})

test('M20 who asked and went away does no harm to the instance', async () => {
  const system = await start({ pools: { a: { minThreads: 1 } } })
  const ref = spawn(system)
  await ref.ask('where')
  const abort = new AbortController()
  const job = ref.askWith({ signal: abort.signal }, 'slow', 100)
  abort.abort()
  await expect(job).rejects.toMatchObject({ failure: 'cancelled' })
  expect(await ref.ask('where')).toBe(ref.thread)
})
