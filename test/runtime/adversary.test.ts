/** What an actor's code, or code around it, may do wrong without harming anyone but that actor. */
import { afterEach, describe, expect, test } from 'vitest'
import { type ActorRef, ActorSystem, actor, type Contract } from '../../src/index.ts'
import { createLogger } from '../../src/runtime/log.ts'
import { type Worker, worker } from './adversary-actors.ts'

type Odd = Contract<{
  throwIt(what: number): void
  returnIt(what: number): void
  ping(): number
}>

const thrown = [
  () => Object.create(null),
  () => Symbol('s'),
  () => undefined,
  () => ({
    toString() {
      throw new Error('no text either')
    },
  }),
  () =>
    Object.defineProperty(new Error('x'), 'message', {
      get() {
        throw new Error('no message')
      },
    }),
]

const returned = [
  () => ({
    // biome-ignore lint/suspicious/noThenProperty: the point of the test
    then() {
      throw new Error('then failed')
    },
  }),
  () => ({
    // biome-ignore lint/suspicious/noThenProperty: the point of the test
    get then() {
      throw new Error('no then')
    },
  }),
  () => ({
    // biome-ignore lint/suspicious/noThenProperty: the point of the test
    then(resolve: (value: number) => void, reject: (error: unknown) => void) {
      resolve(1)
      reject(new Error('and failed'))
      resolve(2)
    },
  }),
]

const odd = actor<Odd>({
  name: 'odd',
  module: import.meta.url,
  init: () => ({
    throwIt(what) {
      throw thrown[what]!()
    },
    returnIt: (what) => returned[what]!() as unknown as undefined,
    ping: () => 1,
  }),
})

let system: ActorSystem

afterEach(async () => {
  await system?.stop({ timeoutMs: 500 })
})

const within = { timeoutMs: 1_000 }

describe('one actor goes wrong and the others go on', () => {
  test.each([
    { name: 'an object without a prototype', what: 0 },
    { name: 'a symbol', what: 1 },
    { name: 'undefined', what: 2 },
    { name: 'an object that has no text', what: 3 },
    { name: 'an error whose message cannot be read', what: 4 },
  ])('it throws $name', async ({ what }) => {
    system = await ActorSystem.start()
    const bad = system.spawn(odd, undefined)
    const good = system.spawn(odd, undefined)
    await expect(bad.askWith(within, 'throwIt', what)).rejects.toMatchObject({ code: 'MA_DOWN' })
    expect(await good.askWith(within, 'ping')).toBe(1)
  })

  test.each([
    { name: 'throws when it is waited for', what: 0 },
    { name: 'throws when it is looked at', what: 1 },
  ])('it returns a promise that $name', async ({ what }) => {
    system = await ActorSystem.start()
    const bad = system.spawn(odd, undefined)
    const good = system.spawn(odd, undefined)
    await expect(bad.askWith(within, 'returnIt', what)).rejects.toMatchObject({ code: 'MA_DOWN' })
    expect(await good.askWith(within, 'ping')).toBe(1)
  })

  test('it returns a promise that settles more than once', async () => {
    system = await ActorSystem.start()
    const bad = system.spawn(odd, undefined)
    await bad.askWith(within, 'returnIt', 2)
    expect(await bad.askWith(within, 'ping')).toBe(1)
  })
})

describe('a message of the name of something else', () => {
  test.each(['toString', 'constructor', 'hasOwnProperty', '__proto__', 'terminate'])(
    '%s is unknown and does not end the actor',
    async (type) => {
      let goodbyes = 0
      const plain = actor<Contract<{ ping(): number }>>({
        name: 'plain',
        module: import.meta.url,
        init: () => ({
          ping: () => 1,
          terminate() {
            goodbyes++
          },
        }),
      })
      system = await ActorSystem.start()
      const ref = system.spawn(plain, undefined)
      const ask = ref.askWith as unknown as (options: object, type: string) => Promise<unknown>
      await expect(ask.call(ref, within, type)).rejects.toMatchObject({ code: 'MA_DOWN' })
      expect(await ref.askWith(within, 'ping')).toBe(1)
      expect(goodbyes).toBe(0)
    },
  )
})

