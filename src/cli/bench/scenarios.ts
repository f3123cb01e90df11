/** What `bench` and `tune` can run: a service of its own each, and clients in this process. */
import { runActors } from './actors.ts'
import { pop3Load, smtpLoad } from './loads.ts'
import { Measured, type Result, resultOf } from './measured.ts'
import { type BenchService, startBenchService } from './service.ts'
import { startSink } from './sink.ts'

export interface RunOptions {
  readonly seconds: number
  /** Where data is kept while it runs. */
  readonly dir: string
  /** Further TOML tables: what `tune` tries. */
  readonly tables?: string
}

export interface BenchScenario {
  readonly name: string
  readonly summary: string
  run(options: RunOptions): Promise<Result>
}

const sessions = 20
const octets = 4096
/** Compiling and first connections are not measured. */
const warmupSeconds = 1

/** What a service does in one run: `prepare` is not measured. */
interface Work {
  prepare?(service: BenchService, isOver: () => boolean): Promise<void>
  load(service: BenchService, isOver: () => boolean, measured: Measured): Promise<void>
}

/** Starts a service, warms it up, measures. */
async function underLoad(
  name: string,
  unit: string,
  { seconds, dir, tables = '' }: RunOptions,
  setup: { readonly tables: string; readonly users: number },
  { prepare, load }: Work,
): Promise<Result> {
  const service = await startBenchService({ dir, tables: `${setup.tables}\n${tables}`, users: setup.users })
  try {
    const within = (limit: number) => {
      const end = performance.now() + limit * 1000
      return () => performance.now() > end
    }
    await prepare?.(service, within(warmupSeconds))
    await load(service, within(warmupSeconds), new Measured())
    await prepare?.(service, within(seconds))
    const cpu = service.cpuSeconds()
    const measured = new Measured()
    await load(service, within(seconds), measured)
    const taken = measured.seconds
    const used = service.cpuSeconds()
    return resultOf(
      name,
      unit,
      measured,
      taken,
      cpu === undefined || used === undefined ? undefined : used - cpu,
    )
  } finally {
    await service.stop()
  }
}

const intake = (name: string, summary: string, reuse: boolean): BenchScenario => ({
  name,
  summary,
  run: (options) =>
    underLoad(
      name,
      'mails',
      options,
      // Taken, and nothing more: nothing goes on from there.
      { tables: '[queue]\ndefer_transports = ["smtp"]\n', users: 0 },
      {
        load: ({ smtpPort: port }, isOver, measured) =>
          smtpLoad({ port, sessions, octets, reuse, isOver, measured }),
      },
    ),
})

/** Mails on their way, beyond which the clients wait: a next hop far away is slower than they are. */
const mostUnderWay = 500

const relay = (name: string, summary: string, rttMs: number): BenchScenario => ({
  name,
  summary: `${summary}; the time is that until the sink has it`,
  async run(options) {
    let sunk = 0
    let measured = new Measured()
    const waiting: number[] = []
    const sink = await startSink(() => {
      sunk += 1
      const sentAt = waiting.shift()
      if (sentAt !== undefined) measured.done(performance.now() - sentAt)
    }, rttMs)
    let sent = 0
    const untilSunk = async (left: number): Promise<void> => {
      while (sent - sunk > left) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    try {
      return await underLoad(
        name,
        'mails',
        options,
        { tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n`, users: 0 },
        {
          async load({ smtpPort: port }, isTimeOver, result) {
            measured = result
            const accepted = new Measured()
            accepted.done = () => {
              sent += 1
              waiting.push(performance.now())
            }
            const isOver = (): boolean => isTimeOver() || sent - sunk >= mostUnderWay
            do {
              await smtpLoad({ port, sessions, octets, reuse: true, isOver, measured: accepted })
              await untilSunk(isTimeOver() ? 0 : mostUnderWay / 2)
            } while (!isTimeOver())
            await untilSunk(0)
            waiting.length = 0
          },
        },
      )
    } finally {
      sink.stop()
    }
  },
})

const drain: BenchScenario = {
  name: 'drain',
  summary: `mails that wait in the queue go out to a sink, ${octets} octets, as many as come in within the time; the time is that since the flush`,
  async run(options) {
    let sunk = 0
    let flushedAt = 0
    let measured = new Measured()
    const sink = await startSink(() => {
      sunk += 1
      measured.done(performance.now() - flushedAt)
    })
    let sent = 0
    try {
      return await underLoad(
        'drain',
        'mails',
        options,
        {
          tables: `[smtp]\nrelayhost = "[127.0.0.1]:${sink.port}"\n[queue]\ndefer_transports = ["smtp"]\n`,
          users: 0,
        },
        {
          async prepare({ smtpPort: port }, isOver) {
            const accepted = new Measured()
            await smtpLoad({ port, sessions, octets, reuse: true, isOver, measured: accepted })
            sent += accepted.times.length
          },
          async load(service, _isOver, result) {
            measured = result
            flushedAt = performance.now()
            await service.flush()
            while (sunk < sent) await new Promise((resolve) => setTimeout(resolve, 5))
          },
        },
      )
    } finally {
      sink.stop()
    }
  },
}

const pop3: BenchScenario = {
  name: 'pop3',
  summary: 'POP3 sessions: login, STAT, UIDL, LIST, RETR 1, QUIT on mailboxes of 10 mails',
  run: (options) =>
    underLoad(
      'pop3',
      'sessions',
      options,
      { tables: '', users: 50 },
      {
        load: ({ pop3Port: port }, isOver, measured) =>
          pop3Load({ port, sessions, users: 50, isOver, measured }),
      },
    ),
}

export const benchScenarios: readonly BenchScenario[] = [
  { name: 'actors', summary: 'questions to an actor on another thread, 100 at a time', run: runActors },
  intake('intake', `mails taken onto the queue, ${octets} octets, a connection for each`, false),
  intake('intake-reuse', 'the same with many mails on each connection', true),
  relay('relay', `mails in and out again to a sink, ${octets} octets`, 0),
  drain,
  relay('cache', 'the same to a sink 20 ms away, where kept connections pay', 20),
  pop3,
]
