/**
 * Relaying: smtp-source → server → smtp-sink, all on loopback. Everyone is warm, gets mails of the same kind, a queue
 * on the same disk with the durability the server has by default, and its usual log in a file.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from '../src/cli/bench/measured.ts'
import { ackTimes } from './harness/ack-times.ts'
import { CountingSink } from './harness/counting-sink.ts'
import { CpuWindow } from './harness/cpu-window.ts'
import { whyMissing } from './harness/processes.ts'
import { OCTETS, type Relay, source, startOurs, startPostfix } from './harness/relays.ts'
import type { Contestant, Measurement, Scenario, ScenarioOptions } from './harness/scenario.ts'

const SESSIONS = 20

interface Load {
  /** The source has one connection for many mails. */
  readonly reuse: boolean
  readonly mails: number
  readonly warmup: number
}

/** So many mails V8 needs to compile what they pass through; the programs of Postfix are compiled. */
const loads = {
  quick: { ours: { mails: 300, warmup: 100 }, postfix: { mails: 300, warmup: 100 } },
  full: { ours: { mails: 8000, warmup: 10_000 }, postfix: { mails: 3000, warmup: 500 } },
}
/** Mails of which the time of the acknowledgement is taken, behind those that are counted. */
const ackMails = 1000

/** One run: start, warm up, measure until the last mail is at the sink, stop. */
async function measure(
  dir: string,
  { reuse, ...load }: Load,
  start: (sinkPort: number) => Promise<Relay>,
): Promise<Measurement> {
  const sink = await CountingSink.start({ dir })
  const relay = await start(sink.port)
  try {
    await source(relay.port, load.warmup, { sessions: SESSIONS, reuse })
    await sink.waitFor(load.warmup, 60_000)
    await sleep(300)
    const cpu = new CpuWindow(relay.pid)
    const { seconds: accepting } = await source(relay.port, load.mails, { sessions: SESSIONS, reuse })
    const delivered = (await sink.waitFor(load.warmup + load.mails, 120_000)) - cpu.startedAt
    // What follows the last delivery, removing it from the queue, is part of the work.
    await sleep(300)
    const used = cpu.read()
    const times = await ackTimes(relay.port, { mails: ackMails, sessions: SESSIONS, octets: OCTETS, reuse })
    return {
      acceptedPerSecond: load.mails / accepting,
      deliveredPerSecond: (load.mails / delivered) * 1000,
      perCpuSecond: load.mails / used.server,
      cpuMs: (used.server / load.mails) * 1000,
      busyCores: used.machine / (delivered / 1000 + 0.3),
      ackP50: percentile(times, 50),
      ackP99: percentile(times, 99),
    }
  } finally {
    await relay.stop()
    await sink.stop()
  }
}

const contestants =
  (reuse: boolean) =>
  ({ dir, quick }: ScenarioOptions): Contestant[] => {
    const { ours, postfix: peer } = quick ? loads.quick : loads.full
    let turn = 0
    const fresh = (name: string): string => {
      const path = join(dir, `${name}${turn++}`)
      mkdirSync(path, { recursive: true })
      return path
    }
    const generators = whyMissing(['smtp-source', 'smtp-sink'])
    const postfix = generators ?? whyMissing(['postfix'], { root: true })
    return [
      {
        name: 'mailactors',
        unavailable: generators,
        run: () => {
          const path = fresh('ours')
          return measure(path, { ...ours, reuse }, (sinkPort) => startOurs(path, sinkPort))
        },
      },
      {
        name: 'Postfix',
        unavailable: postfix,
        run: () => {
          const path = fresh('postfix')
          return measure(path, { ...peer, reuse }, (sinkPort) => startPostfix(path, sinkPort))
        },
      },
      {
        // On loopback its connection cache costs more than it saves: this is its best here.
        name: 'Postfix, no cache',
        unavailable: postfix,
        run: () => {
          const path = fresh('postfix')
          return measure(path, { ...peer, reuse }, (sinkPort) =>
            startPostfix(path, sinkPort, { SETTINGS: 'smtp_connection_cache_on_demand=no' }),
          )
        },
      },
    ]
  }

const columns = [
  { key: 'acceptedPerSecond', title: 'accepted/s', better: 'more' },
  { key: 'deliveredPerSecond', title: 'delivered/s', better: 'more' },
  { key: 'perCpuSecond', title: 'delivered per CPU s', better: 'more' },
  { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
  { key: 'ackP50', title: 'ack p50 ms', better: 'less', digits: 1 },
  { key: 'ackP99', title: 'ack p99 ms', better: 'less', digits: 1 },
  { key: 'busyCores', title: 'busy cores', digits: 2 },
] as const

export const relay: Scenario = {
  name: 'relay',
  summary: `smtp-source -> relay -> smtp-sink, ${OCTETS} octets, one recipient, ${SESSIONS} sessions, one mail per connection`,
  rounds: 3,
  columns,
  contestants: contestants(false),
}

export const relayReuse: Scenario = {
  name: 'relay-reuse',
  summary: 'the same with many mails on each connection of the source',
  rounds: 3,
  columns,
  contestants: contestants(true),
}
