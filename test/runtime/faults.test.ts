/** Whatever an actor does wrong: a typed error or exit reason, and its siblings go on. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  type ActorRef,
  ActorSystem,
  type ChildSpec,
  type ExitReason,
  type SupervisorContract,
  type SystemOptions,
} from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { type Faulty, faulty, slowTree, tree } from './fault-actors.ts'

let system: ActorSystem
afterEach(() => system?.stop({ timeoutMs: 1_000 }))

const start = async (options: SystemOptions = {}) => {
  system = await ActorSystem.start(options)
  return system
}
const spawn = (pool?: string): ActorRef<Faulty> =>
  system.spawn(faulty, {}, pool === undefined ? {} : { placement: { pool } })

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** How the actor ended, as a monitor on main is told. */
function endOf(ref: ActorRef<Faulty>): Promise<ExitReason> {
  const watcher = spawn()
  return watcher.askWith({ timeoutMs: 10_000 }, 'watch', ref)
}

/** The program's handler of uncaught errors, as the documents tell people to write it. */
function attributing(): { readonly rest: unknown[]; readonly off: () => void } {
  const rest: unknown[] = []
  const handle = (error: unknown): void => {
    if (!system.attribute(error)) rest.push(error)
  }
  const before = {
    uncaughtException: process.listeners('uncaughtException'),
    unhandledRejection: process.listeners('unhandledRejection'),
  }
  process.removeAllListeners('uncaughtException')
  process.removeAllListeners('unhandledRejection')
  process.on('uncaughtException', handle)
  return {
    rest,
    off() {
      process.off('uncaughtException', handle)
      for (const listener of before.uncaughtException) process.on('uncaughtException', listener)
      for (const listener of before.unhandledRejection) process.on('unhandledRejection', listener)
    },
  }
}

describe('child specs', () => {
  const bad: { name: string; spec: unknown }[] = [
    { name: 'null', spec: null },
    { name: 'a text', spec: 'x' },
    { name: 'no id', spec: { actor: faulty } },
    { name: 'an id that is no text', spec: { id: 1, actor: faulty } },
    { name: 'no actor', spec: { id: 'x' } },
    { name: 'an actor that is none', spec: { id: 'x', actor: { kind: 'actress' } } },
    { name: 'a restart type that is none', spec: { id: 'x', actor: faulty, restart: 'sometimes' } },
    { name: 'a shutdown of NaN', spec: { id: 'x', actor: faulty, shutdown: Number.NaN } },
    { name: 'a negative shutdown', spec: { id: 'x', actor: faulty, shutdown: -1 } },
    { name: 'a placement that is none', spec: { id: 'x', actor: faulty, placement: { pol: 'a' } } },
    { name: 'a placement of null', spec: { id: 'x', actor: faulty, placement: null } },
    { name: 'nextTo what is no ref', spec: { id: 'x', actor: faulty, placement: { nextTo: {} } } },
    { name: 'a name that is no text', spec: { id: 'x', actor: faulty, registerAs: 7 } },
    { name: 'an empty name', spec: { id: 'x', actor: faulty, registerAs: '' } },
    { name: 'a misspelt pool', spec: { id: 'x', actor: faulty, placement: { pool: 'aa' } } },
  ]

  test.each(bad)(
    '$name: a typed answer to startChild, a typed error at the start, and siblings go on',
    async ({ spec }) => {
      await start({
        pools: { a: {} },
        children: [{ id: 'good', actor: faulty, args: {}, registerAs: 'good' }],
      })
      const answer = await system.startChild(spec as ChildSpec)
      expect(answer).toMatchObject({ ok: false, error: expect.stringMatching(/^(?:invalid|failed)$/) })
      expect((answer as { reason: ExitReason }).reason.message).not.toBe('')
      expect(await system.whereis<Faulty>('good')!.ask('ping')).toBe(0)
      await expect(
        ActorSystem.start({ pools: { a: {} }, children: [spec as ChildSpec] }),
      ).rejects.toMatchObject({
        code: 'MA_START',
      })
    },
  )
})

