/** What a reload can change in a running service, and what it cannot. */
import { isDeepStrictEqual } from 'node:util'
import type { Table } from './schema.ts'
import { type Config, generalSettings, tables } from './settings.ts'
import { poolsSettings } from './tables.ts'

/** The configuration to use after a reload: `next`, with what cannot change live kept as in `current`. */
export interface Reloaded {
  readonly config: Config
  /** Keys that differ in `next` and need a restart, such as `data_dir` and `log.format`. */
  readonly unchanged: readonly string[]
}

export function reloaded(current: Config, next: Config): Reloaded {
  const config: Record<string, unknown> = { ...next }
  const unchanged: string[] = []
  const before = current as unknown as Readonly<Record<string, unknown>>

  for (const key of fixedKeys(generalSettings, current, next)) {
    unchanged.push(key)
    config[key] = before[key]
  }
  for (const [name, table] of Object.entries(tables)) {
    const [outer = '', inner] = name.split('.')
    const kept = tableOf(before, name)
    const changed = tableOf(config, name)
    const fixed = fixedKeys(table, kept, changed)
    if (fixed.length === 0) continue
    unchanged.push(...fixed.map((key) => `${name}.${key}`))
    const merged = { ...changed, ...Object.fromEntries(fixed.map((key) => [key, kept[key]])) }
    config[outer] = inner === undefined ? merged : { ...tableOf(config, outer), [inner]: merged }
  }
  const pools: Record<string, unknown> = { ...next.pools }
  for (const [name, table] of Object.entries(poolsSettings)) {
    const kept = current.pools[name as keyof Config['pools']]
    const changed = next.pools[name as keyof Config['pools']]
    const fixed = fixedKeys(table, kept, changed)
    unchanged.push(...fixed.map((key) => `pools.${name}.${key}`))
    const old = Object.fromEntries(fixed.map((key) => [key, kept[key as keyof typeof kept]]))
    pools[name] = { ...changed, ...old }
  }
  config.pools = pools
  return { config: config as unknown as Config, unchanged }
}

/** The values of a table by its name, such as `auth` or `auth.cache`. */
function tableOf(config: Readonly<Record<string, unknown>>, name: string): Readonly<Record<string, unknown>> {
  let values = config
  for (const part of name.split('.')) values = values[part] as Readonly<Record<string, unknown>>
  return values
}

/** Keys of `table` that differ and that a running service cannot change. */
function fixedKeys(table: Table, current: object, next: object): string[] {
  const before = current as Readonly<Record<string, unknown>>
  const after = next as Readonly<Record<string, unknown>>
  return Object.keys(table).filter(
    (key) => table[key]?.live === false && !isDeepStrictEqual(before[key], after[key]),
  )
}
