/**
 * Does the length of the queue matter? `npm run build && node bench/queue-size.ts [--sizes 1000,10000,100000,1000000]`, some minutes.
 *
 * For each size a queue of so many deferred mails, of a hundred destinations, is written to disk; then the real service
 * starts on it, relays 3000 mails to smtp-sink, lists a page and is stopped. Shown: how long the start took, the memory
 * of the process before and after, CPU for each of the relayed mails, and p50 and p99 of one SMTP transaction.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Logger } from '../src/actors/index.ts'
import { QueueIdSource } from '../src/queue/queue-id.ts'
import { QueueStore } from '../src/queue/store.ts'
import { SmtpClient } from '../test/support/clients.ts'
import { Service } from '../test/support/service.ts'
import { CountingSink } from './harness/counting-sink.ts'
import { CpuWindow } from './harness/cpu-window.ts'
import { memory } from './harness/proc-tree.ts'
import { cleanUp, cleanUpOnSignals } from './harness/processes.ts'
import { source } from './harness/relays.ts'
import { quantiles, round } from './harness/statistics.ts'

const MAILS = 3000
const TRANSACTIONS = 300
const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1000,10000,100000,1000000' },
    dir: { type: 'string', default: process.cwd() },
  },
})
const silent: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error: console.error,
  fatal: console.error,
  isLevelEnabled: (level) => level === 'error',
}

/** Writes mails that were tried once and wait for a day. */
function fill(directory: string, mails: number): void {
  const now = Date.now()
  const ids = new QueueIdSource(1)
  const store = QueueStore.open(directory, { log: silent, now })
  const content = Buffer.alloc(1024, 'Subject: waits\r\n\r\n')
  for (let at = 0; at < mails; ) {
    store.transaction(() => {
      for (let n = 0; n < 10_000 && at < mails; n++, at++) {
        const nexthop = `d${at % 100}.test`
        const id = store.insert({
          queueId: ids.next(now - mails + at),
          envelope: { sender: `s${at}@client.test`, recipients: [{ address: `user${at}@${nexthop}` }] },
          content: { bytes: content },
          client: { address: '192.0.2.1', port: 4000, protocol: 'ESMTP', helo: 'client.test' },
          arrivedAt: now - 60_000,
        })
        store.setState({ id, recipients: 1 }, 'deferred')
        store.defer(id, now + 86_400_000 + at, `smtp:${nexthop}`, '4.4.1 connect: Connection refused', {
          at: now,
          relay: 'none',
        })
      }
    })
  }
  store.close()
}

async function measure(size: number): Promise<object> {
  const dir = mkdtempSync(join(values.dir, '.bench-size-'))
  const sink = await CountingSink.start({ dir })
  const service = await Service.prepare({
    dir,
    listeners: ['smtp'],
    // What users run: source that is stripped of its types at the start costs each thread memory.
    env: { MAILACTORS_FROM_SOURCE: '' },
    tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n`,
  })
  try {
    mkdirSync(join(service.dataDir, 'queue'), { recursive: true })
    fill(join(service.dataDir, 'queue'), size)
    const began = performance.now()
    await service.run(120_000)
    const startSeconds = (performance.now() - began) / 1000
    const before = memory([service.pid]).rssKiB
    await source(service.ports.smtp, 500, { sessions: 20 })
    await sink.waitFor(500, 60_000)
    const cpu = new CpuWindow(service.pid)
    await source(service.ports.smtp, MAILS, { sessions: 20 })
    await sink.waitFor(500 + MAILS, 120_000)
    await sleep(300)
    const used = cpu.read()
    const client = await SmtpClient.connect(service.ports.smtp)
    await client.expect(250, 'EHLO client.test')
    const took: number[] = []
    for (let n = 0; n < TRANSACTIONS; n++) {
      const start = performance.now()
      await client.send({ from: 'a@client.test', to: ['b@dest.test'], content: 'Subject: x\r\n\r\nx' })
      took.push(performance.now() - start)
    }
    client.close()
    const acknowledgement = quantiles(took)
    return {
      queued: size,
      startSeconds: round(startSeconds),
      memoryAtStartMiB: Math.round(before / 1024),
      memoryAfterMiB: Math.round(memory([service.pid]).rssKiB / 1024),
      cpuMsEach: round((used.server / MAILS) * 1000),
      acknowledgedP50Ms: acknowledgement?.p50,
      acknowledgedP99Ms: acknowledgement?.p99,
    }
  } finally {
    if (service.isRunning) await service.stop(60_000)
    await sink.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

cleanUpOnSignals()
try {
  for (const size of values.sizes.split(',').map(Number)) console.log(JSON.stringify(await measure(size)))
} finally {
  await cleanUp()
}
