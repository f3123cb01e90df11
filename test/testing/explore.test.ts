import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type ActorRef, type AnyRef, actor, type Contract, supervisor } from '../../src/index.ts'
import { ExploreError, explore, TestSystem } from '../../src/testing/index.ts'

type Register = Contract<{ read(): number; write(value: number): void }>

const register = actor<Register>({
  name: 'register',
  module: import.meta.url,
  init() {
    let held = 0
    return {
      read: () => held,
      write(value) {
        held = value
      },
    }
  },
})

/** Reads, adds one, writes: two of them at once may lose an addition. */
const adder = actor<Contract<{ add(): void }>, { register: ActorRef<Register> }>({
  name: 'adder',
  module: import.meta.url,
  init: (_context, { register }) => ({
    async add() {
      register.tell('write', (await register.ask('read')) + 1)
    },
  }),
})

const lostUpdate = (threads?: Record<string, number>) => ({
  ...(threads === undefined ? {} : { threads }),
  async scenario(system: TestSystem) {
    const placement = threads === undefined ? ('here' as const) : { pool: 'a' }
    const held = system.spawn(register, undefined, { placement })
    const adders = [1, 2].map(() => system.spawn(adder, { register: held }, { placement }))
    await Promise.all(adders.map((one) => one.ask('add')))
    await system.settle()
    expect(await held.ask('read')).toBe(2)
  },
})

async function failureOf(exploring: Promise<unknown>): Promise<ExploreError> {
  try {
    await exploring
  } catch (error) {
    if (error instanceof ExploreError) return error
    throw error
  }
  throw new Error('no seed failed')
}

describe('explore', () => {
  test.each([{ threads: undefined }, { threads: { a: 3 } }])(
    'finds an order that loses an update, and replays it from its seed: threads $threads',
    async ({ threads }) => {
      const found = await failureOf(explore({ ...lostUpdate(threads), seeds: 200 }))
      expect(found.message).toContain(`seeds: [${found.seed}]`)
      expect(found.trace.join('\n')).toContain('read()')
      const again = await failureOf(explore({ ...lostUpdate(threads), seeds: [found.seed] }))
      expect(again.trace).toEqual(found.trace)
      const third = await failureOf(explore({ ...lostUpdate(threads), seeds: [found.seed] }))
      expect(third.trace).toEqual(found.trace)
    },
  )

  test('runs seeds that do not fail in different orders', async () => {
    const orders = new Set<string>()
    await explore({
      seeds: 30,
      threads: { a: 2 },
      async scenario(system) {
        const refs = [1, 2, 3, 4].map(() => system.spawn(register, undefined, { placement: { pool: 'a' } }))
        await Promise.all(refs.map((ref) => ref.ask('write', 1)))
        orders.add(system.messages.map(({ to }) => to).join())
      },
    })
    expect(orders.size).toBeGreaterThan(5)
  })

  test('keeps the order of each sender and receiver under all of them', async () => {
    const sink = actor<Contract<{ take(from: number, n: number): void; all(): readonly number[][] }>>({
      name: 'sink',
      module: import.meta.url,
      init() {
        const taken: number[][] = [[], []]
        return {
          take(from, n) {
            taken[from]!.push(n)
          },
          all: () => taken,
        }
      },
    })
    const source = actor<Contract<{ go(to: AnyRef, me: number): void }>>({
      name: 'source',
      module: import.meta.url,
      init: () => ({
        go(to, me) {
          for (let n = 0; n < 10; n++) to.tell('take', me, n)
        },
      }),
    })
    await explore({
      seeds: 50,
      threads: { a: 3 },
      latencyMs: 20,
      async scenario(system) {
        const inPool = { placement: { pool: 'a' } }
        const to = system.spawn(sink, undefined, inPool)
        await to.ask('all')
        const sources = [0, 1].map(() => system.spawn(source, undefined, inPool))
        await Promise.all(sources.map((one, me) => one.ask('go', to, me)))
        const all = await system.until('all arrived', async () => {
          const now = await to.ask('all')
          return now.flat().length === 20 && now
        })
        const inOrder = Array.from({ length: 10 }, (_, n) => n)
        expect(all).toEqual([inOrder, inOrder])
      },
    })
  })

  test('reports a scenario that waits for what never comes, and one that never ends', async () => {
    const silent = actor<Contract<{ never(): void; again(): void }>>({
      name: 'silent',
      module: import.meta.url,
      init: (context) => ({
        never: () => new Promise<void>(() => {}),
        again() {
          context.self.tell('again')
        },
      }),
    })
    const stuck = await failureOf(
      explore({
        seeds: 1,
        async scenario(system) {
          await system.spawn(silent, undefined).askWith({ timeoutMs: Infinity }, 'never')
        },
      }),
    )
    expect(stuck.cause).toMatchObject({ code: 'MA_STUCK' })
    const endless = await failureOf(
      explore({
        seeds: 1,
        maxSteps: 1_000,
        async scenario(system) {
          system.spawn(silent, undefined).tell('again')
          await system.spawn(silent, undefined).askWith({ timeoutMs: Infinity }, 'never')
        },
      }),
    )
    expect(endless.cause).toMatchObject({ code: 'MA_STUCK', message: expect.stringContaining('1000 steps') })
  })

  test('moves the clock when nothing else is left to do, and no further than needed', async () => {
    await explore({
      seeds: 5,
      async scenario(system) {
        const never = system.spawn(
          actor<Contract<{ never(): void }>>({
            name: 'never',
            module: import.meta.url,
            init: () => ({ never: () => new Promise<void>(() => {}) }),
          }),
          undefined,
        )
        const start = system.now()
        await expect(never.ask('never')).rejects.toMatchObject({ code: 'MA_TIMEOUT' })
        expect(system.now() - start).toBe(5_000)
      },
    })
  })
})

