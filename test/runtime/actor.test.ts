import { afterEach, describe, expect, test } from 'vitest'
import { ActorSystem, actor, type Contract, Deferred, type ExitReason, UsageError } from '../../src/index.ts'

type Counter = Contract<{
  add(by: number): void
  total(): number
  fail(text: string): void
  never(): number
  later(): number
  release(value: number): void
  slow(): number
}>

const counter = actor<Counter, { start: number }>({
  name: 'counter',
  module: import.meta.url,
  init(_context, { start }) {
    let total = start
    const waiting: Deferred<number>[] = []
    return {
      add(by) {
        total += by
      },
      total: () => total,
      fail(text) {
        throw new Error(text)
      },
      never: () => new Promise<number>(() => {}),
      later() {
        const reply = new Deferred<number>()
        waiting.push(reply)
        return reply
      },
      release(value) {
        for (const reply of waiting.splice(0)) reply.resolve(value)
      },
      async slow() {
        const before = total
        await new Promise((resolve) => setImmediate(resolve))
        return total - before
      },
    }
  },
})

let system: ActorSystem

const started = async (options: Parameters<typeof ActorSystem.start>[0] = {}) => {
  system = await ActorSystem.start(options)
  return system
}

afterEach(async () => {
  await system?.stop({ timeoutMs: 200 })
})

describe('messages', () => {
  test('are handled in the order they were sent', async () => {
    const ref = (await started()).spawn(counter, { start: 1 })
    for (let i = 0; i < 100; i++) ref.tell('add', i)
    expect(await ref.ask('total')).toBe(1 + 4950)
  })

  test('continues before all that wait', async () => {
    const noted: string[] = []
    type Loader = Contract<{ load(part: number): void; note(text: string): void; reload(): void }>
    const loader = actor<Loader, undefined>({
      name: 'loader',
      module: import.meta.url,
      init(context) {
        context.self.tell('note', 'told in init')
        context.continue('load', 1)
        return {
          load(part) {
            noted.push(`part ${part}`)
            if (part < 3) context.continue('load', part + 1)
          },
          note: (text) => void noted.push(text),
          async reload() {
            context.self.tell('note', 'told to itself')
            context.continue('load', 3)
            await new Promise((resolve) => setImmediate(resolve))
            noted.push('reloads')
          },
        }
      },
    })
    const ref = (await started()).spawn(loader, undefined)
    ref.tell('note', 'first')
    await ref.ask('reload')
    await ref.ask('note', 'last')
    expect(noted).toEqual([
      // `init` runs after the first two were told.
      ...['part 1', 'part 2', 'part 3', 'first'],
      ...['reloads', 'part 3', 'told in init', 'told to itself', 'last'],
    ])
  })

  test('wait while a handler awaits', async () => {
    const ref = (await started()).spawn(counter, { start: 0 })
    const slow = ref.ask('slow')
    ref.tell('add', 5)
    expect(await slow).toBe(0)
    expect(await ref.ask('total')).toBe(5)
  })

  test('are handled while a Deferred is open', async () => {
    const ref = (await started()).spawn(counter, { start: 0 })
    const later = ref.ask('later')
    ref.tell('add', 5)
    expect(await ref.ask('total')).toBe(5)
    ref.tell('release', 7)
    expect(await later).toBe(7)
  })

  test('beyond the bound of the queue are refused', async () => {
    const small = actor<Contract<{ poke(): void; block(): void }>>({
      name: 'small',
      module: import.meta.url,
      maxQueue: 2,
      init: () => ({ poke() {}, block: () => new Promise<void>(() => {}) }),
    })
    const ref = (await started()).spawn(small, undefined)
    ref.tell('block')
    await new Promise((resolve) => setImmediate(resolve))
    expect(ref.tell('poke')).toBe(true)
    expect(ref.tell('poke')).toBe(true)
    expect(ref.tell('poke')).toBe(false)
    await expect(ref.ask('poke')).rejects.toMatchObject({ code: 'MA_OVERLOADED' })
  })
})

describe('an ask', () => {
  test('fails with down and the exit reason when the callee throws', async () => {
    const ref = (await started()).spawn(counter, { start: 0 })
    const failing = ref.ask('fail', 'broken')
    const queued = ref.ask('total')
    await expect(failing).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { kind: 'error', message: 'broken' },
    })
    await expect(queued).rejects.toMatchObject({ code: 'MA_DOWN' })
    await expect(ref.ask('total')).rejects.toMatchObject({ code: 'MA_NO_ACTOR' })
    expect(ref.tell('add', 1)).toBe(true)
  })

  test('times out', async () => {
    const ref = (await started()).spawn(counter, { start: 0 })
    await expect(ref.askWith({ timeoutMs: 5 }, 'never')).rejects.toMatchObject({ code: 'MA_TIMEOUT' })
  })

  test('is cancelled by its signal', async () => {
    const ref = (await started()).spawn(counter, { start: 0 })
    const abort = new AbortController()
    const asking = ref.askWith({ signal: abort.signal }, 'later')
    abort.abort()
    await expect(asking).rejects.toMatchObject({ code: 'MA_CANCELLED' })
    await expect(ref.askWith({ signal: abort.signal }, 'later')).rejects.toMatchObject({
      code: 'MA_CANCELLED',
    })
  })

  test('that a Deferred holds fails when the callee ends', async () => {
    const ref = (await started()).spawn(counter, { start: 0 })
    const later = ref.ask('later')
    ref.tell('fail', 'x')
    await expect(later).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { message: 'x' } })
  })
})

describe('errors', () => {
  const socketLike = actor<Contract<{ go(how: 'bind' | 'timer' | 'promise'): void; ping(): number }>>({
    name: 'socket-like',
    module: import.meta.url,
    init: (context) => ({
      go(how) {
        const fail = () => {
          throw new Error(how)
        }
        if (how === 'bind') setImmediate(context.bind(fail))
        if (how === 'timer')
          setTimeout(
            context.bind(async () => fail()),
            1,
          )
        if (how === 'promise') Promise.resolve().then(context.bind(fail))
      },
      ping: () => 1,
    }),
  })

  test.each(['bind', 'timer', 'promise'] as const)(
    'in a bound callback (%s) end that actor alone',
    async (how) => {
      await started()
      const reasons: ExitReason[] = []
      system.events.on('actor.terminated', (event) => reasons.push(event.reason))
      const one = system.spawn(socketLike, undefined)
      const other = system.spawn(socketLike, undefined)
      const ended = new Promise((resolve) => system.events.once('actor.terminated', resolve))
      one.tell('go', how)
      await ended
      expect(reasons).toMatchObject([{ kind: 'error', message: how }])
      expect(await other.ask('ping')).toBe(1)
    },
  )
})

describe('names', () => {
  test('are unique among living actors and free again after the end', async () => {
    await started()
    const ref = system.spawn(counter, { start: 3 }, { registerAs: 'c' })
    expect(system.whereis('c')).toBe(ref)
    expect(() => system.spawn(counter, { start: 0 }, { registerAs: 'c' })).toThrow(UsageError)
    await ref.ask('fail', 'x').catch(() => {})
    expect(system.whereis('c')).toBeUndefined()
    system.spawn(counter, { start: 0 }, { registerAs: 'c' })
  })
})
