import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type ActorRef,
  ActorSystem,
  actor,
  type ChildSpec,
  type Contract,
  type SupervisorContract,
  type SupervisorSpec,
  supervisor,
} from '../../src/index.ts'

type Worker = Contract<{ fail(): void; quit(): void; id(): number; ping(): string }>

/** What happened, in order: `start a`, `stop a shutdown`. */
let trace: string[]
let failStart: Map<string, number>
let system: ActorSystem

const worker = actor<Worker, string>({
  name: 'worker',
  module: import.meta.url,
  init(context, name) {
    const fails = failStart.get(name) ?? 0
    if (fails > 0) {
      failStart.set(name, fails - 1)
      trace.push(`fail ${name}`)
      throw new Error(`${name} does not start`)
    }
    trace.push(`start ${name}`)
    return {
      fail() {
        throw new Error('failed')
      },
      quit: () => context.stop(),
      id: () => context.self.id,
      ping: () => name,
      terminate(reason) {
        trace.push(`stop ${name} ${reason.kind}`)
      },
    }
  },
})

const sup = supervisor<SupervisorSpec>({
  name: 'sup',
  module: import.meta.url,
  init: (_context, spec) => spec,
})

const child = (id: string, rest: Partial<ChildSpec> = {}): ChildSpec => ({
  id,
  actor: worker,
  args: id,
  registerAs: id,
  ...rest,
})

async function start(
  spec: SupervisorSpec,
  rest: Partial<ChildSpec> = {},
): Promise<ActorRef<SupervisorContract>> {
  system = await ActorSystem.start({
    children: [{ id: 'sup', actor: sup, args: spec, registerAs: 'sup', ...rest }],
  })
  return system.whereis<SupervisorContract>('sup')!
}

const who = (name: string) => system.whereis<Worker>(name)

/** Waits until `condition` holds, 2 s at most. */
async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 2_000
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never came true; trace: ${trace.join(', ')}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const fail = (name: string) =>
  who(name)!
    .ask('fail')
    .catch(() => {})

beforeEach(() => {
  trace = []
  failStart = new Map()
})
afterEach(() => system?.stop())

describe('a supervisor', () => {
  test('starts its children in order and stops them in reverse', async () => {
    await start({ strategy: 'one_for_one', children: [child('a'), child('b'), child('c')] })
    await system.stop()
    expect(trace).toEqual([
      'start a',
      'start b',
      'start c',
      'stop c shutdown',
      'stop b shutdown',
      'stop a shutdown',
    ])
  })

  test('that cannot start a child stops the others and does not start', async () => {
    failStart.set('b', 1)
    const starting = start({ strategy: 'one_for_one', children: [child('a'), child('b'), child('c')] })
    await expect(starting).rejects.toMatchObject({
      code: 'MA_START',
      message: expect.stringContaining('b does not start'),
    })
    expect(trace).toEqual(['start a', 'fail b', 'stop a shutdown'])
  })

  test.each([
    { name: 'two equal ids', spec: { strategy: 'one_for_one', children: [child('a'), child('a')] } },
    { name: 'unknown strategy', spec: { strategy: 'all', children: [] } },
    {
      name: 'significant permanent child',
      spec: { strategy: 'one_for_one', children: [child('a', { significant: true })] },
    },
    { name: 'negative intensity', spec: { strategy: 'one_for_one', intensity: -1, children: [] } },
    {
      name: 'shutdown without sense',
      spec: { strategy: 'one_for_one', children: [child('a', { shutdown: -5 })] },
    },
  ])('refuses a spec with $name', async ({ spec }) => {
    await expect(start(spec as SupervisorSpec)).rejects.toMatchObject({ code: 'MA_START' })
    expect(trace).toEqual([])
  })
})

describe('one_for_one', () => {
  test('restarts the child that failed alone, under its name', async () => {
    await start({ strategy: 'one_for_one', children: [child('a'), child('b')] })
    const before = await who('a')!.ask('id')
    await fail('a')
    await until(() => who('a') !== undefined)
    expect(await who('a')!.ask('id')).not.toBe(before)
    expect(trace).toEqual(['start a', 'start b', 'stop a error', 'start a'])
  })

  test.each([
    { restart: 'permanent', how: 'quit', again: true },
    { restart: 'transient', how: 'quit', again: false },
    { restart: 'transient', how: 'fail', again: true },
    { restart: 'temporary', how: 'fail', again: false },
  ] as const)('a $restart child that ends by $how is restarted: $again', async ({ restart, how, again }) => {
    const ref = await start({ strategy: 'one_for_one', children: [child('a', { restart })] })
    await who('a')!
      .ask(how)
      .catch(() => {})
    await until(() => trace.length >= 2)
    const [row] = await ref.ask('whichChildren')
    if (again) await until(() => trace.at(-1) === 'start a')
    expect(row?.state).toBe(again ? 'running' : restart === 'temporary' ? undefined : 'stopped')
  })
})

