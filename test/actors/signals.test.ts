/** Exits, links and monitors where OTP has an answer. */
import { afterEach, describe, expect, test } from 'vitest'
import {
  type ActorDefinition,
  type AnyRef,
  actor,
  type Contract,
  type ExitReason,
  normal,
  shutdown,
} from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'

type Probe = Contract<{
  trap(): void
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

  test('with normal ends the actor itself, and a child that is told so by its parent', async () => {
    const [one, other] = await pair()
    one.tell('exit', one, normal)
    const child = await other.ask('start')
    await other.ask('exit', child, normal)
    await system.settle()
    expect(ends()).toEqual([
      [one.id, 'normal'],
      [child.id, 'normal'],
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
