/** Which file a thread starts with. Beside this one, unless the program was bundled. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { UsageError } from '../actors/index.ts'

/** A module's file as a URL, and the function of it that a thread runs. */
export interface EntryFile {
  readonly filename: string
  readonly name: string
}

/**
 * What the entries export. None has a default export: piscina loads them by `require`, for which Node then makes a second module,
 * and a thread that is ended in just that moment takes the whole process with it (a failed assertion in ModuleWrap).
 */
const exportedNames = { 'thread-entry': 'runActors', 'jobs-entry': 'runJob' } as const

export type EntryKind = keyof typeof exportedNames

/** What a bundle exports for its own threads, see `SystemOptions.entry`. */
const exportedName = 'runThread'

/**
 * @param kind the file for it when nothing was bundled
 * @param entry the bundle, as `SystemOptions.entry` names it
 * @throws UsageError when there is no such file: the program was bundled, and does not say where it is now.
 */
export function entryFile(kind: EntryKind, entry: string | undefined): EntryFile {
  if (entry !== undefined) return { filename: mustBeThere(entry, 'entry'), name: exportedName }
  const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const beside = new URL(`./${kind}.${suffix}`, import.meta.url).href
  if (!isThere(beside)) {
    throw new UsageError(
      'the entry of threads is not beside the runtime: a bundle sets `entry: import.meta.url` ' +
        `and has \`export { ${exportedName} } from 'mailactors'\`, or it leaves mailactors external`,
      { missing: beside },
    )
  }
  return { filename: beside, name: exportedNames[kind] }
}

function mustBeThere(entry: string, option: string): string {
  if (typeof entry === 'string' && entry.startsWith('file:') && isThere(entry)) return entry
  throw new UsageError(`${option} must be import.meta.url of the bundle`, { [option]: String(entry) })
}

const isThere = (url: string): boolean => existsSync(fileURLToPath(url))
