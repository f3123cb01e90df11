/**
 * The log of one thread. Each thread makes its own, with the same options; the lines meet in the file descriptor
 * (`log-output.ts` says why none is lost or cut).
 *
 * A JSON line has `level time event msg component actor thread`, time in ISO 8601 UTC and level as a word, and the
 * facts. `event` is a stable name, `msg` a sentence without values. Values of keys such as `password` are masked.
 */
import { hostname } from 'node:os'
import { pino, stdSerializers } from 'pino'
import { prettyFactory } from 'pino-pretty'
import type { Logger } from '../actors/index.ts'
import { bounded, type LineFacts, masked } from './log-facts.ts'
import { FdOutput, type LineOutput } from './log-output.ts'
import { type SyslogFormats, syslogLine } from './log-syslog.ts'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
/** `auto` is `pretty` on a terminal, otherwise `json`. */
export type LogFormat = 'auto' | 'json' | 'pretty' | 'syslog'

export interface LogOptions {
  readonly level: LogLevel
  readonly format: LogFormat
  /** File descriptor to write to. Default 1, standard output. */
  readonly fd?: number
  /** Takes the lines instead of `fd`. */
  readonly destination?: LineOutput
  /** Whether `fd` is a terminal: `auto` asks for it, and `pretty` uses colours on it. Default false. */
  readonly isTerminal?: boolean
  /** Lines of `syslog` format, by event. */
  readonly syslogFormats?: SyslogFormats
  /** Name in lines of `syslog` format. Default: the system's. */
  readonly host?: string
  /** Milliseconds a line waits for a stuck reader before it is given up. Default 10 000. */
  readonly stallMs?: number
}

/** A logger that can make others with more facts in each line. */
export interface RootLogger extends Logger {
  /** Lines below it are not written. Can be set, for this logger and children made afterwards. */
  level: string
  child(bindings: object): RootLogger
}

/** `bindings` are facts of every line, such as `component` and `thread`. */
export function createLogger(options: LogOptions, bindings: object = {}): RootLogger {
  const log = pino(
    {
      level: options.level,
      base: null,
      timestamp: isoTime,
      formatters: { level: (level) => ({ level }), log: masked },
      serializers: { err: stdSerializers.err, error: stdSerializers.err },
    },
    formatting(options),
  )
  // pino has no hook for the facts of children. Children inherit from their parent, so they get this one too.
  const child = log.child
  log.child = function (this: typeof log, facts: object) {
    return child.call(this, masked(facts))
  } as typeof log.child
  return log.child(bindings) as RootLogger
}

function formatting(options: LogOptions): LineOutput {
  const output = options.destination ?? new FdOutput(options.fd ?? 1, options.stallMs ?? 10_000)
  const isTerminal = options.isTerminal ?? false
  const format = options.format === 'auto' ? (isTerminal ? 'pretty' : 'json') : options.format
  switch (format) {
    case 'json':
      return { write: (line) => output.write(bounded(line)) }
    case 'pretty': {
      const pretty = prettyFactory({
        colorize: isTerminal,
        translateTime: 'SYS:HH:MM:ss.l',
        ignore: 'component,actor,thread,event',
        messageFormat: (facts, messageKey) =>
          [facts.component, facts.event, facts[messageKey]].filter((word) => word !== undefined).join(' '),
        singleLine: true,
      })
      return { write: (line) => output.write(pretty(bounded(line)) ?? '') }
    }
    case 'syslog': {
      const host = options.host ?? hostname()
      const formats = options.syslogFormats ?? {}
      return {
        write: (line) => output.write(syslogLine(JSON.parse(bounded(line)) as LineFacts, host, formats)),
      }
    }
    default:
      return unreachable(format)
  }
}

function unreachable(format: never): never {
  throw new TypeError(`log format ${String(format)}`)
}

// Many lines share a millisecond, and formatting a time takes longer than the rest of a short line.
let lastMs = 0
let lastTime = ''

function isoTime(): string {
  const now = Date.now()
  if (now !== lastMs) {
    lastMs = now
    lastTime = `,"time":"${new Date(now).toISOString()}"`
  }
  return lastTime
}
