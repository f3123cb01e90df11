/** Values of settings: how they are written, and what they are in code. Everything here is pure. */
import { parsedSources } from '../tables/config.ts'
import type { CertificateFiles, Entry } from './schema.ts'

// biome-ignore lint/suspicious/noExplicitAny: entries of all value types
type AnyEntry = Entry<any>

/** What a written value is in code, or what is wrong with it. */
export type Parsed = { readonly value: unknown } | { readonly problem: string }

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
}

/** A time from now that is still a date. */
const longestMs = 100 * 365 * 86_400_000

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1024,
  kib: 1024,
  kb: 1024,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  mb: 1024 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  gb: 1024 ** 3,
  t: 1024 ** 4,
  tib: 1024 ** 4,
  tb: 1024 ** 4,
}

/** Milliseconds of `500ms 30s 10m 4h 5d 1w` or of a sum such as `1h30m`; a bare number is seconds. */
export function parseDuration(text: string): number | undefined {
  const trimmed = text.trim().toLowerCase()
  if (/^\d+(\.\d+)?$/.test(trimmed)) return Math.round(Number(trimmed) * 1_000)
  if (!/^(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$/.test(trimmed)) return undefined
  let total = 0
  for (const [, amount = '', unit = ''] of trimmed.matchAll(/(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)/g)) {
    total += Number(amount) * (durationUnits[unit] ?? Number.NaN)
  }
  return Math.round(total)
}

/** Octets of `512 64KiB 50MiB 1GiB` (also `K`, `M`, `G`, `T`, all of them powers of 1024). */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim())
  const unit = sizeUnits[match?.[2]?.toLowerCase() ?? '?']
  return match === null || unit === undefined ? undefined : Math.round(Number(match[1]) * unit)
}

/** Checks a value as TOML gave it. */
export function parseValue(entry: AnyEntry, written: unknown): Parsed {
  const parsed = convert(entry, written)
  if ('problem' in parsed) return parsed
  return check(entry, parsed.value)
}

/** Checks a value written as text: on the command line or in the environment. */
export function parseText(entry: AnyEntry, text: string): Parsed {
  switch (entry.type) {
    case 'integer':
    case 'number':
      if (entry.words?.includes(text)) return { value: text }
      if (/^[+-]?\d+(\.\d+)?$/.test(text.trim())) return parseValue(entry, Number(text))
      return mismatch(entry, text)
    case 'boolean': {
      const word = text.trim().toLowerCase()
      if (['true', 'yes', 'on', '1'].includes(word)) return { value: true }
      if (['false', 'no', 'off', '0'].includes(word)) return { value: false }
      return mismatch(entry, text)
    }
    case 'list':
      return parseValue(entry, text.split(/[\s,]+/).filter(Boolean))
    default:
      return parseValue(entry, text)
  }
}

function convert(entry: AnyEntry, written: unknown): Parsed {
  switch (entry.type) {
    case 'duration': {
      const ms =
        typeof written === 'number' && Number.isFinite(written) && written >= 0
          ? Math.round(written * 1_000)
          : typeof written === 'string'
            ? parseDuration(written)
            : undefined
      if (ms !== undefined && ms > longestMs) return { problem: `${shown(written)} is longer than 100 years` }
      return ms === undefined ? mismatch(entry, written) : { value: ms }
    }
    case 'size': {
      const octets =
        typeof written === 'number' && Number.isInteger(written) && written >= 0
          ? written
          : typeof written === 'string'
            ? parseSize(written)
            : undefined
      return octets === undefined ? mismatch(entry, written) : { value: octets }
    }
    case 'integer':
      if (typeof written === 'string' && entry.words?.includes(written)) return { value: written }
      return Number.isSafeInteger(written) ? { value: written } : mismatch(entry, written)
    case 'number':
      return Number.isFinite(written) ? { value: written } : mismatch(entry, written)
    case 'boolean':
      return typeof written === 'boolean' ? { value: written } : mismatch(entry, written)
    case 'enum':
      return typeof written === 'string' && entry.values?.includes(written)
        ? { value: written }
        : mismatch(entry, written)
    case 'list':
      return Array.isArray(written) && written.every((item) => typeof item === 'string')
        ? { value: written }
        : mismatch(entry, written)
    case 'map':
      return isTable(written) && Object.values(written).every((item) => typeof item === 'string')
        ? { value: { ...written } }
        : mismatch(entry, written)
    case 'maps':
      return parsedSources(written)
    case 'certificates': {
      const files = isTable(written) ? Object.entries(written).map(certificateFiles) : [undefined]
      if (files.includes(undefined)) return mismatch(entry, written)
      return { value: Object.fromEntries(files as [string, object][]) }
    }
    default:
      if (typeof written !== 'string') return mismatch(entry, written)
      return written.includes('\0') ? { problem: 'contains a NUL' } : { value: written }
  }
}

