/**
 * The connection cache where it pays most: a full queue goes to one destination that insists on TLS. Each with its
 * cache and without, in the same run; `spared` is how many of the mails needed no connection of their own.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CpuWindow } from './harness/cpu-window.ts'
import { whyMissing } from './harness/processes.ts'
import { holding, OCTETS, type Relay, source, startOurs, startPostfix } from './harness/relays.ts'
import type { Contestant, Measurement, Scenario, ScenarioOptions } from './harness/scenario.ts'
import { TlsSink } from './harness/tls-sink.ts'

async function measure(mails: number, start: (nexthopPort: number) => Promise<Relay>): Promise<Measurement> {
  const sink = await TlsSink.start()
  const relay = await start(sink.port)
  try {
    await source(relay.port, mails, { sessions: 20, reuse: true })
    await sleep(500)
    const cpu = new CpuWindow(relay.pid)
    await relay.release()
    const ended = await sink.waitFor(mails, 600_000)
    const seconds = (ended - cpu.startedAt) / 1000
    // What follows the last delivery, removing it from the queue, is part of the work.
    await sleep(300)
    const used = cpu.read()
    const { handshakes } = await sink.counts()
    return {
      deliveredPerSecond: mails / seconds,
      perCpuSecond: mails / used.server,
      cpuMs: (used.server / mails) * 1000,
      handshakes,
      spared: (1 - handshakes / mails) * 100,
    }
  } finally {
    await relay.stop()
    await sink.stop()
  }
}

function contestants({ dir, quick }: ScenarioOptions): Contestant[] {
  let turn = 0
  const fresh = (): string => {
    const path = join(dir, `${turn++}`)
    mkdirSync(path, { recursive: true })
    return path
  }
  const mails = quick ? 500 : 10_000
  const generators = whyMissing(['smtp-source'])
  const postfixMissing = generators ?? whyMissing(['postfix'], { root: true })
  const ours = (name: string, isCached: boolean): Contestant => ({
    name,
    unavailable: generators,
    run: () =>
      measure(mails, (port) =>
        startOurs(fresh(), port, {
          smtp: [
            'tls_security_level = "encrypt"',
            `tls_connection_reuse = ${isCached}`,
            `connection_cache_on_demand = ${isCached}`,
          ].join('\n'),
          tables: '[queue]\ndefer_transports = ["smtp"]\n',
        }),
      ),
  })
  const postfix = (name: string, isCached: boolean): Contestant => ({
    name,
    unavailable: postfixMissing,
    run: () =>
      // Its handshakes take so long that fewer mails say as much.
      measure(Math.min(mails, 2_000), (port) =>
        startPostfix(fresh(), port, {
          SETTINGS: [
            holding,
            'smtp_tls_security_level=encrypt',
            `smtp_tls_connection_reuse=${isCached ? 'yes' : 'no'}`,
            `smtp_connection_cache_on_demand=${isCached ? 'yes' : 'no'}`,
          ].join('; '),
        }),
      ),
  })
  return [
    ours('mailactors', true),
    ours('mailactors, no cache', false),
    postfix('Postfix', true),
    postfix('Postfix, no cache', false),
  ]
}

export const cache: Scenario = {
  name: 'cache',
  summary: `a full queue -> one server that insists on TLS, ${OCTETS} octets, one recipient`,
  rounds: 3,
  columns: [
    { key: 'deliveredPerSecond', title: 'delivered/s', better: 'more' },
    { key: 'perCpuSecond', title: 'delivered per CPU s', better: 'more' },
    { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
    { key: 'handshakes', title: 'handshakes', better: 'less' },
    { key: 'spared', title: '% spared', better: 'more', digits: 2 },
  ],
  contestants,
}