describe('an actor', () => {
  test('that throws in init: its start fails with the reason, and its siblings go on', async () => {
    await start()
    const sibling = spawn()
    for (const at of ['init', 'asyncInit'] as const) {
      const answer = await system.startChild({
        id: at,
        actor: faulty,
        args: { throwIn: at },
        restart: 'temporary',
      })
      expect(answer).toMatchObject({ ok: false, error: 'failed', reason: { kind: 'error', message: at } })
    }
    expect(await sibling.ask('ping')).toBe(0)
  })

  test.each(['terminate', 'asyncTerminate'] as const)(
    'that throws in %s ends with that error, and the stop goes on',
    async (at) => {
      await start()
      const ref = system.spawn(faulty, { throwIn: at })
      const end = endOf(ref)
      await ref.ask('ping')
      ref.tell('stop')
      expect(await end).toMatchObject({ kind: 'error', message: at })
      system.spawn(faulty, { throwIn: at })
      await system.stop()
    },
  )

  test('that never answers costs its caller a timeout, and nobody else anything', async () => {
    await start()
    const [mute, sibling] = [spawn(), spawn()]
    await expect(mute.askWith({ timeoutMs: 20 }, 'never')).rejects.toMatchObject({ code: 'MA_TIMEOUT' })
    expect(await sibling.ask('ping')).toBe(0)
  })

  test('that is killed at once takes nobody along', async () => {
    await start()
    const first = spawn()
    system.kill(first)
    expect(await spawn().ask('ping')).toBe(0)
  })

  test.each(['thenThrows', 'thenTwice', 'thenNever', 'proxy', 'foreignPromise', 'nested'] as const)(
    'that returns an odd promise settles or times out: %s',
    async (how) => {
      await start()
      const [odd, sibling] = [spawn(), spawn()]
      const outcome = await odd
        .askWith({ timeoutMs: 200 }, 'odd', how)
        .catch((error: { code: string }) => error.code)
      expect(outcome).toBe(
        {
          thenThrows: 'MA_DOWN',
          thenTwice: 1,
          thenNever: 'MA_TIMEOUT',
          proxy: 'MA_DOWN',
          foreignPromise: 2,
          nested: 3,
        }[how],
      )
      expect(await sibling.ask('ping')).toBe(0)
    },
  )

  test('that is flooded refuses what is too much and handles the rest', async () => {
    await start({ pools: { a: {} } })
    for (const pool of [undefined, 'a']) {
      const [flooded, sibling] = [spawn(pool), spawn(pool)]
      await flooded.ask('ping')
      let taken = 0
      for (let i = 0; i < 200_000; i++) if (flooded.tell('count')) taken++
      // Another thread may be fast enough to empty the ring all the while; its queue refuses then.
      if (pool === undefined) expect(taken).toBeLessThan(200_000)
      // Both share the ring, and while that is full it refuses the sibling's asks too.
      if (pool === undefined) expect(await sibling.ask('ping')).toBe(flooded.thread)
      else {
        await until(
          'its sibling answers',
          async () => (await sibling.ask('ping').catch(() => undefined)) === flooded.thread,
        )
      }
      await until(
        'it has handled what it took',
        async () => (await flooded.ask('counted').catch(() => 0)) > 0,
      )
      const counted = await flooded.ask('counted')
      // To another thread the queue's bound is behind the ring's: what it refuses there is a dead letter.
      if (pool === undefined) expect(counted).toBe(taken)
      else expect(counted).toBeLessThanOrEqual(taken)
    }
  })
})

describe('code that nobody called for the actor', () => {
  const ways = [
    'timeout',
    'immediate',
    'microtask',
    'nextTick',
    'rejection',
    'laterRejection',
    'emitter',
    'bound',
  ] as const

  test.each(ways)('on main, attributed by the program: %s', async (how) => {
    await start()
    const handler = attributing()
    try {
      const [ref, sibling] = [spawn(), spawn()]
      const end = endOf(ref)
      await ref.ask('ping')
      ref.tell('throwFrom', how)
      expect(await end).toMatchObject({ kind: 'error', message: how })
      expect(await sibling.ask('ping')).toBe(0)
      expect(handler.rest).toEqual([])
    } finally {
      handler.off()
    }
  })

  test.each(ways)('on another thread: %s', async (how) => {
    await start({ pools: { a: {} } })
    const [ref, sibling] = [spawn('a'), spawn('a')]
    const end = endOf(ref)
    await ref.ask('ping')
    ref.tell('throwFrom', how)
    expect(await end).toMatchObject({ kind: 'error', message: how })
    expect(await sibling.ask('ping')).toBe(ref.thread)
  })

  test('of two systems in one process each attributes its own', async () => {
    await start()
    const other = await ActorSystem.start()
    const handler = attributing()
    try {
      const theirs = other.spawn(faulty, {})
      await theirs.ask('ping')
      theirs.tell('throwFrom', 'timeout')
      await until('it is left to the program', () => handler.rest.length > 0)
      expect(await spawn().ask('ping')).toBe(0)
    } finally {
      handler.off()
      await other.stop()
    }
  })
})

