/**
 * Nothing is lost, nothing is doubled: 10,000 mails of 4 KB through the service to smtp-sink.
 *
 *     node bench/soak.ts [--mails N] [--kills K] [--dir DIR]
 *
 * First by smtp-source with the service left alone: every mail must arrive exactly once. Then by a sender that records
 * what was acknowledged, while the service is killed (-9) and started again K times (default 5): every acknowledged
 * mail must arrive at least once. Prints what came and ends with code 1 when anything is missing.
 */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Service } from '../test/support/service.ts'
import { sendTraffic } from '../test/support/traffic.ts'
import { until } from '../test/support/until.ts'
import { CountingSink } from './harness/counting-sink.ts'
import { atEnd, cleanUp, cleanUpOnSignals, run, whyMissing } from './harness/processes.ts'
import { round } from './harness/statistics.ts'

const OCTETS = 4096

const { values: option } = parseArgs({
  options: {
    mails: { type: 'string', default: '10000' },
    kills: { type: 'string', default: '5' },
    dir: { type: 'string', default: tmpdir() },
  },
})
const mails = Number(option.mails)
const kills = Number(option.kills)

/** How often each recipient is in the sink's dump. */
function arrivals(dumpDir: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const file of readdirSync(dumpDir)) {
    const text = readFileSync(join(dumpDir, file), 'latin1')
    for (const [, recipient = ''] of text.matchAll(/^X-Rcpt-Args: <([^>]*)>/gm)) {
      found.set(recipient, (found.get(recipient) ?? 0) + 1)
    }
  }
  return found
}

interface Verdict {
  readonly expected: number
  readonly arrived: number
  readonly missing: readonly string[]
  readonly doubled: number
}

function judge(expected: Iterable<string>, dumpDir: string): Verdict {
  const found = arrivals(dumpDir)
  const wanted = [...expected]
  return {
    expected: wanted.length,
    arrived: found.size,
    missing: wanted.filter((recipient) => !found.has(recipient)),
    doubled: [...found.values()].filter((count) => count > 1).length,
  }
}

function print(title: string, verdict: Verdict, seconds: number): void {
  const { expected, arrived, missing, doubled } = verdict
  console.log(
    `${title}: ${expected} expected, ${arrived} arrived, ${doubled} more than once, ${missing.length} missing`,
  )
  console.log(`  ${round(seconds, 1)} s, ${round(expected / seconds, 0)} mails/s`)
  if (missing.length > 0) console.log(`  missing: ${missing.slice(0, 10).join(' ')}`)
}

async function setUp(dir: string): Promise<{ service: Service; sink: CountingSink; dumpDir: string }> {
  mkdirSync(dir)
  const dumpDir = join(dir, 'dump')
  mkdirSync(dumpDir)
  chmodSync(dir, 0o755)
  // smtp-sink writes as nobody.
  chmodSync(dumpDir, 0o777)
  const sink = await CountingSink.start({ dir, dumpDir })
  const service = await Service.prepare({
    dir,
    listeners: ['smtp'],
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n[queue]\nminimal_backoff_time = "1s"\nrun_delay = "1s"\n`,
  })
  atEnd(() => service.dispose({ keep: true }))
  await service.run()
  return { service, sink, dumpDir }
}

/** Waits until nothing has come for two seconds: doubles would come after the last expected mail. */
async function settled(sink: CountingSink): Promise<void> {
  let last = -1
  let since = 0
  await until(
    'a quiet sink',
    () => {
      const count = sink.count()
      if (count !== last) {
        last = count
        since = performance.now()
      }
      return performance.now() - since > 2000
    },
    { deadlineMs: 300_000, everyMs: 100 },
  )
}

async function exactlyOnce(dir: string): Promise<boolean> {
  const { service, sink, dumpDir } = await setUp(dir)
  const began = performance.now()
  // -N: each recipient has a number of its own.
  await run(
    'smtp-source',
    ['-N', '-s', '20', '-m', `${mails}`, '-l', `${OCTETS}`, '-C', '10'].concat([
      '-f',
      'sender@peers.test',
      '-t',
      'user@dest.test',
      `127.0.0.1:${service.ports.smtp}`,
    ]),
    { timeoutMs: 300_000 },
  )
  await sink.waitFor(mails, 300_000)
  const seconds = (performance.now() - began) / 1000
  await settled(sink)
  const found = arrivals(dumpDir)
  const verdict = judge(found.keys(), dumpDir)
  print('exactly once', { ...verdict, expected: mails }, seconds)
  await service.stop()
  await sink.stop()
  return found.size === mails && verdict.doubled === 0
}

async function atLeastOnce(dir: string): Promise<boolean> {
  const { service, sink, dumpDir } = await setUp(dir)
  const began = performance.now()
  let killed = 0
  let restarting: Promise<void> | undefined
  const restart = async (): Promise<void> => {
    killed += 1
    await service.kill()
    await service.run()
    restarting = undefined
  }
  const { acknowledged, setbacks } = await sendTraffic({
    port: () => service.ports.smtp,
    count: mails,
    sessions: 20,
    size: OCTETS,
    deadlineMs: 600_000,
    onAcknowledged: (_, total) => {
      const due = Math.floor((mails * (killed + 1)) / (kills + 1))
      if (killed < kills && total >= due && restarting === undefined) restarting = restart()
    },
  })
  await restarting
  const seconds = (performance.now() - began) / 1000
  await sink.waitFor(acknowledged.size, 300_000)
  await settled(sink)
  let verdict = judge(acknowledged, dumpDir)
  // What was cut off in the middle of a delivery may be waiting for its next attempt.
  for (let turn = 0; turn < 10 && verdict.missing.length > 0; turn++) {
    await settled(sink)
    verdict = judge(acknowledged, dumpDir)
  }
  print(`killed ${killed} times (${setbacks} connections cut)`, verdict, seconds)
  await service.stop()
  await sink.stop()
  return verdict.missing.length === 0 && killed === kills
}

async function main(): Promise<number> {
  const missing = whyMissing(['smtp-source', 'smtp-sink'])
  if (missing !== undefined) {
    console.error(`soak: ${missing}`)
    return 69
  }
  const dir = mkdtempSync(join(option.dir, 'mas-'))
  chmodSync(dir, 0o755)
  atEnd(() => rmSync(dir, { recursive: true, force: true }))
  const isExact = await exactlyOnce(join(dir, 'a'))
  const isKept = await atLeastOnce(join(dir, 'b'))
  return isExact && isKept ? 0 : 1
}

cleanUpOnSignals()
try {
  process.exitCode = await main()
} finally {
  await cleanUp()
}
