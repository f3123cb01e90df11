import type { Command } from 'commander'
import type { Logger } from '../../actors/index.ts'
import { type LoadedConfig, loadSettings } from '../../config/loader.ts'
import type { Config } from '../../config/settings.ts'
import type { Service } from '../../serve.ts'
import { checkDataDir, claimDataDir } from '../data-dir.ts'
import { checkDeliveryTls } from '../delivery-tls.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { FirstRun, isFirstRun } from '../first-run.ts'
import { tableText } from '../format.ts'
import {
  type ConfigOptions,
  configFailure,
  loadOptions,
  loadOrFail,
  withConfigOptions,
  withJson,
} from '../options.ts'
import { checkServerTls } from '../server-tls.ts'
import { startFailure } from '../start-failure.ts'
import { assignSockets, passedSockets, ServiceManager } from '../systemd.ts'
import { checkTables } from '../tables.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options extends ConfigOptions {
  readonly check?: boolean
  readonly json?: boolean
}

/** `mailactors serve`: the whole mail system in this process, until a signal ends it. */
export function addServeCommand(program: Command, terminal: Terminal): void {
  const serve = program
    .command('serve')
    .description('run everything; TERM or INT drains and stops, again stops at once, HUP reloads')
    .option('--check', 'only check the configuration, and say what would listen where')
  withJson(withConfigOptions(serve)).action(async (options: Options) => {
    const loaded = loadOrFail(terminal, options)
    orFail(() => checkFiles(loaded.config))
    if (options.check) printCheck(terminal, loaded, options.json === true)
    else process.exitCode = await run(terminal, loaded, () => reread(terminal, options))
  })
}

function printCheck(terminal: Terminal, { config, file }: LoadedConfig, asJson: boolean): void {
  if (asJson) {
    printJson(terminal, {
      ok: true,
      file: file ?? null,
      dataDir: config.data_dir,
      listeners: config.listener,
    })
    return
  }
  const rows = config.listener.map(({ service, address, tls }) => [service, address, tls])
  terminal.print(
    `Configuration is valid (${file ?? 'defaults, no file'}).\nData directory: ${config.data_dir}\nWould listen:\n` +
      tableText([{ title: 'SERVICE' }, { title: 'ADDRESS' }, { title: 'TLS' }], rows),
  )
}

/** What the configuration refers to. */
function checkFiles(config: Config): void {
  checkDataDir(config)
  checkTables(config)
  checkServerTls(config)
  checkDeliveryTls(config)
}

function reread(terminal: Terminal, options: ConfigOptions): Config {
  return orFail(() => {
    const { config } = loadSettings(loadOptions(terminal, options))
    checkFiles(config)
    return config
  })
}

function orFail<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw configFailure(error)
  }
}

async function run(terminal: Terminal, loaded: LoadedConfig, readConfig: () => Config): Promise<number> {
  const { config } = loaded
  // Loaded here: the other commands need none of it, and start faster without.
  const [{ serve }, { logOptions, openLog, threadLogOptions, writeOut }] = await Promise.all([
    import('../../serve.ts'),
    import('../log.ts'),
  ])
  const lock = claimDataDir(config.data_dir)
  const isFirst = isFirstRun(loaded)
  const toLog = logOptions(config, terminal.isTerminal)
  const log = openLog(toLog)
  const actorLog = threadLogOptions(toLog)
  const manager = new ServiceManager(terminal.env, process.pid, log)
  const running = new RunningService(log, readConfig, manager)
  const { byAddress: sockets, unused } = assignSockets(
    passedSockets(terminal.env, process.pid, process.ppid),
    config.listener,
  )
  for (const { fd, name, address } of unused) {
    log.warn({ event: 'socket.unused', fd, name, address }, 'a socket was passed that no listener is for')
  }
  let firstRun: FirstRun | undefined
  try {
    firstRun = isFirst ? await FirstRun.begin(loaded, new Date()) : undefined
    const service = await serve(config, {
      log,
      ...(actorLog === undefined ? {} : { actorLog }),
      sockets,
      onStopRequest: (now) => running.requestStop(now ? 'now' : 'drain', 'control socket'),
      readConfig: async () => readConfig(),
      onListening: (listeners) => {
        if (firstRun !== undefined) writeOut(firstRun.text(listeners))
        firstRun?.shown()
        firstRun = undefined
      },
    })
    manager.ready()
    return await running.untilEnd(service)
  } catch (error) {
    firstRun?.undo()
    throw startFailure(error)
  } finally {
    running.ignoreSignals()
    lock.release()
    await manager.close()
  }
}

