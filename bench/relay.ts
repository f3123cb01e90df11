/**
 * Relaying: smtp-source → server → smtp-sink, all on loopback. Everyone gets the same warm-up, the same mails, a queue
 * on the same disk with the durability the server has by default, and its usual log in a file.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../test/support/ports.ts'
import { Service } from '../test/support/service.ts'
import { CountingSink } from './harness/counting-sink.ts'
import { CpuWindow } from './harness/cpu-window.ts'
import { pidFrom } from './harness/proc-tree.ts'
import { atEnd, run, whyMissing } from './harness/processes.ts'
import type { Contestant, Measurement, Scenario, ScenarioOptions } from './harness/scenario.ts'

const OCTETS = 4096
const SESSIONS = 20

interface Relay {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

interface Load {
  readonly mails: number
  readonly warmup: number
}

const source = (port: number, mails: number): Promise<{ seconds: number }> =>
  run(
    'smtp-source',
    // -C: tries again when a connect is refused; without -d one connection per mail
    ['-s', `${SESSIONS}`, '-m', `${mails}`, '-l', `${OCTETS}`, '-C', '10', '-f', 'sender@peers.test'].concat([
      '-t',
      'user@dest.test',
      `127.0.0.1:${port}`,
    ]),
    { timeoutMs: 120_000 },
  )

/** One run: start, warm up, measure until the last mail is at the sink, stop. */
async function measure(
  dir: string,
  load: Load,
  start: (sinkPort: number) => Promise<Relay>,
): Promise<Measurement> {
  const sink = await CountingSink.start({ dir })
  const relay = await start(sink.port)
  try {
    await source(relay.port, load.warmup)
    await sink.waitFor(load.warmup, 60_000)
    await sleep(300)
    const cpu = new CpuWindow(relay.pid)
    const { seconds: accepting } = await source(relay.port, load.mails)
    const delivered = (await sink.waitFor(load.warmup + load.mails, 120_000)) - cpu.startedAt
    // What follows the last delivery, removing it from the queue, is part of the work.
    await sleep(300)
    const used = cpu.read()
    return {
      acceptedPerSecond: load.mails / accepting,
      deliveredPerSecond: (load.mails / delivered) * 1000,
      perCpuSecond: load.mails / used.server,
      cpuMs: (used.server / load.mails) * 1000,
      busyCores: used.machine / (delivered / 1000 + 0.3),
    }
  } finally {
    await relay.stop()
    await sink.stop()
  }
}

async function startOurs(dir: string, sinkPort: number): Promise<Relay> {
  const service = await Service.prepare({
    dir,
    listeners: ['smtp'],
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sinkPort}"\n`,
  })
  const stop = atEnd(async () => {
    if (service.isRunning) await service.stop()
  })
  await service.run()
  return { port: service.ports.smtp, pid: service.pid, stop }
}

const postfixScript = fileURLToPath(new URL('peers/postfix-relay.sh', import.meta.url))

async function startPostfix(dir: string, sinkPort: number, settings: string): Promise<Relay> {
  const [port = 0] = await freePorts(1)
  const stop = atEnd(async () => {
    await run(postfixScript, ['stop', dir], { timeoutMs: 30_000 })
  })
  await run(postfixScript, ['start', dir, `${port}`, `127.0.0.1:${sinkPort}`], {
    timeoutMs: 30_000,
    env: { SETTINGS: settings },
  })
  return { port, pid: pidFrom(join(dir, 'queue', 'pid', 'master.pid')), stop }
}

function contestants({ dir, quick }: ScenarioOptions): Contestant[] {
  const load = quick ? { mails: 300, warmup: 100 } : { mails: 3000, warmup: 500 }
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
        return measure(path, load, (sinkPort) => startOurs(path, sinkPort))
      },
    },
    {
      name: 'Postfix',
      unavailable: postfix,
      run: () => {
        const path = fresh('postfix')
        return measure(path, load, (sinkPort) => startPostfix(path, sinkPort, ''))
      },
    },
    {
      // On loopback its connection cache costs more than it saves: this is its best here.
      name: 'Postfix, no cache',
      unavailable: postfix,
      run: () => {
        const path = fresh('postfix')
        return measure(path, load, (sinkPort) =>
          startPostfix(path, sinkPort, 'smtp_connection_cache_on_demand=no'),
        )
      },
    },
  ]
}

export const relay: Scenario = {
  name: 'relay',
  summary: `smtp-source -> relay -> smtp-sink, ${OCTETS} octets, one recipient, ${SESSIONS} sessions, one mail per connection`,
  rounds: 3,
  columns: [
    { key: 'acceptedPerSecond', title: 'accepted/s', better: 'more' },
    { key: 'deliveredPerSecond', title: 'delivered/s', better: 'more' },
    { key: 'perCpuSecond', title: 'delivered per CPU s', better: 'more' },
    { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
    { key: 'busyCores', title: 'busy cores', digits: 2 },
  ],
  contestants,
}
