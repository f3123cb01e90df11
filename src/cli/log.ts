import { writeSync } from 'node:fs'
import type { Logger } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import { createLogger } from '../runtime/log.ts'

/** The log of the main thread, on stdout: one JSON object a line, or for people on a terminal. Each line is out when its call returns. */
export function openLog(config: Config, isTerminal: boolean): Logger {
  const { level, format } = config.log
  return createLogger(
    { level, format, isTerminal, host: config.hostname },
    { component: 'service', actor: 'main', thread: 0 },
  )
}

/** Writes what is no log line to stdout, in order with the lines. */
export function writeOut(text: string): void {
  writeSync(1, text)
}