/** A terminal and npm each send the same keypress on: two signals this close together are one. */
const sameSignalMs = 300
/** After a stop "at once" the process ends in this time, whatever still hangs. */
const lastResortMs = 10_000

type StopMode = 'drain' | 'now'

/** A service between its start and its end: what signals and the control socket want of it. */
class RunningService {
  readonly #log: Logger
  readonly #readConfig: () => Config
  readonly #manager: ServiceManager
  #service: Service | undefined
  #mode: StopMode | undefined
  #askedAt = Number.NEGATIVE_INFINITY
  #ended: (exitCode: number) => void = () => {}
  readonly #handlers: ReadonlyMap<NodeJS.Signals, () => void>

  constructor(log: Logger, readConfig: () => Config, manager: ServiceManager) {
    this.#log = log
    this.#manager = manager
    this.#readConfig = readConfig
    this.#handlers = new Map([
      ['SIGTERM', () => this.#signal('SIGTERM')],
      ['SIGINT', () => this.#signal('SIGINT')],
      ['SIGHUP', () => void this.#reload()],
      // Without a handler one opens Node's debugger to everybody on this machine, and the other ends the process.
      ['SIGUSR1', () => this.#ignored('SIGUSR1')],
      ['SIGUSR2', () => this.#ignored('SIGUSR2')],
    ])
    for (const [signal, handler] of this.#handlers) process.on(signal, handler)
    process.on('uncaughtException', (error) => this.#uncaught(error))
  }

  /** Waits for the end of the service; returns the exit code. */
  untilEnd(service: Service): Promise<number> {
    this.#service = service
    const ended = new Promise<number>((resolve) => {
      this.#ended = resolve
    })
    void service.failed.then((reason) => {
      if (this.#mode !== undefined) return
      this.#log.fatal({ event: 'failed', reason: reason.message ?? reason.kind }, 'the service gave up')
      this.#ended(exitCodes.internal)
    })
    // Asked to stop while it was starting.
    if (this.#mode !== undefined) this.#stop(this.#mode)
    return ended
  }

  ignoreSignals(): void {
    for (const [signal, handler] of this.#handlers) process.off(signal, handler)
  }

  /** Stops the service: draining at the first request, at once at the second. */
  requestStop(mode: StopMode, by: string): void {
    const isUrgent = mode === 'now' || this.#mode !== undefined
    if (this.#mode === 'now') return
    this.#mode = isUrgent ? 'now' : 'drain'
    this.#askedAt = performance.now()
    this.#log.info({ event: 'stop.asked', by, now: isUrgent }, 'asked to stop')
    this.#stop(this.#mode)
  }

  #ignored(signal: string): void {
    this.#log.warn(
      { event: 'signal.ignored', signal },
      'signal without a meaning here: TERM stops, HUP reloads',
    )
  }

  #signal(signal: string): void {
    if (performance.now() - this.#askedAt < sameSignalMs) return
    this.requestStop('drain', signal)
  }

  #stop(mode: StopMode): void {
    if (this.#service === undefined) return
    this.#manager.stopping()
    if (mode === 'now') {
      setTimeout(() => {
        this.#log.error({ event: 'stopped' }, 'parts of the service did not stop')
        this.#ended(exitCodes.internal)
      }, lastResortMs).unref()
    }
    this.#service.stop({ now: mode === 'now' }).then(
      () => this.#ended(exitCodes.ok),
      (error: Error) => {
        this.#log.error({ event: 'stopped', error: error.message }, 'the service did not stop cleanly')
        this.#ended(exitCodes.internal)
      },
    )
  }

  /** What an actor's code threw ends that actor. Anything else leaves us in a state nobody knows: out, and start again. */
  #uncaught(error: unknown): void {
    if (this.#service?.attribute(error) === true) return
    const stack = error instanceof Error ? error.stack : String(error)
    this.#log.fatal({ event: 'failed', error: stack }, 'internal error')
    process.exit(exitCodes.internal)
  }

  /** HUP. A configuration that is wrong changes nothing. */
  async #reload(): Promise<void> {
    if (this.#service === undefined || this.#mode !== undefined) return
    this.#manager.reloading()
    try {
      await this.#service.reload(this.#readConfig())
    } catch (error) {
      const problems = error instanceof CommandFailure ? error.lines : [(error as Error).message]
      this.#log.error({ event: 'reload.failed', problems }, 'configuration not reloaded')
    } finally {
      this.#manager.reloaded()
    }
  }
}
