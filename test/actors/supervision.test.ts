/** What supervisors do beyond OTP, and what a trace does not show. For the rest see `test/interop/otp.test.ts`. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  ActorExit,
  type ActorRef,
  actor,
  type Backoff,
  type ChildSpec,
  type Contract,
  ignore,
  type SupervisorContract,
  type SupervisorSpec,
  supervisor,
} from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

type Fragile = Contract<{ fail(text: string): void; exit(): void; ping(): string; unlink(): void }>

/** When each one started, milliseconds of the virtual clock. */
let starts: number[] = []
let failing = 0

const fragile = actor<Fragile, string>({
  name: 'fragile',
  module: import.meta.url,
  init(context, how) {
    starts.push(context.clock.monotonic())
    if (failing > 0) {
      failing--
      throw new Error(`start ${failing}`)
    }
    if (how === 'ignore') return ignore
    return {
      fail(text) {
        throw new Error(text)
      },
      exit() {
        throw new ActorExit({ kind: 'shutdown', message: 'enough' })
      },
      ping: () => 'pong',
      unlink: () => context.unlink(context.parent!),
    }
  },
})

type Ticker = Contract<{ tick(): void }>
/** Called at each tick; whether there is to be another one. */
let tick = () => false
const ticker = actor<Ticker>({
  name: 'ticker',
  module: import.meta.url,
  init: (context) => ({
    tick() {
      if (tick()) context.self.tell('tick')
    },
  }),
})

const sup = supervisor<SupervisorSpec>({
  name: 'sup',
  module: import.meta.url,
  init: (_context, spec) => spec,
})

let system: TestSystem
let ref: ActorRef<SupervisorContract>
afterEach(() => system.stop())

async function start(
  spec: Partial<SupervisorSpec>,
  child: Partial<ChildSpec> = {},
  seed?: number,
): Promise<void> {
  starts = []
  failing = 0
  const children = [{ id: 'a', actor: fragile, args: '', registerAs: 'a', ...child }]
  const args = { strategy: 'one_for_one', intensity: 1e6, children, ...spec }
  system = await TestSystem.start({
    children: [
      { id: 'ticker', actor: ticker, registerAs: 'ticker' },
      { id: 'sup', actor: sup, args, registerAs: 'sup' },
    ],
    ...(seed === undefined ? {} : { seed }),
  })
  ref = system.whereis<SupervisorContract>('sup')!
}

async function fail(text = 'failed'): Promise<void> {
  system.whereis<Fragile>('a')!.tell('fail', text)
  await system.settle()
}

/** Milliseconds between starts. */
const waits = () => starts.slice(1).map((at, index) => at - starts[index]!)

