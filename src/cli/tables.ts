/** Lookup tables as the command line sees them: whether those of the configuration can be used, and what they say. */
import { ConfigError } from '../config/errors.ts'
import { entryOf, namedTables, transportTable } from '../config/keys.ts'
import { settingOf } from '../config/reference.ts'
import type { Table } from '../config/schema.ts'
import type { Config } from '../config/settings.ts'
import { isTableType, tableSources } from '../tables/config.ts'
import { type Lookup, type TableSource, Tables, tableProblems } from '../tables/contract.ts'
import { TableError } from '../tables/result.ts'
import { CommandFailure, exitCodes } from './exit.ts'

/**
 * Reads each table of the configuration once.
 * @throws ConfigError with all that is wrong in them.
 */
export function checkTables(config: Config): void {
  const problems = allTables(config).flatMap(({ key, sources }) =>
    tableProblems(sources).map(({ where, what }) => ({ where, what: `${what} (table of ${key})` })),
  )
  const seen = new Set<string>()
  const distinct = problems.filter(({ where }) => !seen.has(where) && seen.add(where))
  if (distinct.length > 0) throw new ConfigError(distinct)
}

interface TablesOfSetting {
  readonly key: string
  readonly sources: readonly TableSource[]
}

/** The tables of all settings, those of transports of one's own included. */
function allTables(config: Config): readonly TablesOfSetting[] {
  const named = namedTables.flatMap(({ name, table }) =>
    tablesIn(table, name === '' ? '' : `${name}.`, (key) => settingOf(config, `${name}.${key}`)),
  )
  const own = Object.entries(config.transports).flatMap(([name, transport]) =>
    (['smtp', 'lmtp'] as const).flatMap((client) => {
      const values = (transport as unknown as Record<string, unknown>)[client] as object | undefined
      const table = transportTable(client)
      if (values === undefined || table === undefined) return []
      return tablesIn(
        table,
        `transports.${name}.${client}.`,
        (key) => (values as Record<string, unknown>)[key],
      )
    }),
  )
  return [...named, ...own]
}

function tablesIn(table: Table, prefix: string, read: (key: string) => unknown): readonly TablesOfSetting[] {
  return Object.entries(table).flatMap(([key, { type }]) => {
    const value = type === 'maps' || type === 'list' ? read(key) : undefined
    if (!Array.isArray(value)) return []
    // A list has tables among other things.
    const sources =
      type === 'maps'
        ? (value as readonly TableSource[])
        : (value as readonly string[]).map((one) => one.replace(/^!/, '')).filter(isTableType)
    return sources.length === 0 ? [] : [{ key: prefix + key, sources }]
  })
}

/** What the tables say to each key. `tables`: `type:name`, several of them, or the name of a setting that has some. */
export function lookupKeys(
  tables: string,
  keys: readonly string[],
  { cwd, config }: { readonly cwd: string; readonly config: () => Config },
): readonly { readonly key: string; readonly answer: Lookup }[] {
  const isSetting = entryOf(tables.split('.'))?.type === 'maps'
  let sources: readonly TableSource[]
  try {
    sources = isSetting
      ? (settingOf(config(), tables) as readonly TableSource[])
      : tableSources(tables.trim(), cwd)
  } catch (error) {
    if (error instanceof TableError) throw new CommandFailure(exitCodes.usage, `config: ${error.message}`)
    throw error
  }
  const problems = tableProblems(sources)
  if (problems.length > 0) {
    throw new CommandFailure(
      exitCodes.badData,
      problems.map(({ where, what }) => `${where}: ${what}`),
    )
  }
  const maps = new Tables({ now: () => Date.now(), warn: () => {} }).maps(sources)
  return keys.map((key) => ({ key, answer: maps.lookup(key) }))
}
