/** The names of all settings. */
import type { Entry, Table } from './schema.ts'
import {
  generalSettings,
  listenerSettings,
  poolsSettings,
  tables,
  transportClientSettings,
  transportSetting,
  transportSettings,
} from './settings.ts'

// biome-ignore lint/suspicious/noExplicitAny: entries of all value types
type AnyEntry = Entry<any>

/** One table as it stands in a file: its name in brackets, empty for the keys outside any table. */
export interface NamedTable {
  readonly name: string
  readonly table: Table
}

/** Every table with fixed keys, in the order of the reference. */
export const namedTables: readonly NamedTable[] = [
  { name: '', table: generalSettings },
  ...Object.entries(tables).map(([name, table]) => ({ name, table: table as Table })),
  ...Object.entries(poolsSettings).map(([name, table]) => ({ name: `pools.${name}`, table })),
]

const entries = new Map<string, AnyEntry>(
  namedTables.flatMap(({ name, table }) =>
    Object.entries(table).map(([key, entry]) => [name === '' ? key : `${name}.${key}`, entry] as const),
  ),
)

/** Every key that can be set alone, dotted. */
export const allKeys: readonly string[] = [...entries.keys()]

/** Every name that can stand in brackets. */
export const tableKeys: ReadonlySet<string> = new Set([
  ...namedTables.map(({ name }) => name).filter(Boolean),
  'pools',
  'listener',
  'transport',
])

/** The entry of a key with fixed name. */
export function entryOf(path: readonly string[]): AnyEntry | undefined {
  const [table, name = '', ...rest] = path
  if (table === 'transports') return transportEntry(name, rest)
  return entries.get(path.join('.'))
}

/** What the name of a transport looks like. */
export const transportName = /^[a-z][a-z0-9_-]*$/

/** The table of `[transports.NAME]` (`client` empty), of `[transports.NAME.smtp]` or `[transports.NAME.lmtp]`. */
export function transportTable(client: string): Table | undefined {
  if (client === '') return transportSettings
  return client === 'smtp' || client === 'lmtp' ? transportClientSettings[client] : undefined
}

function transportEntry(name: string, rest: readonly string[]): AnyEntry | undefined {
  const key = rest.at(-1)
  const table = rest.length > 2 ? undefined : transportTable(rest.length === 2 ? (rest[0] ?? '') : '')
  if (!transportName.test(name) || key === undefined || table === undefined) return undefined
  return Object.hasOwn(table, key) ? table[key] : undefined
}

/** The entry whose documentation a user asks for: also those of `listener` and `transport`. */
export function documented(key: string): AnyEntry | undefined {
  if (key === 'transport') return transportSetting
  const listenerKey = /^listener\.(.+)$/.exec(key)?.[1]
  if (listenerKey !== undefined)
    return Object.hasOwn(listenerSettings, listenerKey) ? (listenerSettings as Table)[listenerKey] : undefined
  return entryOf(key.split('.'))
}

/** Keys that `documented` knows. */
export const documentedKeys: readonly string[] = [
  ...allKeys,
  'transport',
  ...Object.keys(listenerSettings).map((key) => `listener.${key}`),
]