describe('a thread', () => {
  test.each([
    { how: 'whose handler blocks for ever', message: 'block' as const, kill: true },
    { how: 'whose heap is exhausted', message: 'exhaust' as const, kill: false },
    { how: 'that calls process.exit', message: 'exit' as const, kill: false },
    { how: 'that throws what is nobody’s', message: 'throwOutside' as const, kill: false },
    { how: 'that rejects what is nobody’s', message: 'rejectOutside' as const, kill: false },
  ])(
    '$how: its actors end with thread_exit, others go on, and another takes over',
    async ({ message, kill }) => {
      await start({
        pools: { a: { resourceLimits: { maxOldGenerationSizeMb: 24, maxYoungGenerationSizeMb: 4 } }, b: {} },
      })
      const [bad, neighbour, other] = [spawn('a'), spawn('a'), spawn('b')]
      expect(neighbour.thread).toBe(bad.thread)
      const ends = [endOf(bad), endOf(neighbour)]
      await Promise.all([bad.ask('ping'), neighbour.ask('ping'), other.ask('ping')])
      const waiting = neighbour.askWith({ timeoutMs: Infinity }, 'never')
      // It may be rejected before it is looked at below.
      waiting.catch(() => {})
      bad.tell(message)
      expect(await other.ask('ping')).toBe(other.thread)
      if (kill) system.killThread(bad.thread)
      await expect(waiting).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { kind: 'thread_exit' } })
      for (const end of ends) expect((await end).kind).toBe('thread_exit')
      expect(await other.ask('ping')).toBe(other.thread)
      expect(await spawn('a').askWith({ timeoutMs: 10_000 }, 'ping')).not.toBe(bad.thread)
    },
  )
})

describe('a stop during a start', () => {
  test('of a child that starts slowly: the start is answered and nobody is left', async () => {
    for (let yields = 0; yields < 12; yields++) {
      const test = await TestSystem.start({ children: [{ id: 't', actor: slowTree, registerAs: 't' }] })
      const starting = test
        .whereis<SupervisorContract>('t')!
        .ask('startChild', { id: 'x', actor: slowTree, restart: 'transient' })
        .then(
          (answer) => answer.ok,
          (error: { code: string }) => error.code,
        )
      for (let i = 0; i < yields; i++) await new Promise((resolve) => setImmediate(resolve))
      await test.stop()
      expect([true, false, 'MA_DOWN', 'MA_NO_ACTOR', 'MA_TIMEOUT']).toContain(await starting)
      expect(await test.inspect()).toEqual([])
    }
  })

  test('of a system whose threads are starting: it stops, and leaves none', async () => {
    await start({ pools: { a: { minThreads: 1, maxThreads: 3, actorsPerThread: 1 } } })
    for (let i = 0; i < 3; i++) spawn('a')
    await system.stop()
    expect(await system.threads()).toHaveLength(1)
  })
})

test('two systems in one process know nothing of each other', async () => {
  await start({ pools: { a: {} } })
  const other = await ActorSystem.start({ pools: { a: {} } })
  try {
    const theirs = other.spawn(faulty, {}, { placement: { pool: 'a' }, registerAs: 'same' })
    const ours = system.spawn(faulty, {}, { placement: { pool: 'a' }, registerAs: 'same' })
    expect(await Promise.all([ours.ask('ping'), theirs.ask('ping')])).toEqual([ours.thread, theirs.thread])
    system.killThread(ours.thread)
    await until('its name is free', () => system.whereis('same') === undefined)
    expect(await other.whereis<Faulty>('same')!.ask('ping')).toBe(theirs.thread)
    await system.stop()
    expect(await theirs.ask('ping')).toBe(theirs.thread)
  } finally {
    await other.stop()
  }
})

test('a tree whose child always fails gives up, with the reason in its parent', async () => {
  await start({ children: [{ id: 'good', actor: faulty, args: {}, registerAs: 'good' }], intensity: 1_000 })
  const answer = await system.startChild({ id: 't', actor: tree, restart: 'temporary' })
  expect(answer).toMatchObject({
    ok: false,
    reason: { message: expect.stringContaining('init') },
  })
  expect(await system.whereis<Faulty>('good')!.ask('ping')).toBe(0)
})
