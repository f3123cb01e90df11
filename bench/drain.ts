/**
 * Draining: a queue that is full already goes to smtp-sink, on loopback and over a round trip of 20 ms. Ours waits by
 * `defer_transports` and is flushed, Postfix's waits on hold and is released.
 */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts, waitForPort } from '../test/support/ports.ts'
import { CountingSink } from './harness/counting-sink.ts'
import { CpuWindow } from './harness/cpu-window.ts'
import { atEnd, stopChild, whyMissing } from './harness/processes.ts'
import { holding, OCTETS, type Relay, source, startOurs, startPostfix } from './harness/relays.ts'
import type { Contestant, Measurement, Scenario, ScenarioOptions } from './harness/scenario.ts'

const RTT_MS = 20
/** MAIL, RCPT and DATA in one flight, the content in another. */
const ROUND_TRIPS = 2

interface Setup {
  readonly mails: number
  /** Mails before them that are not counted: as in `relay`, V8 has compiled what mails pass through. */
  readonly warmup: number
  /** Deliveries at the same time. */
  readonly window: number
  readonly rttMs: number
}

const lagProxy = fileURLToPath(new URL('peers/lag-proxy.ts', import.meta.url))

async function behindLag(port: number, rttMs: number): Promise<{ port: number; stop(): Promise<void> }> {
  if (rttMs === 0) return { port, stop: async () => undefined }
  const [near = 0] = await freePorts(1)
  const child = spawn(process.execPath, [lagProxy, `${near}`, `${port}`, `${rttMs}`], { stdio: 'ignore' })
  const stop = atEnd(() => stopChild(child))
  await waitForPort(near)
  return { port: near, stop }
}

async function measure(
  dir: string,
  { mails, warmup, window, rttMs }: Setup,
  start: (nexthopPort: number) => Promise<Relay>,
): Promise<Measurement> {
  const sink = await CountingSink.start({ dir })
  const nexthop = await behindLag(sink.port, rttMs)
  const relay = await start(nexthop.port)
  const fill = async (count: number): Promise<void> => {
    if (count === 0) return
    await source(relay.port, count, { sessions: 20, reuse: true })
    await sleep(500)
  }
  try {
    await fill(warmup)
    if (warmup > 0) {
      await relay.release()
      await sink.waitFor(warmup, 300_000)
    }
    await fill(mails)
    const cpu = new CpuWindow(relay.pid)
    await relay.release()
    const reached = async (share: number) => {
      const at = await sink.waitFor(warmup + Math.ceil(mails * share), 300_000)
      return { at, mails: sink.count() }
    }
    // Between them the window is open and all connections are busy.
    const from = await reached(0.3)
    const to = await reached(0.9)
    const { at: ended } = await reached(1)
    const seconds = (ended - cpu.startedAt) / 1000
    const steady = ((to.mails - from.mails) / (to.at - from.at)) * 1000
    // What follows the last delivery, removing it from the queue, is part of the work.
    await sleep(300)
    const used = cpu.read()
    const bound = rttMs === 0 ? undefined : window / ((rttMs / 1000) * ROUND_TRIPS)
    return {
      deliveredPerSecond: mails / seconds,
      steadyPerSecond: steady,
      rampMs: (seconds - mails / steady) * 1000,
      perCpuSecond: mails / used.server,
      cpuMs: (used.server / mails) * 1000,
      busyCores: used.machine / (seconds + 0.3),
      ...(bound === undefined ? {} : { ofBound: (steady / bound) * 100 }),
    }
  } finally {
    await relay.stop()
    await nexthop.stop()
    await sink.stop()
  }
}

const waiting = '[queue]\ndefer_transports = ["smtp"]\n'

function contestantsFor(rttMs: number) {
  return ({ dir, quick }: ScenarioOptions): Contestant[] => {
    let turn = 0
    const fresh = (): string => {
      const path = join(dir, `${turn++}`)
      mkdirSync(path, { recursive: true })
      return path
    }
    const wanted = (window: number) => (quick ? 500 : rttMs === 0 || window > 20 ? 10_000 : 3000)
    const warmups = quick ? { ours: 100, postfix: 100 } : { ours: 5000, postfix: 500 }
    const generators = whyMissing(['smtp-source', 'smtp-sink'])
    const postfixMissing = generators ?? whyMissing(['postfix'], { root: true })
    const ours = (name: string, window: number, tables: string, smtp = '', isWarm = true): Contestant => ({
      name,
      unavailable: generators,
      run: () => {
        const path = fresh()
        return measure(
          path,
          { mails: wanted(window), warmup: isWarm ? warmups.ours : 0, window, rttMs },
          (port) => startOurs(path, port, { tables, smtp }),
        )
      },
    })
    const postfix = (name: string, window: number, environment: Record<string, string>): Contestant => ({
      name,
      unavailable: postfixMissing,
      run: () => {
        const path = fresh()
        const SETTINGS = `${environment.SETTINGS ?? ''}; ${holding}`
        const mails = rttMs === 0 ? Math.min(wanted(window), 5000) : wanted(window)
        return measure(path, { mails, warmup: warmups.postfix, window, rttMs }, (port) =>
          startPostfix(path, port, { ...environment, SETTINGS }),
        )
      },
    })
    const wide = {
      CACHE_DESTINATIONS: '127.0.0.1',
      CONCURRENCY: '100',
      IN_FLOW_DELAY: '0',
      PROCESS_LIMIT: '300',
    }
    const ours100 = `${waiting}default_destination_concurrency_limit = 100\ndefault_process_limit = 300\n`
    return [
      ours('mailactors', 20, waiting),
      ours('mailactors, cold', 20, waiting, '', false),
      ours('mailactors, no cache', 20, waiting, 'connection_cache_on_demand = false'),
      postfix('Postfix', 20, {}),
      postfix('Postfix, no cache', 20, { SETTINGS: 'smtp_connection_cache_on_demand=no' }),
      ...(rttMs === 0 ? [] : [ours('mailactors, 100', 100, ours100), postfix('Postfix, 100', 100, wide)]),
    ]
  }
}

const columns = [
  { key: 'deliveredPerSecond', title: 'delivered/s', better: 'more' },
  { key: 'perCpuSecond', title: 'delivered per CPU s', better: 'more' },
  { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
  { key: 'busyCores', title: 'busy cores', digits: 2 },
] as const

export const drain: Scenario = {
  name: 'drain',
  summary: `a full queue -> smtp-sink, ${OCTETS} octets, one recipient`,
  rounds: 3,
  columns,
  contestants: contestantsFor(0),
}

export const drainFar: Scenario = {
  name: 'drain-far',
  summary: `the same over a round trip of ${RTT_MS} ms; the bound is ${ROUND_TRIPS} round trips a mail on each connection`,
  rounds: 3,
  columns: [
    ...columns,
    { key: 'steadyPerSecond', title: 'steady/s', better: 'more' },
    { key: 'ofBound', title: 'steady, % of the bound', better: 'more' },
    // Opening the window and the last mails, which leave connections idle.
    { key: 'rampMs', title: 'ramps ms', better: 'less' },
  ],
  contestants: contestantsFor(RTT_MS),
}
