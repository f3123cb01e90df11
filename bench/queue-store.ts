/**
 * What does the queue cost per mail? `node bench/queue-store.ts`, about 5 s.
 *
 * Mails of 4 KB with one recipient, durable on the disk of the working directory: 64 senders that wait for their
 * answer, and deliveries that succeed at once in the same thread. Figures per mail: enqueue, commit, scheduling,
 * delivery actor, result, commit, removal. `store` is the SQLite part alone, in groups of 32.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type AnyContract, actor, type Logger } from '../src/actors/index.ts'
import { authSettings } from '../src/auth/config.ts'
import { cacheSettings } from '../src/cache/config.ts'
import { defaults } from '../src/config/schema.ts'
import { logSettings } from '../src/config/tables.ts'
import { mailSettings } from '../src/mailbox/config.ts'
import { lmtpSettings, smtpSettings } from '../src/protocols/smtp/client/config.ts'
import { dsnSettings, notifySettings, queueSettings, serviceSettings } from '../src/queue/config.ts'
import type { DeliveryRequest, NewMail, QueueContract } from '../src/queue/contract.ts'
import { deliveries } from '../src/queue/deliveries.ts'
import { queueManager } from '../src/queue/manager.ts'
import { QueueIdSource } from '../src/queue/queue-id.ts'
import { QueueStore } from '../src/queue/store.ts'
import { ActorSystem } from '../src/runtime/system.ts'

const directory = mkdtempSync(join(process.cwd(), '.bench-queue-'))
const ids = new QueueIdSource(0)
const body = Buffer.alloc(4096, 'x')
const silent: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error: console.error,
  fatal: console.error,
  isLevelEnabled: (level) => level === 'error',
}

const newMail = (): NewMail => ({
  queueId: ids.next(Date.now()),
  envelope: { sender: 'sender@example.org', recipients: [{ address: 'someone@example.com' }] },
  content: { bytes: body },
  client: { address: '192.0.2.1', port: 40000, protocol: 'ESMTP', helo: 'client.example.org' },
  arrivedAt: Date.now(),
})

interface Measured {
  readonly name: string
  readonly perSecond: number
  readonly cpuMicros: number
}

async function measure(name: string, run: () => number | Promise<number>): Promise<Measured> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const count = await run()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { name, perSecond: Math.round(count / seconds), cpuMicros: Math.round((user + system) / count) }
}

function storeAlone(): number {
  const store = QueueStore.open(join(directory, 'store'), { log: silent, now: Date.now() })
  const group = 32
  const end = performance.now() + 1500
  let count = 0
  let before: number[] = []
  while (performance.now() < end) {
    const added: number[] = []
    store.transaction(() => {
      for (let mail = 0; mail < group; mail++) added.push(store.insert(newMail()))
      for (const id of before) store.removeMail({ id, recipients: 1 })
    })
    before = added
    count += group
  }
  store.close()
  return count
}

const delivery = actor<AnyContract, DeliveryRequest>({
  name: 'bench-delivery',
  module: import.meta.url,
  init(context, request) {
    context.whereis<QueueContract>('queue')?.tell('delivered', {
      queueId: request.queueId,
      results: request.recipients.map(({ id }) => ({
        id,
        status: 'sent' as const,
        dsn: '2.0.0',
        reply: '250 2.0.0 ok',
        relay: 'mx.example.com[192.0.2.2]:25',
      })),
      connUse: 1,
      startedAt: request.activeAt,
      setupAt: request.activeAt,
    })
    context.stop()
    return {}
  },
})

async function wholeQueue(): Promise<number> {
  const system = await ActorSystem.start({
    log: silent,
    settings: {
      config: {
        hostname: 'bench.test',
        data_dir: directory,
        mail: defaults(mailSettings),
        auth: defaults(authSettings),
        cache: defaults(cacheSettings),
        service: defaults(serviceSettings),
        queue: defaults(queueSettings),
        log: defaults(logSettings),
        dsn: defaults(dsnSettings),
        notify: defaults(notifySettings),
        smtp: defaults(smtpSettings),
        lmtp: { ...defaults(smtpSettings), ...defaults(lmtpSettings) },
        transport: {},
        transports: {},
      },
    },
    children: [
      { id: 'deliveries', actor: deliveries, registerAs: 'deliveries' },
      { id: 'queue', actor: queueManager, args: { delivery }, registerAs: 'queue' },
    ],
  })
  const queue = system.whereis<QueueContract>('queue')!
  const end = performance.now() + 2500
  let count = 0
  const sender = async (): Promise<void> => {
    while (performance.now() < end) {
      const result = await queue.ask('enqueue', newMail())
      if (result.status !== 'queued') throw new Error(result.reason)
      count += 1
    }
  }
  await Promise.all(Array.from({ length: 64 }, sender))
  await queue.askWith({ timeoutMs: 10_000 }, 'drain')
  await system.stop()
  return count
}

try {
  const results = [await measure('store', storeAlone), await measure('queue', wholeQueue)]
  if (process.argv.includes('--json')) console.log(JSON.stringify(results))
  else {
    for (const { name, perSecond, cpuMicros } of results) {
      console.log(`${name.padEnd(6)} ${perSecond} mails/s, ${cpuMicros} us CPU per mail`)
    }
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
