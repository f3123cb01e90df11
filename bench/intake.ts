/**
 * Intake: smtp-source → server, and nothing goes on from there. Ours waits by `defer_transports`, Postfix's on hold, so
 * both have it on the disk and no more; ours also has a line in the log that says so. How long an acknowledgement takes is measured apart, by connections of our own.
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

interface Load {
  readonly mails: number
  readonly warmup: number
}

/** As in `relay`: V8 has compiled what mails pass through. */
const loads = {
  quick: { ours: { mails: 500, warmup: 100 }, postfix: { mails: 300, warmup: 100 } },
  full: { ours: { mails: 10_000, warmup: 10_000 }, postfix: { mails: 3000, warmup: 500 } },
}
/** Mails of which the time of the acknowledgement is taken, behind those that are counted. */
const ackMails = 2000

interface Clients {
  readonly sessions: number
  /** One connection for many mails. */
  readonly reuse: boolean
}

/** Nothing listens there, and nothing is sent. */
const NOWHERE = 9

async function measure(relay: Relay, { mails, warmup }: Load, clients: Clients): Promise<Measurement> {
  try {
    await source(relay.port, warmup, clients)
    await sleep(500)
    const cpu = new CpuWindow(relay.pid)
    const { seconds } = await source(relay.port, mails, clients)
    await sleep(500)
    const used = cpu.read()
    const times = await ackTimes(relay.port, { ...clients, mails: ackMails, octets: OCTETS })
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

function contestantsFor(clients: Clients) {
  return ({ dir, quick }: ScenarioOptions): Contestant[] => {
    const load = quick ? loads.quick : loads.full
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
          return measure(await startOurs(fresh(), NOWHERE, { tables }), load.ours, clients)
        },
      },
      {
        name: 'Postfix',
        unavailable: generator ?? whyMissing(['postfix'], { root: true }),
        run: async () =>
          measure(await startPostfix(fresh(), NOWHERE, { SETTINGS: holding }), load.postfix, clients),
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

const intakeBy = (name: string, summary: string, clients: Clients): Scenario => ({
  name,
  summary,
  rounds: 3,
  columns,
  contestants: contestantsFor(clients),
})

const what = `smtp-source -> queue, ${OCTETS} octets, one recipient`

export const intake = intakeBy('intake', `${what}, 20 sessions, one mail per connection`, {
  sessions: 20,
  reuse: false,
})

export const intakeReuse = intakeBy('intake-reuse', 'the same with many mails per connection', {
  sessions: 20,
  reuse: true,
})

export const intakeMany = intakeBy('intake-many', 'the same with 200 sessions', {
  sessions: 200,
  reuse: true,
})
