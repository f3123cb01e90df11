/**
 * The composition root: configuration → actor system → supervision tree. `tree.ts` says what runs; this file
 * joins it with the runtime and gives the whole a handle.
 */
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import type { AccountingContract } from './accounting/contract.ts'
import {
  type ActorRef,
  type AnyContract,
  AskError,
  type ExitReason,
  type Logger,
  MailactorsError,
  type SupervisorContract,
  silentLog,
} from './actors/index.ts'
import type { Administered, PoolRow, PoolSizeRequest, ThreadRow, TreeNode } from './admin/contract.ts'
import type { AdminPageContract } from './admin/http.ts'
import { Submission } from './admin/submit.ts'
import type { AuthContract } from './auth/contract.ts'
import { type AuthArgs, passwordJob, passwordJobMs } from './auth/hasher.ts'
import type { CacheContract } from './cache/contract.ts'
import { reloaded } from './config/live.ts'
import type { Config, ListenerConfig } from './config/settings.ts'
import { changeListeners } from './listener-changes.ts'
import type { ListenerContract, ListenerInfo } from './listeners/contract.ts'
import { passedSocketsSetting } from './listeners/listen.ts'
import { changePools, jobsOptions, poolOptions, recyclePool, resizePool } from './mail-pools.ts'
import type { MailboxesContract } from './mailbox/contract.ts'
import type { TlsStoreContract } from './protocols/smtp/client/tls/contract.ts'
import type { QueueContract } from './queue/contract.ts'
import type { LogOptions } from './runtime/log.ts'
import { type ActorInfo, ActorSystem } from './runtime/system.ts'
import { adminPageName, mailTree } from './tree.ts'

/** A part of the running service is not there just now: its supervisor is restarting it. */
export class UnavailableError extends MailactorsError {
  readonly code = 'MA_UNAVAILABLE'
}

export interface ServeOptions {
  /** Takes the lines of the service; those of its actors too unless `actorLog` is given. By default nobody does. */
  readonly log?: Logger
  /** What each thread makes a log of its own of, so that no line waits for the main thread. */
  readonly actorLog?: LogOptions
  /** Somebody asked over the control socket that the service end. */
  readonly onStopRequest?: (now: boolean) => void
  /** Somebody asked over the control socket for a reload. Answers with the new configuration. */
  readonly readConfig?: () => Promise<Config>
  /** Listening sockets that were opened for us, by the address of the listener that is to use them. */
  readonly sockets?: Readonly<Record<string, number>>
  /** Every listener listens; called once, just before the `ready` line. */
  readonly onListening?: (listeners: readonly ListenerInfo[]) => void
}

/** A running mail system. */
export interface Service {
  readonly listeners: readonly ListenerInfo[]
  /** Resolves when the service has ended by itself: a part of it failed more often than its supervisors allow. */
  readonly failed: Promise<ExitReason>
  /** Drains and stops; `now` does not wait for running deliveries. Settles when all is closed. */
  stop(options?: { readonly now?: boolean }): Promise<void>
  /** Takes a new configuration; returns the keys that cannot change while the service runs. */
  reload(config: Config): Promise<readonly string[]>
  /**
   * For the program's handler of uncaught errors: ends the actor whose code threw `error`. `false`: it was no
   * actor's, and the program is in an unknown state.
   */
  attribute(error: unknown): boolean
}

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string
}

/**
 * Starts the mail system and waits until every listener listens.
 * @throws StartError, its cause naming what could not start.
 */
export async function serve(config: Config, options: ServeOptions = {}): Promise<Service> {
  const log = options.log ?? silentLog
  const mail = new MailSystem(config, { ...options, log })
  await mail.start()
  const listeners = await shown(mail, options)
  log.info({ event: 'ready', listeners, durationMs: Date.now() - mail.startedAt }, 'ready')
  return {
    listeners,
    failed: mail.failed,
    stop: ({ now = false } = {}) => mail.stopNow(now),
    reload: (next) => mail.adopt(next),
    attribute: (error) => mail.attribute(error),
  }
}

/** Who cannot take the listeners has no service: it must not go on running without an owner. */
async function shown(mail: MailSystem, { onListening }: ServeOptions): Promise<readonly ListenerInfo[]> {
  try {
    const listeners = await mail.listeners()
    onListening?.(listeners)
    return listeners
  } catch (error) {
    await mail.stopNow(true)
    throw error
  }
}

