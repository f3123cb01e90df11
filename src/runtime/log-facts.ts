/** What happens to facts on their way into a log line: secrets are masked, lines are kept short. */
import { maxLineOctets } from './log-output.ts'

/** Facts of one line, as parsed from JSON. */
export interface LineFacts {
  readonly time?: string
  readonly level?: string
  readonly event?: string
  readonly msg?: string
  readonly component?: string
  readonly actor?: string | number
  readonly thread?: number
  readonly [key: string]: unknown
}

/** Keys that are or end in one of these words: `password`, `clientSecret`, `Authorization`. */
const secretKey = /(?:password|secret|token|authorization)$/i
const mask = '[redacted]'
const maxDepth = 4

/** `facts` with secrets masked, as deep as four levels. Returns the same object when there are none: nearly always. */
export function masked<T extends object>(facts: T): T {
  return hide(facts, 0) as T
}

function hide(value: object, depth: number): object {
  if (depth >= maxDepth) return value
  let copy: Record<string, unknown> | undefined
  // Not `for in`: V8 makes code of it for one shape of facts, and throws it away at each of another, for ever.
  for (const key of Object.keys(value)) {
    const fact = (value as Record<string, unknown>)[key]
    let shown = fact
    if (typeof fact === 'object' && fact !== null) {
      if (isPlain(fact)) shown = hide(fact, depth + 1)
    } else if (fact !== undefined && isSecret(key)) shown = mask
    if (shown === fact) continue
    copy ??= (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>
    copy[key] = shown
  }
  return copy ?? value
}

/** Most facts have keys of which there are few. */
const maxKnown = 1_000
const knownKeys = new Map<string, boolean>()

function isSecret(key: string): boolean {
  let known = knownKeys.get(key)
  if (known === undefined) {
    known = secretKey.test(key)
    if (knownKeys.size < maxKnown) knownKeys.set(key, known)
  }
  return known
}

function isPlain(value: object): boolean {
  if (Array.isArray(value)) return true
  const prototype = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/**
 * A JSON line of at most 4096 octets. A longer one loses the ends of its long texts and lists, or at last all but the common
 * keys; `truncated` then says how many octets it had.
 */
export function bounded(line: string): string {
  // No character takes more than three octets per UTF-16 unit.
  if (line.length * 3 <= maxLineOctets) return line
  const octets = Buffer.byteLength(line)
  if (octets <= maxLineOctets) return line
  const facts = JSON.parse(line) as LineFacts
  for (const limit of [1000, 200, 40]) {
    const shorter = `${JSON.stringify({ ...shorten(facts, limit), truncated: octets })}\n`
    if (Buffer.byteLength(shorter) <= maxLineOctets) return shorter
  }
  const { time, level, event, msg, component, actor, thread } = facts
  const common = { time, level, event, msg, component, actor, thread }
  return `${JSON.stringify({ ...shorten(common, 100), truncated: octets })}\n`
}

function shorten(facts: object, limit: number): object {
  return JSON.parse(JSON.stringify(facts), (_key, value: unknown) => {
    if (typeof value === 'string' && value.length > limit) return `${value.slice(0, limit)}…`
    if (Array.isArray(value) && value.length > limit / 20) {
      return [...value.slice(0, limit / 20), `… ${value.length - limit / 20} more`]
    }
    return value
  })
}
