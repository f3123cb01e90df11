/** What a program can hand over that is not what it should be: refused where it is given, with what is wrong. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  ActorExit,
  type ActorOptions,
  type ActorRef,
  ActorSystem,
  actor,
  type Contract,
  type ExitReason,
  type Placement,
} from '../../src/index.ts'
import { echo } from './fixtures/actors.ts'
import { member } from './fixtures/pool-actors.ts'

const systems: ActorSystem[] = []

afterEach(async () => {
  await Promise.all(systems.splice(0).map((system) => system.stop()))
})

async function start(options: Parameters<typeof ActorSystem.start>[0] = {}): Promise<ActorSystem> {
  const system = await ActorSystem.start(options)
  systems.push(system)
  return system
}

const usage = (message: RegExp) =>
  expect.objectContaining({ code: 'MA_USAGE', message: expect.stringMatching(message) })
const work = { placement: { pool: 'a' } }

/** Without the types that would refuse it. */
const loose = (ref: unknown) =>
  ref as {
    tell(type: unknown, ...body: unknown[]): boolean
    ask(type: unknown, ...body: unknown[]): Promise<unknown>
    askWith(options: unknown, type: unknown, ...body: unknown[]): Promise<unknown>
    streamWith(options: unknown, type: unknown, ...body: unknown[]): unknown
  }

describe('a message', () => {
  test('whose type is no name is refused here and between threads, where it could be one of ours', async () => {
    const system = await start({ pools: { a: { minThreads: 1 } } })
    for (const ref of [system.spawn(member, undefined), system.spawn(member, undefined, work)]) {
      for (const type of [1, 3, 5, 8, undefined, null, {}, Symbol('x'), ['where']]) {
        expect(() => loose(ref).tell(type, 1, 2)).toThrow(usage(/^the type of a message is its name/))
        await expect(loose(ref).ask(type, 1, 2)).rejects.toThrow(usage(/^the type of a message is its name/))
      }
      expect(await ref.ask('where')).toBe(ref.thread)
    }
  })

  test('with a ref of another system is refused: its numbers mean another actor there', async () => {
    const [one, other] = [await start({ pools: { a: { minThreads: 1 } } }), await start()]
    const foreign = other.spawn(echo, undefined)
    const ref = one.spawn(echo, undefined, work)
    for (const body of [foreign, { to: foreign, and: new Uint8Array(3) }]) {
      await expect(loose(ref).ask('echo', body)).rejects.toThrow(usage(/another system/))
    }
    expect(() => one.kill(foreign)).toThrow(usage(/not an ActorRef of this system/))
    expect(() => one.spawn(echo, undefined, { placement: { nextTo: foreign } })).toThrow(usage(/this system/))
    expect(await loose(ref).ask('echo', 1)).toBe(1)
    expect(await loose(foreign).ask('echo', 2)).toBe(2)
  })
})

describe('an ask', () => {
  test.each([
    { options: { timeoutMs: Number.NaN }, message: /timeoutMs NaN must be milliseconds/ },
    { options: { timeoutMs: -5 }, message: /timeoutMs -5/ },
    { options: { timeoutMs: '5' }, message: /timeoutMs 5/ },
    { options: { signal: {} }, message: /signal is not an AbortSignal/ },
    { options: { signal: null }, message: /signal is not an AbortSignal/ },
  ])('with $options is refused', async ({ options, message }) => {
    const system = await start()
    const ref = system.spawn(echo, undefined)
    await expect(loose(ref).askWith(options, 'echo', 1)).rejects.toThrow(usage(message))
    expect(() => loose(ref).streamWith(options, 'echo', 1)).toThrow(usage(message))
  })

  test('may take longer than a timer can', async () => {
    const system = await start()
    const ref = system.spawn(member, undefined)
    await expect(ref.askWith({ timeoutMs: 2 ** 40 }, 'slow', 30)).resolves.toBe(0)
  })
})