class MailSystem implements Administered, AuthArgs {
  readonly version = version
  readonly startedAt = Date.now()
  readonly #options: ServeOptions & { readonly log: Logger }
  readonly #submission: Submission
  #config: Config
  #system: ActorSystem | undefined
  #stopping: Promise<void> | undefined
  /** The last reload. */
  #adopting: Promise<unknown> = Promise.resolve()
  /** Ends the wait for running deliveries. */
  #hurry: () => void = () => {}

  constructor(config: Config, options: ServeOptions & { readonly log: Logger }) {
    this.#config = config
    this.#options = options
    this.#submission = new Submission(
      () => this.#config,
      () => this.queue(),
    )
  }

  get hostname(): string {
    return this.#config.hostname
  }

  async start(): Promise<void> {
    const config = this.#config
    this.#system = await ActorSystem.start({
      name: 'mailactors',
      settings: { config, [passedSocketsSetting]: this.#options.sockets ?? {} },
      log: this.#options.actorLog ?? this.#options.log,
      pools: poolOptions(config),
      jobs: jobsOptions(config),
      children: mailTree(this),
    })
  }

  get #running(): ActorSystem {
    if (this.#system === undefined) throw new UnavailableError('the service has not started yet')
    return this.#system
  }

  attribute(error: unknown): boolean {
    return this.#running.attribute(error)
  }

  /** Only when nobody asked for the end. */
  get failed(): Promise<ExitReason> {
    return this.#running.ended.then((reason) =>
      this.#stopping === undefined ? reason : new Promise<never>(() => {}),
    )
  }

  readonly checkElsewhere = (field: string, password: string) =>
    this.#running.jobs.run(passwordJob, [field, password], { timeoutMs: passwordJobMs })

  readonly queue = () => this.#part<QueueContract>('queue')
  readonly cache = () => this.#part<CacheContract>('cache')
  readonly tlsStore = () => this.#part<TlsStoreContract>('tls-store')
  readonly accounting = () => this.#part<AccountingContract>('accounting')
  readonly mailboxes = () => this.#part<MailboxesContract>('mailboxes')

  #part<C extends AnyContract>(name: string): ActorRef<C> {
    const ref = this.#running.whereis<C>(name)
    if (ref === undefined) throw new UnavailableError(`${name} is not running just now`)
    return ref
  }

  async listeners(): Promise<readonly ListenerInfo[]> {
    const children = await this.#part<SupervisorContract>('listeners').ask('whichChildren')
    const listeners = children.flatMap((child) =>
      child.ref === null ? [] : [child.ref as ActorRef as ActorRef<ListenerContract>],
    )
    const pages = this.#config.listener
      .filter((listener) => listener.service === 'admin')
      .map((listener) => this.#part<AdminPageContract>(adminPageName(listener.address)))
    return await Promise.all([...listeners, ...pages].map((listener) => listener.ask('info')))
  }

  async tree(): Promise<TreeNode> {
    const roots = await this.#running.inspect()
    const [first, ...loose] = roots.map(treeNode)
    if (first === undefined) throw new UnavailableError('the supervision tree is not running')
    // Keepers and the like, which belong to a thread and not to a supervisor, stand last.
    return { ...first, children: [...first.children, ...loose] }
  }

  async threads(): Promise<readonly ThreadRow[]> {
    return await this.#running.threads()
  }

  pools(): readonly PoolRow[] {
    return this.#running.pools.list()
  }

  resizePool(name: string, size: PoolSizeRequest): Promise<PoolRow> {
    return resizePool(this.#running, name, size)
  }

  recyclePool(name: string): Promise<readonly number[]> {
    return recyclePool(this.#running, name, this.#config.shutdown_timeout)
  }

  submit(...mail: Parameters<Submission['submit']>): ReturnType<Submission['submit']> {
    return this.#submission.submit(...mail)
  }

  async reload(): Promise<readonly string[]> {
    const { readConfig } = this.#options
    if (readConfig === undefined)
      throw new UnavailableError('this service was started without a configuration file')
    return await this.adopt(await readConfig())
  }

  /** One at a time: two reloads at once would open the same listener twice. */
  adopt(next: Config): Promise<readonly string[]> {
    const adopted = this.#adopting.then(() => this.#adopt(next))
    this.#adopting = adopted.catch(() => {})
    return adopted
  }

  async #adopt(next: Config): Promise<readonly string[]> {
    const { config, unchanged } = reloaded(this.#config, next)
    const { listener: listening } = this.#config
    const before = this.#config
    await this.#configure({ ...config, listener: listening })
    await changePools(this.#running, before, config, this.#options.log)
    this.#running.whereis<AuthContract>('auth')?.tell('reload')
    this.#running.whereis<QueueContract>('queue')?.tell('reload')
    // What was agreed under the old settings is not for mail under the new ones.
    this.#running.whereis<CacheContract>('cache')?.tell('flush')
    const closed = await this.#changeListeners(listening, config.listener)
    const kept = [...unchanged, ...closed.map(({ service, address }) => `listener ${service} ${address}`)]
    this.#options.log.info({ event: 'reloaded', unchanged: kept }, 'configuration reloaded')
    return kept
  }

  async #configure(config: Config): Promise<void> {
    this.#config = config
    await this.#running.configure({ config })
  }

  /** Returns those that could not be opened; the next reload tries them again. */
  async #changeListeners(
    current: readonly ListenerConfig[],
    next: readonly ListenerConfig[],
  ): Promise<readonly ListenerConfig[]> {
    if (isDeepStrictEqual(current, next) || this.#stopping !== undefined) return []
    const supervisors = {
      listeners: this.#part<SupervisorContract>('listeners'),
      admin: this.#part<SupervisorContract>('admin'),
    }
    const { listening, failed } = await changeListeners(current, next, supervisors, this)
    await this.#configure({ ...this.#config, listener: listening })
    for (const { listener, reason } of failed) {
      const { service, address } = listener
      this.#options.log.error({ event: 'listener.failed', service, address, reason }, 'cannot listen')
    }
    return failed.map(({ listener }) => listener)
  }

  stop(now: boolean): void {
    const { onStopRequest } = this.#options
    if (onStopRequest === undefined) void this.stopNow(now)
    else onStopRequest(now)
  }

  /** The first call drains; another one with `now` ends the wait. */
  stopNow(now: boolean): Promise<void> {
    if (now) this.#hurry()
    this.#stopping ??= this.#stopInOrder(now)
    return this.#stopping
  }

  async #stopInOrder(now: boolean): Promise<void> {
    const { log } = this.#options
    const { shutdown_timeout: timeoutMs } = this.#config
    log.info({ event: 'stopping', now }, 'stopping')
    if (!now && timeoutMs > 0) await this.#drain(timeoutMs)
    await this.#running.stop({ timeoutMs: stopMs })
    log.info({ event: 'stopped' }, 'stopped')
  }

  /** Nobody new comes in; what is being delivered may finish. */
  async #drain(timeoutMs: number): Promise<void> {
    const hurry = new AbortController()
    this.#hurry = () => hurry.abort()
    try {
      // Its children go first, and in this order: no new connection while the old ones are being finished.
      const supervisor = this.#part<SupervisorContract>('listeners')
      for (const child of await supervisor.ask('whichChildren'))
        await supervisor.ask('terminateChild', child.id)
      await this.queue().askWith({ timeoutMs, signal: hurry.signal }, 'drain')
    } catch (error) {
      // Not drained in time, or told to hurry: what is left stays in the queue and is tried at the next start.
      if (!(error instanceof AskError) && !(error instanceof UnavailableError)) throw error
      this.#options.log.warn(
        { event: 'drain.cut', reason: error.message },
        'stopping with deliveries under way',
      )
    }
  }
}

/** For the ordered stop of all actors after the drain. Each has its own shorter time. */
const stopMs = 20_000

function treeNode(info: ActorInfo): TreeNode {
  const crash = info.crashes.at(-1)?.reason
  const { name, id, thread, state, restarts, queueLength, handled, current, currentMs } = info
  return {
    name: info.registeredAs[0] ?? info.childId ?? name,
    id,
    thread,
    state,
    restarts,
    queueLength,
    handled,
    kind: name,
    ...(crash === undefined ? {} : { lastCrash: crash.message ?? crash.kind }),
    ...(current === undefined ? {} : { current }),
    ...(currentMs === undefined ? {} : { currentMs }),
    children: info.children.map(treeNode),
  }
}
