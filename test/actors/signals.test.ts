/** Exits, links and monitors where OTP has an answer. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  type ActorDefinition,
  type ActorRef,
  ActorSystem,
  type AnyRef,
  actor,
  type Contract,
  type ExitReason,
  normal,
  shutdown,
} from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { until } from '../support/until.ts'
import { listener } from './last-words.ts'

type Probe = Contract<{
  trap(): void
  trapIn(ref: AnyRef): void
  say(to: AnyRef, text: string): void
  hear(text: string): void
  exit(ref: AnyRef, reason: ExitReason): void
  start(): AnyRef
  monitor(ref: AnyRef): number
  demonitorAfter(ref: AnyRef, monitor: number): void
  heard(): readonly string[]
}>

const probe: ActorDefinition<Probe> = actor<Probe>({
  name: 'probe',
  module: import.meta.url,
  init(context) {
    const heard: string[] = []
    return {
      trap: () => context.trapExit(),
      trapIn: (ref) => void (ref as ActorRef<Probe>).tell('trap'),
      say: (to, text) => void (to as ActorRef<Probe>).tell('hear', text),
      hear: (text) => void heard.push(text),
      exit: (ref, reason) => context.exit(ref, reason),
      start: () => context.spawnLink(probe, undefined),
      monitor: (ref) => context.monitor(ref),
      demonitorAfter(ref, monitor) {
        // Its end is known, and waits behind this message.
        context.exit(ref, { kind: 'killed' })
        context.demonitor(monitor)
      },
      heard: () => heard,
      handleDown: ({ reason }) => void heard.push(`down ${reason.kind}`),
      handleExit: (_ref, reason) => void heard.push(`exit ${reason.kind}`),
    }
  },
})

let system: TestSystem
afterEach(() => system?.stop())

async function pair() {
  system = await TestSystem.start()
  return [system.spawn(probe, undefined), system.spawn(probe, undefined)] as const
}
const ends = () => system.terminated.map(({ actorId, reason }) => [actorId, reason.kind])

describe('an exit', () => {
  test('to oneself ends, and is heard instead by who traps', async () => {
    const [one, other] = await pair()
    await one.ask('trap')
    await one.ask('exit', one, normal)
    await other.ask('exit', other, normal)
    await system.settle()
    expect(await one.ask('heard')).toEqual(['exit normal'])
    expect(ends()).toEqual([[other.id, 'normal']])
  })

  test('with normal does nothing to another actor', async () => {
    const [one, other] = await pair()
    await one.ask('exit', other, normal)
    await system.settle()
    expect(await other.ask('heard')).toEqual([])
  })

  test('with normal is heard by an actor that traps exits', async () => {
    const [one, other] = await pair()
    await other.ask('trap')
    await one.ask('exit', other, normal)
    await system.settle()
    expect(await other.ask('heard')).toEqual(['exit normal'])
  })

  test('with normal ends the actor itself, and of its children those that trap exits', async () => {
    const [one, other] = await pair()
    one.tell('exit', one, normal)
    const [deaf, trapping] = [await other.ask('start'), await other.ask('start')]
    other.tell('trapIn', trapping)
    for (const child of [deaf, trapping]) await other.ask('exit', child, normal)
    await system.settle()
    expect(ends()).toEqual([
      [one.id, 'normal'],
      [trapping.id, 'normal'],
    ])
  })

  test('with another reason ends an actor that does not trap exits', async () => {
    const [one, other] = await pair()
    await one.ask('exit', other, shutdown)
    await system.settle()
    expect(ends()).toEqual([[other.id, 'shutdown']])
  })
})

test('a monitor that was taken back says nothing, also when the end was known already', async () => {
  const [one, other] = await pair()
  const monitor = await one.ask('monitor', other)
  await one.ask('demonitorAfter', other, monitor)
  await system.settle()
  expect(ends()).toEqual([[other.id, 'killed']])
  expect(await one.ask('heard')).toEqual([])
})

test('what an actor said last is heard before its end, by who monitors it and by who is linked to it', async () => {
  const [one, other] = await pair()
  await one.ask('trap')
  await one.ask('monitor', other)
  const child = await one.ask('start')
  for (const ref of [other, child as ActorRef<Probe>]) {
    ref.tell('say', one, `from ${ref.id}`)
    ref.tell('exit', ref, shutdown)
  }
  await system.settle()
  const heard = await one.ask('heard')
  expect(heard.toSorted()).toEqual(
    ['down shutdown', 'exit shutdown', `from ${other.id}`, `from ${child.id}`].toSorted(),
  )
  expect(heard.indexOf('down shutdown')).toBeGreaterThan(heard.indexOf(`from ${other.id}`))
  expect(heard.indexOf('exit shutdown')).toBeGreaterThan(heard.indexOf(`from ${child.id}`))
})

test('an actor that traps exits handles what came before the word of its parent', async () => {
  const [one] = await pair()
  const child = (await one.ask('start')) as ActorRef<Probe>
  await child.ask('trap')
  const answers: Promise<unknown>[] = [child.ask('say', one, 'still here')]
  system.system.kill(one)
  answers.push(child.ask('heard'))
  await Promise.allSettled(answers)
  expect(await Promise.allSettled(answers)).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected' }])
})

test('the last words of an actor on another thread are heard before its end', async () => {
  await using threads = await ActorSystem.start({ pools: { speakers: { minThreads: 1, maxThreads: 1 } } })
  const words = Array.from({ length: 100 }, (_, n) => String(n + 1))
  const ref = threads.spawn(listener, undefined)
  for (let turn = 1; turn <= 20; turn++) {
    ref.tell('listen', words.length)
    await until('the end', async () => (await ref.ask('heard')).length === turn * (words.length + 1))
  }
  expect(await ref.ask('heard')).toEqual(Array.from({ length: 20 }, () => [...words, 'normal']).flat())
})

test('ends and timers are heard with a full queue', async () => {
  type Full = Contract<{ block(watched: AnyRef): void; fill(): void; ring(): void }>
  const heard: string[] = []
  let release = () => {}
  const full = actor<Full>({
    name: 'full',
    module: import.meta.url,
    maxQueue: 1,
    init: (context) => ({
      async block(watched) {
        context.monitor(watched)
        context.sendAfter(10, 'ring')
        await new Promise<void>((resolve) => {
          release = resolve
        })
      },
      fill: () => void heard.push('fill'),
      ring: () => void heard.push('ring'),
      handleDown: () => void heard.push('down'),
    }),
  })
  const [one] = await pair()
  const ref = system.spawn(full, undefined)
  ref.tell('block', one)
  await system.settle()
  expect([ref.tell('fill'), ref.tell('fill')]).toEqual([true, false])
  system.system.kill(one)
  await system.advance(10)
  release()
  await system.run(new Promise((resolve) => setImmediate(resolve)))
  await system.settle()
  expect(heard).toEqual(['fill', 'down', 'ring'])
})
