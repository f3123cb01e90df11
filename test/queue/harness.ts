/** A queue on the virtual clock, with delivery actors that do what the test says. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type ActorRef,
  type AnyActorDefinition,
  type AnyContract,
  actor,
  type Logger,
} from '../../src/actors/index.ts'
import { authSettings } from '../../src/auth/config.ts'
import { cacheSettings } from '../../src/cache/config.ts'
import { defaults } from '../../src/config/schema.ts'
import { logSettings } from '../../src/config/tables.ts'
import { mailSettings } from '../../src/mailbox/config.ts'
import { lmtpSettings, smtpSettings } from '../../src/protocols/smtp/client/config.ts'
import { dsnSettings, notifySettings, queueSettings, serviceSettings } from '../../src/queue/config.ts'
import type {
  DeliveryReport,
  DeliveryRequest,
  EnqueueResult,
  EnvelopeRecipient,
  NewMail,
  Onward,
  OperationPage,
  QueueContract,
  QueueOperation,
  QueueSelection,
  RecipientResult,
} from '../../src/queue/contract.ts'
import { deliveries } from '../../src/queue/deliveries.ts'
import { type QueueArgs, queueManager } from '../../src/queue/manager.ts'
import { QueueIdSource } from '../../src/queue/queue-id.ts'
import { TestSystem } from '../../src/testing/index.ts'

export type LogLine = { readonly [key: string]: unknown }

/** A delivery that was started and waits for the test. */
export interface Started {
  readonly request: DeliveryRequest
  /** Ends it with one result for all recipients, or one for each. */
  report(result: Partial<RecipientResult> | Partial<RecipientResult>[], rest?: Partial<DeliveryReport>): void
  /** The same, and goes on with what it was given, or waits for it: that is another one that was started. */
  goOn(result: Partial<RecipientResult>): void
  /** What it was given ahead of time. */
  given: DeliveryRequest | undefined
  /** Gives that back. */
  giveBack(): void
  /** Ends it without a report. */
  crash(): void
}

export interface HarnessOptions {
  readonly directory?: string
  readonly config?: { readonly [table: string]: unknown }
  readonly args?: Partial<QueueArgs>
  readonly startTime?: number
}

export class Harness {
  readonly directory: string
  readonly log: LogLine[] = []
  /** All deliveries ever started, oldest first. */
  readonly started: Started[] = []
  /** Deliveries that were told to wait no longer for more. */
  dismissed = 0
  /** What deliveries do by themselves; undefined: they wait for the test. */
  auto: ((request: DeliveryRequest) => Partial<RecipientResult> | undefined) | undefined
  system!: TestSystem
  readonly #ids = new QueueIdSource(0)
  readonly #options: HarnessOptions
  readonly #owned: boolean

  private constructor(options: HarnessOptions) {
    this.#options = options
    this.#owned = options.directory === undefined
    this.directory = options.directory ?? mkdtempSync(join(tmpdir(), 'mailactors-queue-'))
  }

  static async start(options: HarnessOptions = {}): Promise<Harness> {
    const harness = new Harness(options)
    await harness.boot()
    return harness
  }

