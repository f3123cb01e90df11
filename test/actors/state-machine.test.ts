import { afterEach, describe, expect, expectTypeOf, test } from 'vitest'
import { type Contract, Deferred, normal, stateMachine } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

type Door = Contract<{
  enter(code: string): boolean
  walkThrough(who: string): string
  lock(): void
  smash(): void
  visitors(): readonly string[]
  state(): string
  alarm(ms: number): void
  waitForAlarm(): string
  idle(ms: number): void
  reset(): void
  sell(): number
  onlyOpen(): number
  slow(): number
}>
type DoorState = 'locked' | 'open' | 'broken'
interface DoorData {
  readonly code: string
  readonly visitors: readonly string[]
  readonly log: readonly string[]
  readonly waiting?: Deferred<string>
}

const seen: string[] = []

const door = stateMachine<Door, DoorState, DoorData, { code: string }>({
  name: 'door',
  module: import.meta.url,
  init: (_context, { code }) => ({ state: 'locked', data: { code, visitors: [], log: [] } }),
  states: {
    locked: {
      onEnter: (data, previous) => ({ data: { ...data, log: [...data.log, `locked after ${previous}`] } }),
      enter: ({ code }, typed) => (typed === code ? { next: 'open', reply: true } : { reply: false }),
      walkThrough: () => ({ postpone: true }),
      state: () => ({ reply: 'locked' }),
    },
    open: {
      onEnter: (data) => ({ stateTimeoutMs: 5_000, data: { ...data, log: [...data.log, 'open'] } }),
      onStateTimeout: () => ({ next: 'locked' }),
      enter: () => ({ reply: true }),
      walkThrough: (data, who) => ({
        data: { ...data, visitors: [...data.visitors, who] },
        reply: `welcome ${who}`,
      }),
      lock: () => ({ next: 'locked' }),
      state: () => ({ reply: 'open' }),
      onlyOpen: () => ({ reply: 1 }),
    },
    broken: { state: () => ({ reply: 'broken' }), smash: () => ({ stop: normal }) },
  },
  always: {
    visitors: ({ visitors, log }) => ({ reply: [...visitors, ...log] }),
    smash: () => ({ next: 'broken', effect: (context) => void context.register('scrap') }),
    alarm: (_data, ms) => ({ timeouts: { alarm: ms } }),
    waitForAlarm(data) {
      const waiting = new Deferred<string>()
      return { data: { ...data, waiting }, reply: waiting }
    },
    onTimeout(data, name) {
      data.waiting?.resolve(name)
    },
    idle: (_data, ms) => ({ eventTimeoutMs: ms }),
    onEventTimeout: () => ({ next: 'broken' }),
    reset: () => ({ repeat: true }),
    lock: () => ({}),
    async slow() {
      await null
      return { next: 'open', reply: 7 }
    },
  },
  terminate(reason, state) {
    seen.push(`${reason.kind} in ${state}`)
  },
})

let system: TestSystem
afterEach(async () => {
  await system?.stop()
  seen.length = 0
})
const start = async () => {
  system = await TestSystem.start()
  return system.spawn(door, { code: '42' })
}

