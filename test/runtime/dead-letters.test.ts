import { afterEach, describe, expect, test } from 'vitest'
import { ActorSystem, type DeadLetterEvent, type Logger } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { echo } from './fixtures/actors.ts'

let system: { stop(): Promise<void> } | undefined
afterEach(() => system?.stop())

function recorder() {
  const lines: object[] = []
  const write = (facts: object) => void lines.push(facts)
  const log: Logger = {
    trace: write,
    debug: write,
    info: write,
    warn: write,
    error: write,
    fatal: write,
    isLevelEnabled: () => true,
  }
  const reports = () => lines.filter((line) => (line as { event: string }).event === 'actor.dead-letter')
  return { log, reports }
}

describe('messages to actors that have ended', () => {
  test('are counted and reported in one line, at a limited rate', async () => {
    const { log, reports } = recorder()
    const events: DeadLetterEvent[] = []
    const started = await TestSystem.start({ log })
    system = started
    started.system.events.on('actor.dead-letter', (event) => events.push(event))
    const ref = started.spawn(echo, undefined)
    await started.settle()
    started.system.kill(ref)
    for (let i = 0; i < 1_000; i++) ref.tell('add', i)
    ref.tell('note', 'x')
    await started.advance(999)
    expect(reports()).toEqual([])
    await started.advance(1)
    expect(reports()).toMatchObject([
      { count: 1_001, overloaded: 0, total: 1_001, most: 'echo.add 1000, echo.note 1' },
    ])
    ref.tell('add', 1)
    await started.advance(9_000)
    expect(reports().length).toBe(1)
    await started.advance(1_000)
    expect(reports()).toMatchObject([{}, { count: 1, total: 1_002 }])
    expect(events).toMatchObject([
      { thread: 0, count: 1_001, most: [{ to: 'echo', type: 'add', count: 1_000 }, { type: 'note' }] },
      { count: 1 },
    ])
  })

  test('are reported at the stop of the system at the latest', async () => {
    const { log, reports } = recorder()
    const started = await TestSystem.start({ log })
    const ref = started.spawn(echo, undefined)
    ref.tell('never')
    ref.tell('add', 1)
    await started.settle()
    await started.stop()
    expect(reports()).toMatchObject([{ count: 1 }])
  })
})

test('messages that the full queue of another thread refuses are counted as overload', async () => {
  const started = await ActorSystem.start({ pools: { a: { minThreads: 1, maxThreads: 1 } } })
  system = started
  const event = new Promise<DeadLetterEvent>((resolve) => started.events.once('actor.dead-letter', resolve))
  const ref = started.spawn(echo, undefined, { placement: { pool: 'a' } })
  ref.tell('never')
  let sent = 0
  while (sent < 12_000) {
    if (ref.tell('add', 1)) sent++
    else await new Promise((resolve) => setImmediate(resolve))
  }
  const { thread, count, overloaded, most } = await event
  expect(thread).toBe(ref.thread)
  expect(overloaded).toBe(count)
  expect(most).toEqual([{ to: 'echo', type: 'add', count }])
  expect(count).toBeGreaterThanOrEqual(1)
  expect(count).toBeLessThanOrEqual(2_000)
})