describe('an observer', () => {
  test('that throws does not stop the system', async () => {
    system = await ActorSystem.start()
    const failures: unknown[] = []
    const swallow = (error: unknown) => failures.push(error)
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.on('uncaughtException', swallow)
    try {
      system.events.on('actor.terminated', () => {
        throw new Error('a bad observer')
      })
      const bad = system.spawn(odd, undefined)
      const good = system.spawn(odd, undefined)
      await expect(bad.askWith(within, 'throwIt', 2)).rejects.toMatchObject({ code: 'MA_DOWN' })
      // A timeout of the ask would do too: what matters is that the actor's turn comes.
      expect(await good.askWith(within, 'ping')).toBe(1)
    } finally {
      process.off('uncaughtException', swallow)
      for (const listener of listeners) process.on('uncaughtException', listener)
    }
  })
})

const inPool = { placement: { pool: 'workers' } } as const

async function startWithThreads(threads: number, options: Parameters<typeof ActorSystem.start>[0] = {}) {
  system = await ActorSystem.start({
    ...options,
    pools: { workers: { minThreads: threads, maxThreads: threads + 2 } },
  })
}

/** A worker on another thread than main, and than those of `others`. */
function workerElsewhere(...others: ActorRef<Worker>[]): ActorRef<Worker> {
  const taken = new Set([0, ...others.map((other) => other.thread)])
  for (let i = 0; i < 50; i++) {
    const ref = system.spawn(worker, undefined, inPool)
    if (!taken.has(ref.thread)) return ref
  }
  throw new Error('no other thread')
}

