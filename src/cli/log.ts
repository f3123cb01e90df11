import type { Logger } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import { createLogger, type LogOptions } from '../runtime/log.ts'
import { FdOutput } from '../runtime/log-output.ts'
import { CommandFailure, exitCodes } from './exit.ts'
import { syslogFormats } from './syslog-formats.ts'

/** How to write to stdout: one JSON object a line, or for people on a terminal. A line is out when its call returns. */
export function logOptions(config: Config, isTerminal: boolean): LogOptions {
  const { level, format } = config.log
  const options = { level, format, isTerminal, host: config.hostname }
  return format === 'syslog' ? { ...options, syslogFormats: syslogFormats(process.pid) } : options
}

/**
 * The same for the log that each thread makes of its own. Undefined: their lines pass through the main thread, which
 * has the forms of `syslog`; functions cannot cross to another thread.
 */
export function threadLogOptions(options: LogOptions): LogOptions | undefined {
  return options.syslogFormats === undefined ? options : undefined
}

/** For the lines that no actor writes. */
export function openLog(options: LogOptions): Logger {
  return createLogger(options, { component: 'service', actor: 0, thread: 0 })
}

/** Longest wait for a reader of stdout that does not read. */
const stallMs = 5_000

/** Writes what is no log line to stdout, in order with the lines. @throws CommandFailure when it cannot be written. */
export function writeOut(text: string): void {
  const output = new FdOutput(1, stallMs)
  output.write(text)
  if (output.lost === 0) return
  throw new CommandFailure(
    exitCodes.io,
    'stdout: what has to be shown cannot be written (make room, or write elsewhere)',
  )
}
