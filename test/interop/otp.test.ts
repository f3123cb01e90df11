/**
 * Supervision as OTP does it: scenarios written once are played on OTP's own supervisor and on ours, and the traces must
 * agree. Without `erl` these tests are skipped; `apt-get install erlang-base` is all they need.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { TestSystem } from '../../src/testing/index.ts'
import { play, type Stage } from './otp/play.ts'
import { owner, tracer } from './otp/play-actors.ts'
import { randomScenario } from './otp/random.ts'
import { type Scenario, toErlang } from './otp/scenario.ts'
import { scenarios } from './otp/scenarios.ts'

const hasOtp = spawnSync('erl', ['-version']).error === undefined
const why = hasOtp ? '' : ' (skipped: erl is not installed)'

/** What OTP did, by name of scenario. */
function playOnOtp(all: readonly Scenario[]): Map<string, string[]> {
  const directory = mkdtempSync(join(tmpdir(), 'mailactors-otp-'))
  try {
    const input = join(directory, 'scenarios')
    const output = join(directory, 'traces')
    writeFileSync(input, all.map(toErlang).join(''))
    const source = new URL('./otp/otp_scenarios.erl', import.meta.url).pathname
    const code = `{ok,M,B}=compile:file("${source}",[binary]),{module,M}=code:load_binary(M,"",B),M:main("${input}","${output}"),halt(0).`
    execFileSync('erl', ['-noshell', '-noinput', '+S', '1:1', '-eval', code], {
      timeout: 60_000,
      cwd: directory,
    })
    const traces = new Map<string, string[]>()
    for (const trace of readFileSync(output, 'utf8').split(/^#/m).slice(1)) {
      const [name, ...lines] = trace.trimEnd().split('\n')
      traces.set(name!, lines)
    }
    return traces
  } finally {
    rmSync(directory, { recursive: true })
  }
}

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

describe.skipIf(!hasOtp)(`traces of OTP and ours agree${why}`, () => {
  const otp = hasOtp ? playOnOtp(scenarios) : new Map<string, string[]>()
  test.each(scenarios)('$name', async (scenario) => {
    const expected = otp.get(scenario.name)
    expect(expected?.length).toBeGreaterThan(0)
    const ours = await playHere(scenario)
    if (scenario.differs === undefined) expect(ours).toEqual(expected)
    else expect(ours).not.toEqual(expected)
  })
})

// MAILACTORS_SEED=… plays the same ones again.
const seed = Number(process.env.MAILACTORS_SEED ?? Date.now() % 1e9)
const random = Array.from({ length: 300 }, (_, index) => randomScenario(seed + index))

describe.skipIf(!hasOtp)(`random scenarios agree, seed ${seed}${why}`, () => {
  const otp = hasOtp ? playOnOtp(random) : new Map<string, string[]>()
  test('the traces of OTP and ours', async () => {
    for (const scenario of random) {
      const ours = await playHere(scenario)
      expect(ours, `${scenario.name}: ${JSON.stringify(scenario)}`).toEqual(otp.get(scenario.name))
    }
  }, 60_000)
})