  /** Starts a system on the same directory, at the same virtual time or later. */
  async boot(startTime = this.#options.startTime): Promise<void> {
    const { config = {}, args = {} } = this.#options
    this.system = await TestSystem.start({
      ...(startTime === undefined ? {} : { startTime }),
      log: this.#logger(),
      settings: {
        config: {
          hostname: 'queue.test',
          data_dir: this.directory,
          mail: { ...defaults(mailSettings) },
          auth: { ...defaults(authSettings), ...(config.auth as object) },
          service: { ...defaults(serviceSettings), in_flow_delay: 0, ...(config.service as object) },
          queue: { ...defaults(queueSettings), minfree: 0, ...(config.queue as object) },
          dsn: { ...defaults(dsnSettings), ...(config.dsn as object) },
          notify: { ...defaults(notifySettings), ...(config.notify as object) },
          cache: defaults(cacheSettings),
          log: { ...defaults(logSettings), ...(config.log as object) },
          smtp: { ...defaults(smtpSettings), ...(config.smtp as object) },
          lmtp: { ...defaults(smtpSettings), ...defaults(lmtpSettings) },
          transport: config.transport ?? {},
          transports: config.transports ?? {},
        },
      },
      children: [
        { id: 'deliveries', actor: deliveries, registerAs: 'deliveries' },
        {
          id: 'queue',
          actor: queueManager,
          args: { delivery: this.#delivery(), local: this.#delivery(), flushesAtOnce: true, ...args },
          registerAs: 'queue',
        },
      ],
    })
    await this.system.settle()
  }

  get queue(): ActorRef<QueueContract> {
    return this.system.whereis<QueueContract>('queue')!
  }

  /** A new mail that arrives now. */
  mail(
    recipients: readonly (string | EnvelopeRecipient)[],
    changes: Partial<NewMail> & { sender?: string } = {},
  ): NewMail {
    const { sender = 'sender@client.test', envelope, ...rest } = changes
    return {
      queueId: this.#ids.next(this.system.now()),
      envelope: {
        sender,
        recipients: recipients.map((recipient) =>
          typeof recipient === 'string' ? { address: recipient } : recipient,
        ),
        ...envelope,
      },
      content: { bytes: Buffer.from('Subject: test\r\nFrom: <s@client.test>\r\n\r\nThe body.\r\n') },
      client: { address: '192.0.2.9', port: 1025, protocol: 'ESMTP' },
      arrivedAt: this.system.now(),
      ...rest,
    }
  }

  /** Queues a mail and waits until everything that follows at once is done. Returns its queue id. */
  async enqueue(...what: Parameters<Harness['mail']>): Promise<string> {
    const mail = this.mail(...what)
    const result = await this.result(mail)
    if (result.status !== 'queued') throw new Error(`refused: ${result.reason}`)
    return mail.queueId
  }

  /** Does something to mails by id, or to those of a selection; returns the ids. */
  async operate(
    operation: QueueOperation,
    which: readonly string[] | QueueSelection,
    page: Partial<OperationPage> = {},
  ): Promise<readonly string[]> {
    const selection = Array.isArray(which) ? { ids: which } : (which as QueueSelection)
    const { done } = await this.queue.ask('operate', operation, selection, {
      after: '',
      limit: 1000,
      ...page,
    })
    await this.system.settle()
    return done.map(({ queueId }) => queueId)
  }

  async result(mail: NewMail): Promise<EnqueueResult> {
    const result = await this.queue.ask('enqueue', mail)
    await this.system.settle()
    return result
  }

  events(event: string): LogLine[] {
    return this.log.filter((line) => line.event === event)
  }

  /** Deliveries that wait for the test. */
  get open(): Started[] {
    return this.started.filter((started) => !this.#finished.has(started))
  }

  /** Stops the system, keeps the directory. */
  async halt(): Promise<void> {
    await this.system.stop()
    this.started.length = 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.system.stop()
    if (this.#owned) rmSync(this.directory, { recursive: true, force: true })
  }

  readonly #finished = new Set<Started>()

  #delivery(): AnyActorDefinition {
    const harness = this
    return actor<AnyContract, DeliveryRequest>({
      name: 'scripted-delivery',
      module: import.meta.url,
      init(context, first) {
        const queue = context.whereis<QueueContract>('queue')!
        /** Undefined: it waits for a request. */
        let current: Started | undefined
        const begin = (request: DeliveryRequest): void => {
          const startedAt = context.clock.now()
          const tell = (
            result: Partial<RecipientResult> | Partial<RecipientResult>[],
            rest: Partial<DeliveryReport>,
            onward?: Onward,
          ) => {
            harness.#finished.add(started)
            const each = Array.isArray(result) ? result : request.recipients.map(() => result)
            const report = {
              queueId: request.queueId,
              results: request.recipients.map(({ id }, index) => ({
                id,
                status: 'sent' as const,
                dsn: '2.0.0',
                reply: '250 2.0.0 ok',
                relay: 'mx.test[192.0.2.1]:25',
                ...each[index],
              })),
              connUse: 1,
              startedAt,
              setupAt: startedAt,
              ...rest,
            }
            if (onward === undefined) queue.tell('delivered', report)
            else queue.tell('delivered', report, onward)
          }
          const started: Started = {
            request,
            given: undefined,
            report: context.bind((result, rest = {}) => {
              tell(result, rest)
              context.stop()
            }),
            goOn: context.bind((result: Partial<RecipientResult>) => {
              const { given } = started
              current = undefined
              tell(result, {}, { hasBegun: given !== undefined, setupMs: 7 })
              if (given !== undefined) begin(given)
            }),
            giveBack: context.bind(() => {
              queue.tell('returned', started.given!.recipients[0]!.id)
              started.given = undefined
            }),
            crash: context.bind(() => {
              harness.#finished.add(started)
              throw new Error('crashed by the test')
            }),
          }
          current = started
          harness.started.push(started)
          const result = harness.auto?.(request)
          if (result !== undefined) started.report(result)
        }
        begin(first)
        return {
          next(request: DeliveryRequest) {
            if (current === undefined) begin(request)
            else current.given = request
          },
          end() {
            harness.dismissed += 1
            context.stop()
          },
        }
      },
    }) as AnyActorDefinition
  }

  #logger(): Logger {
    const write =
      (level: string) =>
      (facts: object, text?: string): void => {
        this.log.push({ level, msg: text, ...facts })
      }
    return {
      trace: () => {},
      debug: () => {},
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
      isLevelEnabled: () => true,
    }
  }
}

export const soft = { status: 'deferred', dsn: '4.2.0', reply: '450 4.2.0 later' } as const
export const hard = {
  status: 'bounced',
  dsn: '5.1.1',
  reply: '550 5.1.1 no such user',
  remoteMta: 'mx.test',
} as const
export const trouble = { hopStatus: { dsn: '4.4.1', reason: 'connection refused' } } as const