describe('with a backoff', () => {
  const backoff: Backoff = { minMs: 100, maxMs: 1_000, jitter: 0 }

  test('restarts wait longer each time, up to the longest', async () => {
    await start({ backoff })
    for (let i = 0; i < 6; i++) {
      await fail()
      await system.advance(1_000)
      if (i === 0) starts.length = 2
    }
    // It ran for the rest of each second, which is less than the second after which the waits begin anew.
    expect(waits()).toEqual([100, 900 + 200, 800 + 400, 600 + 800, 200 + 1_000, 1_000])
  })

  test('a restart that fails waits, too, and what ran for long begins anew', async () => {
    await start({}, { backoff })
    failing = 3
    await fail()
    await system.advance(100 + 200 + 400 + 800)
    expect(waits()).toEqual([100, 200, 400, 800])
    await system.advance(5_000)
    await fail()
    await system.advance(100)
    expect(waits().at(-1)).toBe(5_100)
  })

  test('the child is restarting while it waits, and can be terminated', async () => {
    await start({ backoff })
    await fail()
    expect(await ref.ask('whichChildren')).toMatchObject([{ id: 'a', state: 'restarting', ref: null }])
    expect(await ref.ask('restartChild', 'a')).toEqual({ ok: false, error: 'restarting' })
    expect(await ref.ask('terminateChild', 'a')).toEqual({ ok: true })
    await system.advance(10_000)
    expect(starts.length).toBe(1)
    expect(await ref.ask('restartChild', 'a')).toMatchObject({ ok: true })
  })

  test('of one_for_all the others do not run on while it waits', async () => {
    const children = ['a', 'b', 'c'].map((id) => ({ id, actor: fragile, args: '', registerAs: id }))
    await start({ strategy: 'one_for_all', backoff, children })
    await fail()
    expect(['a', 'b', 'c'].map((id) => system.whereis(id))).toEqual([undefined, undefined, undefined])
    await system.advance(100)
    expect(await system.whereis<Fragile>('c')!.ask('ping')).toBe('pong')
  })

  test('jitter shortens the waits, from the seed of the system', async () => {
    const seen: number[][] = []
    for (const seed of [1, 1, 2]) {
      await start({ backoff: { minMs: 1_000, maxMs: 60_000, jitter: 0.5 } }, {}, seed)
      failing = 4
      await fail()
      await system.advance(60_000)
      seen.push(waits())
      await system.stop()
    }
    expect(seen[0]).toEqual(seen[1])
    expect(seen[2]).not.toEqual(seen[1])
    for (const [index, wait] of seen[0]!.entries()) {
      expect(wait).toBeGreaterThanOrEqual(500 * 2 ** index)
      expect(wait).toBeLessThanOrEqual(1_000 * 2 ** index)
    }
  })

  test.each([
    { name: 'no longest wait', backoff: { minMs: 1 } },
    { name: 'the longest shorter than the first', backoff: { minMs: 2, maxMs: 1 } },
    { name: 'a jitter of 2', backoff: { minMs: 1, maxMs: 2, jitter: 2 } },
    { name: 'a factor that shortens', backoff: { minMs: 1, maxMs: 2, factor: 0.5 } },
  ])('$name is refused', async ({ backoff: wrong }) => {
    await start({})
    const spec = { id: 'x', actor: fragile, args: '', backoff: wrong }
    expect(await ref.ask('startChild', spec)).toMatchObject({ ok: false, error: 'invalid' })
  })
})

describe('the last crashes of a child', () => {
  test('are kept, five at most, without their stacks', async () => {
    await start({})
    for (let i = 1; i <= 7; i++) {
      await fail(`number ${i}`)
      await system.advance(10)
    }
    const [row] = await ref.ask('whichChildren')
    expect(row!.restarts).toBe(7)
    expect(row!.crashes.map(({ reason }) => reason)).toEqual(
      [3, 4, 5, 6, 7].map((i) => ({ kind: 'error', message: `number ${i}` })),
    )
    expect(row!.crashes[4]!.atMs - row!.crashes[3]!.atMs).toBe(10)
  })

  test('are seen in the tree, on whatever thread it lives', async () => {
    starts = []
    system = await TestSystem.start({
      threads: { others: 1 },
      children: [{ id: 'a', actor: fragile, args: '', registerAs: 'a', placement: { pool: 'others' } }],
    })
    await fail('there')
    await system.settle()
    const [root] = await system.inspect()
    expect(root!.children).toMatchObject([
      { name: 'fragile', restarts: 1, crashes: [{ reason: { message: 'there' } }] },
    ])
  })

  test('do not contain ends that were well', async () => {
    await start({})
    system.whereis<Fragile>('a')!.tell('exit')
    await system.settle()
    expect(await ref.ask('whichChildren')).toMatchObject([
      { state: 'running', restarts: 1, lastExit: { kind: 'shutdown', message: 'enough' }, crashes: [] },
    ])
  })
})

describe('ignore', () => {
  test('from init is an answer of its own, and the spec stays', async () => {
    await start({})
    const spec = { id: 'b', actor: fragile, args: 'ignore' }
    expect(await ref.ask('startChild', spec)).toEqual({ ok: false, error: 'ignored' })
    expect(await ref.ask('whichChildren')).toMatchObject([
      { id: 'a' },
      { id: 'b', state: 'stopped', ref: null },
    ])
    expect(await ref.ask('restartChild', 'b')).toEqual({ ok: false, error: 'ignored' })
  })

  test('of an actor nobody supervises is a normal end', async () => {
    await start({})
    const ignored = system.spawn(fragile, 'ignore')
    await expect(ignored.ask('ping')).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { kind: 'normal' },
    })
  })
})

