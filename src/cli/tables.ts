/** Lookup tables as the command line sees them: whether those of the configuration can be used, and what they say. */
import { ConfigError } from '../config/errors.ts'
import { entryOf, namedTables } from '../config/keys.ts'
import { settingOf } from '../config/reference.ts'
import type { Config } from '../config/settings.ts'
import { tableSources } from '../tables/config.ts'
import { type Lookup, type TableSource, Tables, tableProblems } from '../tables/contract.ts'
import { TableError } from '../tables/result.ts'
import { CommandFailure, exitCodes } from './exit.ts'

/**
 * Reads each table of the configuration once.
 * @throws ConfigError with all that is wrong in them.
 */
export function checkTables(config: Config): void {
  const problems = namedTables.flatMap(({ name, table }) =>
    Object.entries(table)
      .filter(([, { type }]) => type === 'maps')
      .map(([key]) => (name === '' ? key : `${name}.${key}`))
      .flatMap((key) =>
        tableProblems(settingOf(config, key) as readonly TableSource[]).map(({ where, what }) => ({
          where,
          what: `${what} (table of ${key})`,
        })),
      ),
  )
  const seen = new Set<string>()
  const distinct = problems.filter(({ where }) => !seen.has(where) && seen.add(where))
  if (distinct.length > 0) throw new ConfigError(distinct)
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