function certificateFiles([name, written]: [string, unknown]): [string, CertificateFiles] | undefined {
  if (typeof written === 'string') return [name.toLowerCase(), { cert: written, key: '' }]
  if (!isTable(written)) return undefined
  const { cert, key = '', ...others } = written
  const isRight = typeof cert === 'string' && typeof key === 'string' && Object.keys(others).length === 0
  return isRight ? [name.toLowerCase(), { cert, key }] : undefined
}

function check(entry: AnyEntry, value: unknown): Parsed {
  if (typeof value === 'number') {
    const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = entry
    if (value < min || value > max) {
      return { problem: `${formatValue(entry, value)} is out of range (${rangeText(entry)})` }
    }
  }
  const problem = entry.check?.(value)
  return problem === undefined ? { value } : { problem }
}

/** What a setting takes, for error texts and the reference. */
export function typeText(entry: AnyEntry): string {
  switch (entry.type) {
    case 'duration':
      return 'a time such as "500ms", "30s", "10m", "4h" or "5d"'
    case 'size':
      return 'a size such as 512, "64KiB" or "50MiB"'
    case 'integer':
      return `a whole number${(entry.words ?? []).map((word) => ` or "${word}"`).join('')}`
    case 'number':
      return 'a number'
    case 'boolean':
      return 'true or false'
    case 'enum':
      return (entry.values ?? []).map((value) => `"${value}"`).join(', ')
    case 'list':
      return 'a list of strings'
    case 'map':
      return 'a table of strings'
    case 'maps':
      return 'lookup tables: "type:name, type:name", a list of them, or a table of strings'
    case 'certificates':
      return 'a table of { cert = "…", key = "…" } by host name'
    case 'path':
      return 'a path'
    default:
      return 'a string'
  }
}

/** The allowed range in words; empty when there is none. */
export function rangeText(entry: AnyEntry): string {
  const { min, max } = entry
  const show = (value: number) => formatValue(entry, value)
  if (min !== undefined && max !== undefined) return `${show(min)} to ${show(max)}`
  if (min !== undefined) return `at least ${show(min)}`
  if (max !== undefined) return `at most ${show(max)}`
  return ''
}

function mismatch(entry: AnyEntry, written: unknown): Parsed {
  const wanted = entry.type === 'enum' ? `one of ${typeText(entry)}` : typeText(entry)
  return { problem: `${shown(written)} is not ${wanted}` }
}

function shown(written: unknown): string {
  const text = isTable(written) ? 'a table' : (JSON.stringify(written) ?? String(written))
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

/** A value as people write it: `30s`, `64KiB`, plain otherwise. */
export function formatValue(entry: AnyEntry, value: unknown): string {
  if (typeof value === 'number' && entry.type === 'duration') return formatUnits(value, durationNames)
  if (typeof value === 'number' && entry.type === 'size') return formatUnits(value, sizeNames)
  return String(value)
}

const durationNames: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
]

const sizeNames: readonly (readonly [string, number])[] = [
  ['GiB', 1024 ** 3],
  ['MiB', 1024 ** 2],
  ['KiB', 1024],
  ['', 1],
]

function formatUnits(value: number, names: readonly (readonly [string, number])[]): string {
  if (value === 0) return names === sizeNames ? '0' : '0s'
  const [name, unit] = names.find(([, size]) => value % size === 0) ?? ['', 1]
  return `${value / unit}${name}`
}

/** A value as TOML, so that what `config` prints can be read again. */
export function tomlValue(entry: AnyEntry, value: unknown): string {
  if (typeof value === 'number' && entry.type === 'duration') return JSON.stringify(formatValue(entry, value))
  if (typeof value === 'number' && entry.type === 'size') {
    const text = formatValue(entry, value)
    return /^\d+$/.test(text) ? text : JSON.stringify(text)
  }
  return tomlLiteral(value)
}

/** Strings, numbers, booleans, lists and tables of them. */
export function tomlLiteral(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(tomlLiteral).join(', ')}]`
  if (isTable(value)) {
    const pairs = Object.entries(value).map(([key, item]) => `${tomlKey(key)} = ${tomlLiteral(item)}`)
    return pairs.length === 0 ? '{}' : `{ ${pairs.join(', ')} }`
  }
  // JSON's escapes are TOML's, but for U+007F, which TOML wants escaped.
  return typeof value === 'string' ? JSON.stringify(value).replaceAll('\x7f', '\\u007f') : String(value)
}

/** A key, in quotes when it has to be. */
export function tomlKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key)
}