describe('a spec', () => {
  test('with getters and traps that throw does its supervisor no harm', async () => {
    const system = await start({ children: [{ id: 'e', actor: echo, registerAs: 'e' }] })
    const before = system.whereis('e')!
    const specs: object[] = [
      {
        get id(): string {
          throw new Error('no id')
        },
        actor: echo,
      },
      new Proxy(
        {},
        {
          get() {
            throw new Error('no')
          },
        },
      ),
      new Proxy(
        {},
        {
          ownKeys() {
            throw new Error('no keys')
          },
        },
      ),
      {
        id: 'x',
        actor: echo,
        get args(): never {
          throw new Error('no args')
        },
      },
    ]
    for (const spec of specs) {
      expect(await system.startChild(spec as never)).toMatchObject({ ok: false, error: 'invalid' })
    }
    expect(system.whereis('e')).toBe(before)
  })

  test('is read once', async () => {
    const system = await start()
    let reads = 0
    const spec = {
      actor: echo,
      get id() {
        return `id${++reads}`
      },
    }
    expect(await system.startChild(spec)).toMatchObject({ ok: true })
    expect(reads).toBe(1)
  })
})

describe('a placement', () => {
  test.each(['there', 5, null, {}, { thread: 3 }, { pool: 7 }])('%o is refused', async (placement) => {
    const system = await start({ pools: { a: { minThreads: 1 } } })
    expect(() => system.spawn(echo, undefined, { placement: placement as unknown as Placement })).toThrow(
      usage(/placement|neither/),
    )
  })
})

describe('settings', () => {
  test('that threads cannot have are refused by name, and nothing has changed', async () => {
    const system = await start({ settings: { epoch: 1 }, pools: { a: { minThreads: 1 } } })
    await expect(system.configure({ epoch: 2, report: () => {} })).rejects.toThrow(usage(/^setting report/))
    await expect(system.configure(null as never)).rejects.toThrow(usage(/settings must be an object/))
    const ref = system.spawn(member, undefined, work)
    expect(await ref.ask('epoch', 0)).toBe(1)
    system.killThread(ref.thread)
    // The next thread starts all the same.
    await system.configure({ epoch: 3 })
    await expect(start({ settings: { report: () => {} }, pools: { a: {} } })).rejects.toMatchObject({
      code: 'MA_START',
      message: expect.stringContaining('setting report'),
    })
  })
})

describe('an exit reason', () => {
  type Stopper = Contract<{ stop(reason: ExitReason | null): void; exit(ref: ActorRef, reason: null): void }>
  const stopper = actor<Stopper>({
    name: 'stopper',
    module: import.meta.url,
    init: (context) => ({
      stop: (reason) => context.stop(reason as ExitReason),
      exit: (ref, reason) => context.exit(ref, reason as never),
    }),
  })

  test('that is none ends who gives it, and not who would be told', async () => {
    const system = await start()
    const victim = system.spawn(echo, undefined)
    for (const reason of [null, {}, { kind: 'tired' }, 'normal'] as never[]) {
      for (const how of ['stop', 'exit'] as const) {
        const ref = loose(system.spawn(stopper, undefined))
        const asked = how === 'stop' ? ref.ask('stop', reason) : ref.ask('exit', victim, reason)
        await expect(asked).rejects.toMatchObject({
          exitReason: { code: 'MA_USAGE', message: expect.stringContaining('not an exit reason') },
        })
      }
    }
    expect(await loose(victim).ask('echo', 1)).toBe(1)
    expect(() => new ActorExit(undefined as never)).toThrow(usage(/not an exit reason/))
  })
})

describe('a definition', () => {
  test.each([
    { name: 'nothing', options: undefined, message: /options are missing/ },
    { name: 'a queue of half a message', options: { maxQueue: 0.5 }, message: /maxQueue must be/ },
    { name: 'a queue of NaN messages', options: { maxQueue: Number.NaN }, message: /maxQueue must be/ },
    { name: 'a queue of no messages', options: { maxQueue: 0 }, message: /maxQueue must be/ },
    { name: 'a quarantine of no length', options: { throttleMs: 'long' }, message: /throttleMs must be/ },
    { name: 'a limit of another kind', options: { limit: 'lonely' }, message: /no such limit: lonely/ },
  ])('with $name is refused', ({ options, message }) => {
    const good = { name: 'x', module: import.meta.url, init: () => ({}) }
    const given = options === undefined ? undefined : { ...good, ...options }
    expect(() => actor(given as unknown as ActorOptions<Contract<{ x(): void }>, undefined>)).toThrow(
      usage(message),
    )
  })
})
