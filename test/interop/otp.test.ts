/**
 * Supervision as OTP does it: scenarios written once are played on OTP's own supervisor and on ours, and the traces must
 * agree. Without `erl` these tests are skipped; `apt-get install erlang-base` is all they need.
 */
import { isDeepStrictEqual } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { ActorSystem } from '../../src/index.ts'
import { TestSystem } from '../../src/testing/index.ts'
import { chosenSeed } from '../support/seed.ts'
import { countOf, hasOtp, playOnOtp, skipped } from './otp/otp.ts'
import { play, type Stage } from './otp/play.ts'
import { owner, tracer } from './otp/play-actors.ts'
import { randomScenario } from './otp/random.ts'
import { type Scenario, toErlang } from './otp/scenario.ts'
import { scenarios } from './otp/scenarios.ts'

/** On one thread, with virtual time. */
async function playHere(scenario: Scenario): Promise<string[]> {
  const system = await TestSystem.start({
    children: [
      { id: 'tracer', actor: tracer, registerAs: 'tracer' },
      { id: 'owner', actor: owner, registerAs: 'owner' },
    ],
  })
  const stage: Stage = {
    whereis: (name) => system.whereis(name),
    kill: (ref) => system.system.kill(ref),
    settle: () => system.settle(),
    wait: (ms) => system.advance(ms),
    placement: undefined,
  }
  try {
    return await play(scenario, stage)
  } finally {
    await system.stop()
  }
}

const seed = chosenSeed()
const random = Array.from({ length: countOf(300) }, (_, index) => randomScenario(seed + index))

// Those that wait for full seconds of OTP's clock run beside the others, each on its own.
const waits = (scenario: Scenario) => JSON.stringify(scenario).includes('"second"')
const parts = [
  random,
  scenarios.filter((each) => !waits(each)),
  ...scenarios.filter(waits).map((each) => [each]),
]
const otp = new Map<string, string[]>()
if (hasOtp)
  for (const traces of await Promise.all(
    parts.map((part) => playOnOtp(['otp_scenarios'], part.map(toErlang))),
  ))
    for (const [k, v] of traces) otp.set(k, v)

describe.skipIf(!hasOtp)(`traces of OTP and ours agree${skipped}`, () => {
  test.each(scenarios)('$name', async (scenario) => {
    const expected = otp.get(scenario.name)
    expect(expected?.length).toBeGreaterThan(0)
    const ours = await playHere(scenario)
    if (scenario.differs === undefined) expect(ours).toEqual(expected)
    else expect(ours).not.toEqual(expected)
  })
})

describe.skipIf(!hasOtp)(`random scenarios agree, seed ${seed}${skipped}`, () => {
  test('the traces of OTP and ours', async () => {
    for (const scenario of random) {
      const ours = await playHere(scenario)
      expect(ours, `${scenario.name}: ${JSON.stringify(scenario)}`).toEqual(otp.get(scenario.name))
    }
  }, 600_000)
})

describe('traces are the same across threads', () => {
  // What happens at one moment in one thread does not in several; nobody can see there that a link is made; and time is not virtual.
  const single = new Set(['all', 'link', 'wait', 'second', 'now', 'until'])
  const portable = [...scenarios, ...random].filter(({ steps }) =>
    steps.every((step) => !single.has(step[0] === 'unordered' ? step[1][0] : step[0])),
  )

  test('with each supervisor and each worker on the least loaded of two threads', async () => {
    for (const scenario of portable) {
      const expected = await playHere(scenario)
      let found = await playOnThreads(scenario, expected)
      // A supervisor on a busy thread may be asked before it has heard of an end that the trace has: what is wrong stays wrong.
      for (let again = 0; again < 2 && !isDeepStrictEqual(found, expected); again++) {
        found = await playOnThreads(scenario, expected)
      }
      expect(found, `${scenario.name}, seed ${seed}`).toEqual(expected)
    }
  }, 120_000)
})

let threads: Promise<ActorSystem> | undefined
afterAll(async () => (await threads)?.stop())

async function playOnThreads(scenario: Scenario, expected: readonly string[]): Promise<string[]> {
  threads ??= ActorSystem.start({ pools: { others: { minThreads: 2, maxThreads: 2 } } })
  const system = await threads
  for (const [id, definition] of [
    ['tracer', tracer],
    ['owner', owner],
  ] as const) {
    await system.startChild({ id, actor: definition, registerAs: id, restart: 'temporary', shutdown: 100 })
  }
  const stage: Stage = {
    whereis: (name) => system.whereis(name),
    kill: (ref) => system.kill(ref),
    settle: (done) => until(done),
    wait: async () => {},
    placement: { pool: 'others' },
  }
  try {
    return await play(scenario, stage, expected)
  } finally {
    for (const name of ['owner', 'tracer']) {
      const ref = system.whereis(name)
      if (ref !== undefined) system.kill(ref)
    }
  }
}

async function until(done: () => boolean): Promise<void> {
  const end = performance.now() + 3_000
  while (!done() && performance.now() < end) await new Promise((resolve) => setImmediate(resolve))
}
