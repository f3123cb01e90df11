/**
 * A process that is meant to be killed: a queue that takes mail as fast as it can and writes the id of each mail
 * to stdout once it was acknowledged. Started by `durability.test.ts`.
 */
import { writeSync } from 'node:fs'
import { type AnyContract, actor } from '../../src/actors/index.ts'
import { authSettings } from '../../src/auth/config.ts'
import { cacheSettings } from '../../src/cache/config.ts'
import { defaults } from '../../src/config/schema.ts'
import { logSettings } from '../../src/config/tables.ts'
import { mailSettings } from '../../src/mailbox/config.ts'
import { lmtpSettings, smtpSettings } from '../../src/protocols/smtp/client/config.ts'
import { dsnSettings, notifySettings, queueSettings, serviceSettings } from '../../src/queue/config.ts'
import type { DeliveryRequest, QueueContract } from '../../src/queue/contract.ts'
import { deliveries } from '../../src/queue/deliveries.ts'
import { queueManager } from '../../src/queue/manager.ts'
import { QueueIdSource } from '../../src/queue/queue-id.ts'
import { ActorSystem } from '../../src/runtime/system.ts'

/** Writes a line as one piece, also when the reader is behind. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, line)
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    }
  }
}

/** Writes `D` and the id when a mail was delivered, before the queue hears of it. */
const delivery = actor<AnyContract, DeliveryRequest>({
  name: 'victim-delivery',
  module: import.meta.url,
  init(context, request) {
    if (request.nexthop === 'done.test') {
      say(`D ${request.queueId}\n`)
      context.whereis<QueueContract>('queue')?.tell('delivered', {
        queueId: request.queueId,
        results: request.recipients.map(({ id }) => ({
          id,
          status: 'sent' as const,
          dsn: '2.0.0',
          reply: 'ok',
          relay: 'x',
        })),
        connUse: 1,
        startedAt: 0,
        setupAt: 0,
      })
      context.stop()
    }
    return {}
  },
})

const directory = process.argv[2]!
const system = await ActorSystem.start({
  settings: {
    config: {
      hostname: 'victim.test',
      data_dir: directory,
      mail: defaults(mailSettings),
      auth: defaults(authSettings),
      service: defaults(serviceSettings),
      queue: { ...defaults(queueSettings), minfree: 0 },
      log: defaults(logSettings),
      dsn: defaults(dsnSettings),
      notify: defaults(notifySettings),
      cache: defaults(cacheSettings),
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
const ids = new QueueIdSource(0)
const body = Buffer.alloc(2000, 'x')

async function client(number: number): Promise<void> {
  for (;;) {
    const queueId = ids.next(Date.now())
    const nexthop = number % 2 === 0 ? 'done.test' : 'waits.test'
    const result = await queue.ask('enqueue', {
      queueId,
      envelope: { sender: '', recipients: [{ address: `a@${nexthop}` }, { address: `b@${nexthop}` }] },
      content: { bytes: Buffer.concat([Buffer.from(`X-Id: ${queueId}\r\n\r\n`), body]) },
      client: { address: '127.0.0.1', port: 1, protocol: 'SMTP' },
      arrivedAt: Date.now(),
    })
    if (result.status === 'queued') say(`Q ${queueId}\n`)
  }
}

await Promise.all(Array.from({ length: 16 }, (_, number) => client(number)))
