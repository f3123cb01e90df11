/**
 * Intake: smtp-source → server, and nothing goes on from there. Ours waits by `defer_transports`, Postfix's on hold, so
 * both have it on the disk and no more. How long an acknowledgement takes is measured apart, by connections of our own.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from '../src/cli/bench/measured.ts'
import { ackTimes } from './harness/ack-times.ts'
import { CpuWindow } from './harness/cpu-window.ts'
import { whyMissing } from './harness/processes.ts'
import { holding, OCTETS, type Relay, source, startOurs, startPostfix } from './harness/relays.ts'
import type { Contestant, Measurement, Scenario, ScenarioOptions } from './harness/scenario.ts'

const SESSIONS = 20
/** Nothing listens there, and nothing is sent. */
const NOWHERE = 9

async function measure(relay: Relay, mails: number, reuse: boolean): Promise<Measurement> {
  try {
    await source(relay.port, Math.ceil(mails / 5), { sessions: SESSIONS, reuse })
    await sleep(500)
    const cpu = new CpuWindow(relay.pid)
    const { seconds } = await source(relay.port, mails, { sessions: SESSIONS, reuse })
    await sleep(500)
    const used = cpu.read()
    const times = await ackTimes(relay.port, {
      mails: Math.ceil(mails / 5),
      sessions: SESSIONS,
      octets: OCTETS,
      reuse,
    })
    return {
      acceptedPerSecond: mails / seconds,
      perCpuSecond: mails / used.server,
      cpuMs: (used.server / mails) * 1000,
      busyCores: used.machine / (seconds + 0.5),
      ackP50: percentile(times, 50),
      ackP99: percentile(times, 99),
    }
  } finally {
    await relay.stop()
  }
}

function contestantsFor(reuse: boolean) {
  return ({ dir, quick }: ScenarioOptions): Contestant[] => {
    let turn = 0
    const fresh = (): string => {
      const path = join(dir, `${turn++}`)
      mkdirSync(path, { recursive: true })
      return path
    }
    const generator = whyMissing(['smtp-source'])
    return [
      {
        name: 'mailactors',
        unavailable: generator,
        run: async () => {
          const tables = '[queue]\ndefer_transports = ["smtp"]\n'
          return measure(await startOurs(fresh(), NOWHERE, { tables }), quick ? 500 : 10_000, reuse)
        },
      },
      {
        name: 'Postfix',
        unavailable: generator ?? whyMissing(['postfix'], { root: true }),
        run: async () =>
          measure(await startPostfix(fresh(), NOWHERE, { SETTINGS: holding }), quick ? 300 : 3000, reuse),
      },
    ]
  }
}

const columns = [
  { key: 'acceptedPerSecond', title: 'accepted/s', better: 'more' },
  { key: 'perCpuSecond', title: 'accepted per CPU s', better: 'more' },
  { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
  { key: 'ackP50', title: 'ack p50 ms', better: 'less', digits: 1 },
  { key: 'ackP99', title: 'ack p99 ms', better: 'less', digits: 1 },
  { key: 'busyCores', title: 'busy cores', digits: 2 },
] as const

export const intake: Scenario = {
  name: 'intake',
  summary: `smtp-source -> queue, ${OCTETS} octets, one recipient, ${SESSIONS} sessions, one mail per connection`,
  rounds: 3,
  columns,
  contestants: contestantsFor(false),
}

export const intakeReuse: Scenario = {
  name: 'intake-reuse',
  summary: 'the same with many mails per connection',
  rounds: 3,
  columns,
  contestants: contestantsFor(true),
}