/** Resolves once `condition` holds. */
async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 10_000
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('between threads', () => {
  test('every ask settles exactly once, however its thread ends in the middle of the traffic', async () => {
    await startWithThreads(3)
    for (let round = 0; round < 5; round++) {
      const victim = workerElsewhere()
      const caller = workerElsewhere(victim)
      const count = 2_000
      const byActor = caller.askWith({ timeoutMs: 15_000 }, 'asks', victim, count)
      const byMain: Record<string, number> = {}
      const asks = Array.from({ length: count }, (_, i) =>
        victim.askWith({ timeoutMs: Infinity }, i % 7 === 0 ? 'never' : 'ping').then(
          () => {
            byMain.reply = (byMain.reply ?? 0) + 1
          },
          (error: { code: string }) => {
            byMain[error.code] = (byMain[error.code] ?? 0) + 1
          },
        ),
      )
      for (let i = 0; i < round * 3; i++) await new Promise((resolve) => setImmediate(resolve))
      victim.tell('dieThread')
      await Promise.all(asks)
      const sum = (how: Record<string, number>) => Object.values(how).reduce((a, b) => a + b, 0)
      expect(sum(byMain)).toBe(count)
      const how = await byActor
      expect(sum(how as Record<string, number>)).toBe(count)
      for (const code of [...Object.keys(how), ...Object.keys(byMain)]) {
        expect(['reply', 'MA_DOWN', 'MA_NO_ACTOR', 'MA_OVERLOADED']).toContain(code)
      }
    }
  }, 60_000)

  test('messages told right after the spawn arrive in order', async () => {
    await startWithThreads(2)
    for (let round = 0; round < 20; round++) {
      const ref = system.spawn(worker, undefined, inPool)
      let told = 0
      while (told < 1_000 && ref.tell('note', told)) told++
      expect(await ref.ask('notes')).toEqual(Array.from({ length: told }, (_, i) => i))
    }
  })

  test('a message that cannot be sent says so to who sent it, and does no harm', async () => {
    await startWithThreads(1)
    const ref = workerElsewhere()
    await expect(ref.ask('take', (() => 1) as never)).rejects.toMatchObject({ code: 'MA_USAGE' })
    expect(() => ref.tell('take', (() => 1) as never)).toThrow(expect.objectContaining({ code: 'MA_USAGE' }))
    // Right after its spawn too, when the other thread may not be connected yet.
    const fresh = system.spawn(worker, undefined, inPool)
    expect(() => fresh.tell('take', (() => 1) as never)).toThrow(
      expect.objectContaining({ code: 'MA_USAGE' }),
    )
    expect(await ref.ask('take', 1)).toBe('number')
    expect(await fresh.ask('take', 'x')).toBe('string')
  })

  test('a monitor tells of the end of a thread once, and of an actor of a dead thread at once', async () => {
    await startWithThreads(2)
    const victim = workerElsewhere()
    const watcher = workerElsewhere(victim)
    const down = watcher.askWith({ timeoutMs: 10_000 }, 'watch', victim)
    await watcher.ask('ping')
    victim.tell('dieThread')
    expect(await down).toBe('thread_exit')
    expect(await watcher.askWith(within, 'watch', victim)).toBe('no_actor')
    await expect(victim.askWith(within, 'ping')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
  })

  test('a start next to an actor whose thread has died settles', async () => {
    await startWithThreads(2)
    const victim = workerElsewhere()
    const watcher = workerElsewhere(victim)
    const down = watcher.askWith({ timeoutMs: 10_000 }, 'watch', victim)
    victim.tell('dieThread')
    await down
    await until(async () => {
      const code = await victim.askWith(within, 'ping').catch((error: { code: string }) => error.code)
      return code === 'MA_NO_ACTOR'
    }, 'main knows')
    const start = system.startChild({
      id: 'late',
      actor: worker,
      restart: 'temporary',
      placement: { nextTo: victim },
    })
    const timer = new Promise<'hangs'>((resolve) => setTimeout(resolve, 3_000, 'hangs'))
    expect(await Promise.race([start, timer])).not.toBe('hangs')
  })

  test('the end of a thread does not take along one that is just starting', async () => {
    const deaths: string[] = []
    const log = createLogger({
      level: 'warn',
      format: 'json',
      destination: { write: (line) => line.includes('"thread.exit"') && deaths.push(line) },
    })
    await startWithThreads(3, { log })
    const first = workerElsewhere()
    const second = workerElsewhere(first)
    first.tell('dieThread')
    // Its replacement is now on the way, with a link to the thread that dies next.
    await until(() => deaths.length === 1, 'the first end')
    second.tell('dieThread')
    await until(() => deaths.length === 2, 'the second end')
    await until(async () => {
      const refs = Array.from({ length: 6 }, () => system.spawn(worker, undefined, inPool))
      const asks = refs.map((ref) => ref.askWith({ timeoutMs: 2_000 }, 'ping').catch(() => 0))
      return new Set((await Promise.all(asks)).filter((thread) => thread > 0)).size === 3
    }, 'three threads again')
    expect(deaths.map((line) => JSON.parse(line).reason)).toEqual([expect.any(String), expect.any(String)])
  })

  test('starts that race with the end of threads all settle, and permanent children come back under their names', async () => {
    await startWithThreads(2, {
      intensity: 1_000,
      children: [
        { id: 'named', actor: worker, registerAs: 'named', placement: { pool: 'workers' } },
        { id: 'other', actor: worker, registerAs: 'other', placement: { pool: 'workers' } },
      ],
    })
    for (let round = 0; round < 4; round++) {
      const before = system.whereis<Worker>('named')!
      before.tell('dieThread')
      const starts = Array.from({ length: 40 }, (_, i) =>
        system.startChild({
          id: `t${round}.${i}`,
          actor: worker,
          restart: 'temporary',
          placement: { pool: 'workers' },
        }),
      )
      const results = await Promise.all(starts)
      expect(results).toHaveLength(40)
      await until(async () => {
        const now = system.whereis<Worker>('named')
        if (now === undefined || now.id === before.id) return false
        return await now.askWith({ timeoutMs: 500 }, 'ping').then(
          () => true,
          () => false,
        )
      }, 'the named child answers again')
      const named = system.whereis<Worker>('named')!
      const observer = workerElsewhere()
      await until(
        async () => (await observer.ask('find', 'named')) === named.id,
        'other threads know the new one',
      )
    }
  }, 60_000)

  test('a flood both ways neither loses an accepted message of the other side nor stops', async () => {
    await startWithThreads(2)
    const a = workerElsewhere()
    const b = workerElsewhere(a)
    const [x, y] = await Promise.all([
      a.askWith({ timeoutMs: 20_000 }, 'flood', b, 30_000),
      b.askWith({ timeoutMs: 20_000 }, 'flood', a, 30_000),
    ])
    expect(x).toBe(30_000)
    expect(y).toBe(30_000)
    const inOrder = (notes: readonly number[]) => notes.every((note, i) => i === 0 || note > notes[i - 1]!)
    expect(inOrder(await a.ask('notes'))).toBe(true)
    expect(inOrder(await b.ask('notes'))).toBe(true)
  }, 60_000)
})