describe('one_for_all', () => {
  test('stops the others in reverse order and restarts all in order', async () => {
    await start({ strategy: 'one_for_all', children: [child('a'), child('b'), child('c')] })
    trace = []
    await fail('b')
    await until(() => trace.at(-1) === 'start c')
    expect(trace).toEqual([
      'stop b error',
      'stop c shutdown',
      'stop a shutdown',
      'start a',
      'start b',
      'start c',
    ])
  })
})

describe('rest_for_one', () => {
  test('restarts those started after the one that failed', async () => {
    await start({ strategy: 'rest_for_one', children: [child('a'), child('b'), child('c')] })
    trace = []
    await fail('b')
    await until(() => trace.at(-1) === 'start c')
    expect(trace).toEqual(['stop b error', 'stop c shutdown', 'start b', 'start c'])
  })
})

describe('too many restarts', () => {
  test('end the supervisor, and its parent restarts it', async () => {
    await start({ strategy: 'one_for_one', intensity: 1, children: [child('a'), child('b')] })
    await fail('a')
    await until(() => trace.length === 4)
    trace = []
    await fail('a')
    await until(() => trace.at(-1) === 'start b')
    expect(trace).toEqual(['stop a error', 'stop b shutdown', 'start a', 'start b'])
  })

  test('end the system when it is the root that gives up', async () => {
    await start({ strategy: 'one_for_one', intensity: 0, children: [child('a')] })
    for (let i = 0; i < 4; i++) {
      await until(() => who('a') !== undefined)
      await fail('a')
    }
    await expect(system.ended).resolves.toMatchObject({ kind: 'shutdown', message: /too many restarts/ })
  })

  test('a restart that fails is tried again and counts', async () => {
    await start({ strategy: 'one_for_one', intensity: 3, children: [child('a')] })
    failStart.set('a', 2)
    trace = []
    await fail('a')
    await until(() => trace.at(-1) === 'start a')
    expect(trace).toEqual(['stop a error', 'fail a', 'fail a', 'start a'])
  })

  test('a stop gets in between restarts that fail', async () => {
    const ref = await start({ strategy: 'one_for_one', intensity: 1e9, children: [child('a')] })
    failStart.set('a', Infinity)
    await fail('a')
    await until(() => trace.length > 20)
    expect(await ref.ask('terminateChild', 'a')).toEqual({ ok: true })
    const { length } = trace
    expect(await ref.ask('whichChildren')).toMatchObject([{ state: 'stopped' }])
    expect(trace.length).toBe(length)
  })
})

describe('shutdown', () => {
  const stubborn = actor<Contract<{ x(): void }>>({
    name: 'stubborn',
    module: import.meta.url,
    init: () => ({ x() {}, terminate: () => new Promise<void>(() => {}) }),
  })

  test('kills a child that takes longer than its time', async () => {
    system = await ActorSystem.start({ children: [{ id: 's', actor: stubborn, shutdown: 10 }] })
    const reasons: string[] = []
    system.events.on('actor.terminated', ({ name, reason }) => reasons.push(`${name} ${reason.kind}`))
    await system.stop()
    expect(reasons).toEqual(['stubborn killed', 'root shutdown'])
  })

  test('with brutal_kill does not ask', async () => {
    await start({ strategy: 'one_for_one', children: [child('a', { shutdown: 'brutal_kill' })] })
    await system.stop()
    expect(trace).toEqual(['start a'])
  })
})

describe('significant children', () => {
  test.each(['any_significant', 'all_significant'] as const)(
    'end the supervisor: %s',
    async (autoShutdown) => {
      const spec = { restart: 'transient', significant: true } as const
      await start(
        { strategy: 'one_for_one', autoShutdown, children: [child('a', spec), child('b', spec), child('c')] },
        { restart: 'temporary' },
      )
      await who('a')!.ask('quit')
      if (autoShutdown === 'all_significant') {
        await until(() => who('a') === undefined)
        expect(await who('c')!.ask('ping')).toBe('c')
        await who('b')!.ask('quit')
      }
      await until(() => system.whereis('sup') === undefined)
      expect(trace).toContain('stop c shutdown')
    },
  )
})