test('a child cannot unlink from its supervisor', async () => {
  await start({}, { restart: 'temporary' })
  await expect(system.whereis<Fragile>('a')!.ask('unlink')).rejects.toMatchObject({
    code: 'MA_DOWN',
    exitReason: { code: 'MA_USAGE' },
  })
})

describe('with 100 000 children', () => {
  const count = 100_000
  const step = 5_000
  type Idle = Contract<{ quit(): void }>
  const idle = actor<Idle, number>({
    name: 'idle',
    module: import.meta.url,
    init: (context) => ({ quit: () => context.stop() }),
  })

  test.each(['one_for_one', 'simple_one_for_one'] as const)(
    '%s answers others while they start, end and stop',
    async (strategy) => {
      const template = { id: 'each', actor: idle, restart: 'transient' } as const
      await start({ strategy, children: strategy === 'one_for_one' ? [] : [template] })
      const refs: ActorRef<Idle>[] = []
      let between = 0
      for (let i = 0; i < count; i += step) {
        let done = 0
        const starting = Array.from({ length: step }, async (_, k) => {
          const spec = strategy === 'one_for_one' ? { ...template, id: `c${i + k}`, args: k } : k
          const answer = await ref.ask('startChild', spec)
          if (answer.ok) refs.push(answer.ref as ActorRef as ActorRef<Idle>)
          done++
          // Another request is answered among those that wait, not after them all.
          if (k === step / 2) void ref.ask('countChildren').then(() => (between += done < step ? 1 : 0))
        })
        await Promise.all(starting)
      }
      expect(refs.length).toBe(count)
      expect((await ref.ask('countChildren')).active).toBe(count)

      // Nine of ten end at once: a request does not wait for all of these ends.
      let ended = 0
      system.system.events.on('actor.terminated', () => ended++)
      for (const [index, each] of refs.entries()) if (index % 10 !== 0) each.tell('quit')
      const probe = system.spawn(prober, undefined)
      probe.tell('begin', ref as never)
      await system.settle()
      expect(ended).toBe(count * 0.9)
      expect(await probe.ask('answers')).toBeGreaterThan(100)
      expect((await ref.ask('countChildren')).active).toBe(count / 10)

      // Others run while it stops the rest.
      const seen = new Set<number>()
      tick = () => {
        seen.add(ended)
        return ended < count
      }
      system.whereis<Ticker>('ticker')!.tell('tick')
      await system.stop()
      expect(ended).toBeGreaterThanOrEqual(count)
      // Those of a simple_one_for_one are all asked at once, and end within a few rounds of the run queue.
      expect(seen.size).toBeGreaterThan(strategy === 'one_for_one' ? 50 : 1)
    },
    60_000,
  )

  /** Asks again and again, until it is told the ends are over. */
  const prober = actor<Contract<{ begin(sup: ActorRef): void; answers(): number }>>({
    name: 'prober',
    module: import.meta.url,
    init() {
      let answers = 0
      return {
        async begin(target) {
          const asked = target as ActorRef as ActorRef<SupervisorContract>
          for (let i = 0; i < 200; i++) {
            await asked.ask('deleteChild', 'nobody')
            answers++
          }
        },
        answers: () => answers,
      }
    },
  })

  test('is stopped while it has yet to hear that all of them have ended', async () => {
    await start({ strategy: 'one_for_one', intensity: 0, children: [] })
    const refs: ActorRef[] = []
    for (let i = 0; i < count; i += step) {
      const spec = (k: number) => ({ id: `c${i + k}`, actor: idle, args: k, restart: 'transient' }) as const
      const answers = await Promise.all(
        Array.from({ length: step }, (_, k) => ref.ask('startChild', spec(k))),
      )
      for (const answer of answers) if (answer.ok) refs.push(answer.ref as ActorRef)
    }
    let ended = 0
    system.system.events.on('actor.terminated', () => ended++)
    // Looking for the end of each one among all that wait would take minutes.
    for (const each of refs) (each as ActorRef<Idle>).tell('quit')
    await ref.ask('countChildren')
    for (const each of refs) system.kill(each)
    await system.run(system.stop())
    expect(ended).toBeGreaterThanOrEqual(count)
  })
})