describe('a state machine', () => {
  test('answers after its state', async () => {
    const ref = await start()
    expect(await ref.ask('enter', '41')).toBe(false)
    expect(await ref.ask('state')).toBe('locked')
    expect(await ref.ask('enter', '42')).toBe(true)
    expect(await ref.ask('state')).toBe('open')
  })

  test('handles postponed messages again in the next state, in order and before others', async () => {
    const ref = await start()
    const walking = [ref.ask('walkThrough', 'a'), ref.ask('walkThrough', 'b')]
    await system.settle()
    ref.tell('enter', '42')
    walking.push(ref.ask('walkThrough', 'c'))
    expect(await Promise.all(walking)).toEqual(['welcome a', 'welcome b', 'welcome c'])
    expect((await ref.ask('visitors')).slice(0, 3)).toEqual(['a', 'b', 'c'])
  })

  test('leaves a state after its timeout, and not when it was left before', async () => {
    const ref = await start()
    await ref.ask('enter', '42')
    await system.advance(4_000)
    await ref.ask('lock')
    await ref.ask('enter', '42')
    await system.advance(4_999)
    expect(await ref.ask('state')).toBe('open')
    await system.advance(1)
    expect(await ref.ask('state')).toBe('locked')
  })

  test('enters each state, the first too, and the same one on repeat', async () => {
    const ref = await start()
    await ref.ask('enter', '42')
    await ref.ask('lock')
    await ref.ask('reset')
    expect(await ref.ask('visitors')).toEqual([
      'locked after undefined',
      'open',
      'locked after open',
      'locked after locked',
    ])
  })

  test('has its event timeout only when nothing else comes', async () => {
    const ref = await start()
    await ref.ask('idle', 100)
    await system.advance(99)
    await ref.ask('state')
    await system.advance(1_000)
    expect(await ref.ask('state')).toBe('locked')
    await ref.ask('idle', 100)
    await system.advance(100)
    expect(await ref.ask('state')).toBe('broken')
  })

  test('keeps timeouts with a name across states, and replies later by a Deferred', async () => {
    const ref = await start()
    const waiting = ref.ask('waitForAlarm')
    await ref.ask('alarm', 50)
    await ref.ask('enter', '42')
    await system.advance(50)
    expect(await waiting).toBe('alarm')
    await ref.ask('alarm', 50)
    await ref.ask('alarm', Infinity)
    await system.advance(100)
  })

  test('refuses what its state does not expect, and goes on', async () => {
    const ref = await start()
    await expect(ref.ask('onlyOpen')).rejects.toMatchObject({
      code: 'MA_DOWN',
      exitReason: { code: 'MA_USAGE', message: "takes no message 'onlyOpen' in state 'locked'" },
    })
    await ref.ask('enter', '42')
    expect(await ref.ask('onlyOpen')).toBe(1)
    expect(await ref.ask('slow')).toBe(7)
  })

  test('performs effects in the new state, and stops when told', async () => {
    const ref = await start()
    await ref.ask('smash')
    expect(system.whereis('scrap')?.id).toBe(ref.id)
    const postponed = ref.ask('state')
    await ref.ask('smash')
    expect(await postponed).toBe('broken')
    await system.settle()
    expect(seen).toEqual(['normal in broken'])
  })

  test('has postponed asks settled at its end', async () => {
    const ref = await start()
    const walking = ref.ask('walkThrough', 'a')
    await system.settle()
    system.system.kill(ref)
    await expect(walking).rejects.toMatchObject({ code: 'MA_DOWN', exitReason: { kind: 'killed' } })
  })

  test('ends when a handler returns what is no transition', async () => {
    await start()
    for (const wrong of ['open', 5, true, ['open']]) {
      const odd = stateMachine<Contract<{ go(isLate: boolean): void }>, 'a', undefined>({
        name: 'odd',
        module: import.meta.url,
        init: () => ({ state: 'a', data: undefined }),
        states: { a: { go: (_data, isLate) => (isLate ? Promise.resolve(wrong) : wrong) as object } },
      })
      for (const isLate of [false, true]) {
        await expect(system.run(system.spawn(odd, undefined).ask('go', isLate))).rejects.toMatchObject({
          exitReason: {
            code: 'MA_USAGE',
            message: expect.stringMatching(/^'go' in state 'a' returned .*, not a transition$/),
          },
        })
      }
    }
  })

  test('has each timeout once: set again it begins anew, Infinity takes it back, also when it rang already', async () => {
    const rung: string[] = []
    type Clock = Contract<{ set(key: string, ms: number): void; both(): void }>
    const clock = stateMachine<Clock, 'a', undefined>({
      name: 'clock',
      module: import.meta.url,
      init: () => ({ state: 'a', data: undefined }),
      states: {
        a: {
          set: (_data, key, ms) => (key === 'state' ? { stateTimeoutMs: ms } : { timeouts: { [key]: ms } }),
          both: () => ({ timeouts: { x: 10, y: 10 } }),
          onStateTimeout: () => void rung.push('state'),
          // Of two that ring together the first takes the second back.
          onTimeout(_data, name) {
            rung.push(name)
            return { timeouts: { x: Infinity, y: Infinity } }
          },
        },
      },
    })
    await start()
    const ref = system.spawn(clock, undefined)
    for (const key of ['state', 'z']) {
      await ref.ask('set', key, 100)
      await system.advance(60)
      await ref.ask('set', key, 100)
      await system.advance(60)
      expect(rung).toEqual([])
      await system.advance(40)
      expect(rung.splice(0)).toEqual([key])
      await ref.ask('set', key, 100)
      await ref.ask('set', key, Infinity)
      await system.advance(1_000)
      expect(rung).toEqual([])
    }
    await ref.ask('both')
    await system.advance(1_000)
    expect(rung).toEqual(['x'])
  })

  describe('puts first', () => {
    type Steps = Contract<{ go(insert: boolean): void; note(text: string): void; hold(text: string): void }>
    const order: string[] = []
    const steps = stateMachine<Steps, 'a' | 'b', undefined>({
      name: 'steps',
      module: import.meta.url,
      init: () => ({ state: 'a', data: undefined }),
      states: {
        a: {
          hold: () => ({ postpone: true }),
          go: (_data, insert) => ({
            next: 'b',
            stateTimeoutMs: 0,
            ...(insert
              ? {
                  insert: [
                    ['note', 'first'],
                    ['note', 'second'],
                  ] as const,
                }
              : {}),
          }),
        },
        b: { hold: (_data, text) => void order.push(text), onStateTimeout: () => void order.push('timeout') },
      },
      always: { note: (_data, text) => void order.push(text) },
    })

    for (const [name, insert] of [
      ['handles what it inserts before all that wait', true],
      ['has timeouts of no time before what others sent', false],
    ] as const) {
      test(name, async () => {
        await start()
        order.length = 0
        const ref = system.spawn(steps, undefined)
        ref.tell('hold', 'held')
        ref.tell('go', insert)
        ref.tell('note', 'other')
        await system.settle()
        expect(order).toEqual([...(insert ? ['first', 'second'] : []), 'held', 'timeout', 'other'])
      })
    }
  })

  test('is checked against its contract', () => {
    const machine = () =>
      stateMachine<Door, 'a', number>({
        name: 'x',
        module: import.meta.url,
        init: () => ({ state: 'a', data: 1 }),
        states: {
          a: {
            // @ts-expect-error a reply of another type
            enter: () => ({ reply: 'yes' }),
            // @ts-expect-error no such state
            lock: () => ({ next: 'b' }),
            visitors(data) {
              expectTypeOf(data).toEqualTypeOf<number>()
              return { reply: [] }
            },
          },
        },
      })
    expect(machine).not.toThrow()
  })
})
