/** The log of a service on stdout: one JSON object a line, or for people. */
import { pino } from 'pino'
import type { Logger } from '../actors/index.ts'
import type { Config } from '../config/settings.ts'
import { syslogLine } from './syslog-line.ts'

export interface ServiceLog {
  readonly log: Logger
  /** Writes text that is no log line, in order with the lines. */
  write(text: string): void
  /** Everything written so far is out when this returns. */
  flush(): void
}

/** Lines that wait for a reader that does not read, in octets; beyond it lines are lost, not the service. */
const maxWaiting = 64 * 1024 * 1024

/** Opens the log on stdout. */
export async function openLog(config: Config, isTerminal: boolean): Promise<ServiceLog> {
  const { format: wanted, level } = config.log
  const format = wanted === 'auto' ? (isTerminal ? 'pretty' : 'json') : wanted
  const destination = pino.destination({ fd: 1, sync: format !== 'json', maxLength: maxWaiting })
  // The reader went away, or the disk is full: the mail matters more than the log.
  destination.on('error', () => {})
  const stream = format === 'json' ? destination : await lineStream(format, config.hostname, destination)
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: withCommonKeys },
    },
    stream,
  )
  return {
    log,
    write: (text) => {
      destination.write(text)
    },
    flush: () => {
      try {
        destination.flushSync()
      } catch {
        // Not open yet, or the reader is gone: there is nobody to write to.
      }
    },
  }
}

/** Every line has these, whoever writes it. */
function withCommonKeys(facts: Record<string, unknown>): Record<string, unknown> {
  const { event = 'log', component = componentOf(event), actor = 'main', thread = 0, ...rest } = facts
  return { event, component, actor, thread, ...rest }
}

function componentOf(event: unknown): string {
  const [component = ''] = String(event).split('.')
  return component
}

interface LineStream {
  write(line: string): void
}

async function lineStream(
  format: 'pretty' | 'syslog',
  hostname: string,
  destination: LineStream,
): Promise<LineStream> {
  if (format === 'syslog') {
    return {
      write: (line) => {
        const text = syslogLine(JSON.parse(line) as Record<string, unknown>, hostname)
        if (text !== undefined) destination.write(`${text}\n`)
      },
    }
  }
  // Loaded only when somebody looks.
  const { prettyFactory } = await import('pino-pretty')
  const pretty = prettyFactory({
    colorize: true,
    translateTime: 'SYS:HH:MM:ss',
    ignore: 'event,component,actor,actorId,thread,stack',
    messageFormat: '{event} {msg}',
    singleLine: true,
  })
  return { write: (line) => destination.write(pretty(line)) }
}
