import type { LineFacts } from './log-facts.ts'

/**
 * Makes the text after time and host of one line, or of several: `postfix/smtp[123]: 4B1: to=<a@b>, ...`. Undefined: the
 * default form. Receives text from peers: control characters are replaced afterwards.
 */
export type SyslogFormatter = (facts: LineFacts) => string | readonly string[] | undefined

/** Formatters by event. The default form of all other events is `mailactors/component[thread]: event key=value …`. */
export type SyslogFormats = { readonly [event: string]: SyslogFormatter }

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const common = new Set(['time', 'level', 'event', 'msg', 'component', 'thread'])

/** In the form log analysers know, RFC 3164 section 4.1.2: local time, no year. */
export function syslogLine(facts: LineFacts, host: string, formats: SyslogFormats): string {
  const made = formats[facts.event ?? '']?.(facts) ?? plainText(facts)
  const head = `${timestamp(new Date(facts.time ?? 0))} ${host}`
  return (typeof made === 'string' ? [made] : made).map((text) => `${head} ${oneLine(text)}\n`).join('')
}

function timestamp(time: Date): string {
  const two = (number: number) => String(number).padStart(2, '0')
  const day = String(time.getDate()).padStart(2, ' ')
  return `${months[time.getMonth()]} ${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`
}

function plainText(facts: LineFacts): string {
  const words = [`mailactors/${facts.component ?? 'system'}[${facts.thread ?? 0}]:`]
  if (facts.level === 'warn' || facts.level === 'error' || facts.level === 'fatal') {
    words.push(facts.level === 'warn' ? 'warning:' : `${facts.level}:`)
  }
  words.push(facts.event ?? facts.msg ?? 'event')
  for (const [key, value] of Object.entries(facts)) {
    if (!common.has(key)) words.push(`${key}=${quoted(value)}`)
  }
  return words.join(' ')
}

function quoted(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text)
}

/** A line of a log is one line: a peer's text must not be able to forge another. */
function oneLine(text: string): string {
  return text.replace(/[\x00-\x1f\x7f]/g, '?')
}