describe('requests', () => {
  test('get the answers OTP gives', async () => {
    const ref = await start({ strategy: 'one_for_one', children: [child('a')] })
    expect(await ref.ask('startChild', child('a', { registerAs: 'z' }))).toMatchObject({
      error: 'already_started',
    })
    expect(await ref.ask('restartChild', 'a')).toMatchObject({ error: 'running' })
    expect(await ref.ask('deleteChild', 'a')).toMatchObject({ error: 'running' })
    expect(await ref.ask('terminateChild', 'x')).toMatchObject({ error: 'not_found' })
    expect(await ref.ask('terminateChild', 'a')).toEqual({ ok: true })
    expect(await ref.ask('startChild', child('a'))).toMatchObject({ error: 'already_present' })
    expect(await ref.ask('restartChild', 'a')).toMatchObject({ ok: true })
    expect(await ref.ask('terminateChild', 'a')).toEqual({ ok: true })
    expect(await ref.ask('deleteChild', 'a')).toEqual({ ok: true })
    expect(await ref.ask('restartChild', 'a')).toMatchObject({ error: 'not_found' })
    expect(await ref.ask('startChild', child('b'))).toMatchObject({ ok: true })
    failStart.set('c', 1)
    expect(await ref.ask('startChild', child('c'))).toMatchObject({
      error: 'failed',
      reason: { kind: 'error', message: 'c does not start' },
    })
    expect(await ref.ask('startChild', { id: 'd' })).toMatchObject({ error: 'invalid' })
    expect(await ref.ask('countChildren')).toEqual({ specs: 1, active: 1, supervisors: 0, workers: 1 })
  })

  test('to a simple_one_for_one start children from its template', async () => {
    const ref = await start({
      strategy: 'simple_one_for_one',
      children: [{ id: 'template', actor: worker, restart: 'transient' }],
    })
    const one = await ref.ask('startChild', 'x')
    const two = await ref.ask('startChild', 'y')
    expect(one).toMatchObject({ ok: true })
    expect(await ref.ask('countChildren')).toMatchObject({ specs: 1, active: 2 })
    const rows = await ref.ask('whichChildren')
    expect(await ref.ask('restartChild', rows[0]!.id)).toMatchObject({ error: 'simple_one_for_one' })
    expect(await ref.ask('terminateChild', rows[0]!.id)).toEqual({ ok: true })
    expect(await ref.ask('countChildren')).toMatchObject({ active: 1 })
    expect(two).toMatchObject({ ok: true })
  })
})

describe('temporary children that are concurrent', () => {
  const slow = actor<Contract<{ x(): void }>, number>({
    name: 'slow',
    module: import.meta.url,
    init: () => new Promise(() => {}),
  })

  test('that are slow to start do not hold up others', async () => {
    const ref = await start({ strategy: 'one_for_one', concurrent: true, children: [] })
    const slowly = ref.ask('startChild', { id: 'slow', actor: slow, args: 1, restart: 'temporary' })
    expect(await ref.ask('startChild', child('a', { restart: 'temporary' }))).toMatchObject({ ok: true })
    expect(await ref.ask('terminateChild', 'slow')).toEqual({ ok: true })
    expect(await slowly).toMatchObject({ ok: false, error: 'failed', reason: { kind: 'shutdown' } })
  })

  test('come and go by the hundred thousand', async () => {
    const ref = await start({ strategy: 'one_for_one', concurrent: true, children: [] })
    const count = 100_000
    const step = 5_000
    for (let i = 0; i < count; i += step) {
      const starts = Array.from({ length: step }, (_, k) =>
        ref.ask('startChild', { id: `t${i + k}`, actor: worker, args: `t${i + k}`, restart: 'temporary' }),
      )
      for (const answer of await Promise.all(starts)) expect(answer.ok).toBe(true)
    }
    expect(await ref.ask('countChildren')).toMatchObject({ active: count })
    expect(await ref.ask('terminateChild', 't0')).toEqual({ ok: true })
    trace = []
    await system.stop()
    expect(trace.length).toBe(count - 1)
  })
})