describe('faults', () => {
  const inPool = { placement: { pool: 'a' } }

  test('a thread that is killed: asks, monitors and restarts as on a real one', async () => {
    await explore({
      seeds: 100,
      threads: { a: 2 },
      async scenario(system) {
        const started = await system.startChild({
          id: 'p',
          actor: register,
          registerAs: 'p',
          placement: { pool: 'a' },
        })
        if (!started.ok) throw new Error('did not start')
        const first = system.whereis<Register>('p')!
        const ask = first.ask('read').then(
          () => 'reply',
          (error: { code: string }) => error.code,
        )
        system.killThread(first.thread)
        expect(['reply', 'MA_DOWN']).toContain(await ask)
        const next = await system.until('it is back', () => {
          const now = system.whereis<Register>('p')
          return now !== undefined && now.id !== first.id && now
        })
        expect(next.thread).not.toBe(first.thread)
        expect(await next.ask('read')).toBe(0)
        await expect(first.ask('read')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
      },
    })
  })

  test('an ask to a thread that is dying says so, and does not call it overloaded', async () => {
    await explore({
      seeds: 200,
      threads: { a: 1, b: 1 },
      async scenario(system) {
        const target = system.spawn(register, undefined, inPool)
        const caller = system.spawn(adder, { register: target }, { placement: { pool: 'b' } })
        await target.ask('read')
        system.killThread(target.thread)
        const outcomes = new Set<string>()
        for (let i = 0; i < 8; i++) {
          expect(target.tell('write', 1)).toBe(true)
          target.ask('read').catch(({ code }) => outcomes.add(code))
          await new Promise((resolve) => setImmediate(resolve))
        }
        await expect(caller.ask('add')).rejects.toMatchObject({
          exitReason: { message: expect.stringMatching(/its thread ended|no such actor/) },
        })
        await system.settle()
        outcomes.delete('MA_NO_ACTOR')
        expect([...outcomes]).toEqual(['MA_DOWN'])
      },
    })
  })

  test('chaos ends actors and threads at moments that the seed draws', async () => {
    const run = async (seed: number) => {
      const system = await TestSystem.start({ seed, threads: { a: 2 }, intensity: 1_000 })
      system.chaos({ actors: 2, threads: 1, withinSteps: 100 })
      const refs = Array.from({ length: 6 }, () => system.spawn(register, undefined, inPool))
      const asks = refs.flatMap((ref) => Array.from({ length: 5 }, () => ref.ask('read')))
      const outcomes = await system.run(Promise.allSettled(asks))
      const how = outcomes.map((one) => (one.status === 'fulfilled' ? 'reply' : one.reason.code))
      await system.stop()
      return { how, trace: system.trace() }
    }
    const one = await run(7)
    expect(one).toEqual(await run(7))
    expect(new Set(one.how).size).toBeGreaterThan(1)
  })

  test('what is held does not arrive, and goes on where it was', async () => {
    const system = await TestSystem.start({ threads: { a: 1 } })
    const ref = system.spawn(register, undefined, inPool)
    await ref.ask('read')
    const release = system.hold({ to: ref.thread })
    const ask = ref.ask('read')
    await system.advance(4_999)
    release()
    expect(await ask).toBe(0)
    const late = ref.ask('read')
    const releaseAgain = system.hold({ from: ref.thread })
    late.catch(() => {})
    await system.advance(5_000)
    await expect(late).rejects.toMatchObject({ code: 'MA_TIMEOUT' })
    releaseAgain()
    await system.stop()
  })

  test('overload refuses: a full queue, a full way', async () => {
    const system = await TestSystem.start({ threads: { a: 1 } })
    const here = system.spawn(register, undefined)
    const there = system.spawn(register, undefined, inPool)
    await Promise.all([here.ask('read'), there.ask('read')])
    for (const [ref, target] of [
      [here, here],
      [there, { to: there.thread }],
    ] as const) {
      const release = system.overload(target)
      expect(ref.tell('write', 1)).toBe(false)
      await expect(ref.ask('read')).rejects.toMatchObject({ code: 'MA_OVERLOADED' })
      release()
      expect(ref.tell('write', 1)).toBe(true)
      expect(await ref.ask('read')).toBe(1)
    }
    await system.stop()
  })

  test('messages to a thread that dies are lost, and listed', async () => {
    const system = await TestSystem.start({ threads: { a: 1 } })
    const ref = system.spawn(register, undefined, inPool)
    await ref.ask('read')
    system.hold({ to: ref.thread })
    expect(ref.tell('write', 1)).toBe(true)
    system.killThread(ref.thread)
    expect(system.lost).toContainEqual({ from: 0, to: ref.thread, what: `write to #${ref.id}` })
    await system.stop()
  })

  test('what cannot cross between real threads cannot cross here', async () => {
    const system = await TestSystem.start({ threads: { a: 1 } })
    const ref = system.spawn(register, undefined, inPool)
    expect(() => ref.tell('write', new Map() as never)).toThrow(/Map/)
    await system.stop()
  })
})

describe('waiting without sleeping', () => {
  test('until looks after each step, moves the clock, and names what did not come', async () => {
    const system = await TestSystem.start()
    const ticker = actor<Contract<{ tick(): void; ticks(): number }>>({
      name: 'ticker',
      module: import.meta.url,
      init(context) {
        let ticks = 0
        context.sendAfter(1_000, 'tick')
        return {
          tick() {
            ticks++
            context.sendAfter(1_000, 'tick')
          },
          ticks: () => ticks,
        }
      },
    })
    const ref = system.spawn(ticker, undefined)
    const start = system.now()
    expect(await system.until('three', async () => (await ref.ask('ticks')) === 3 && 'yes')).toBe('yes')
    expect(system.now() - start).toBe(3_000)
    await expect(
      system.until('a hundred', async () => (await ref.ask('ticks')) === 100, 5_000),
    ).rejects.toThrow(/not within 5000 virtual ms: a hundred/)
    expect(system.messages.filter(({ type }) => type === 'tick')).toHaveLength(8)
    await system.stop()
  })

  test('a stop does not outrun what terminate writes to the disk', async () => {
    const slow = actor<Contract<{ x(): void }>, { path: string }>({
      name: 'slow',
      module: import.meta.url,
      init: (_context, { path }) => ({
        x() {},
        async terminate() {
          for (let i = 0; i < 50; i++) await writeFile(path, String(i), { flush: true })
          await new Promise((resolve) => setTimeout(resolve, 20))
        },
      }),
    })
    const tree = supervisor<undefined>({
      name: 'tree',
      module: import.meta.url,
      init: () => ({
        strategy: 'one_for_one',
        children: [
          {
            id: 's',
            actor: slow,
            args: { path: join(tmpdir(), `mailactors-slow-${process.pid}`) },
            shutdown: 10,
          },
        ],
      }),
    })
    const system = await TestSystem.start({ children: [{ id: 't', actor: tree }] })
    await system.stop()
    expect(system.terminated[0]).toMatchObject({ name: 'slow', reason: { kind: 'shutdown' } })
  })
})
