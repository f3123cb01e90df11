/**
 * One entry = type, unit, default, range, documentation. Each folder declares its own settings in its
 * `config.ts` with these functions; `settings.ts` joins them, the loader checks files against them, and the
 * reference is written from them. Keys are snake_case, the names Postfix and Dovecot use, in code too: one
 * name to search for. Values in code are normalised: durations in milliseconds, sizes in octets.
 */
import { isIP } from 'node:net'
import type { TableSource } from '../tables/config.ts'

export interface Entry<T> {
  readonly type:
    | 'duration'
    | 'size'
    | 'integer'
    | 'number'
    | 'boolean'
    | 'string'
    | 'path'
    | 'enum'
    | 'list'
    | 'map'
    | 'maps'
    | 'certificates'
  readonly default: T
  readonly doc: string
  readonly min?: number
  readonly max?: number
  readonly values?: readonly string[]
  /** A value that is a word instead of a number, such as `auto`. */
  readonly words?: readonly string[]
  /** Further check; returns what is wrong, or undefined. */
  readonly check?: (value: T) => string | undefined
  /** Whether a reload can change it in a running service. Default true. */
  readonly live?: boolean
}

type Options<T> = Omit<Entry<T>, 'type' | 'default' | 'doc'> & { readonly default: T; readonly doc: string }

/** Milliseconds in code; `500ms 30s 10m 4h 5d 1w` in files, a bare number is seconds. `default`, `min`, `max` in ms. */
export const duration = (options: Options<number>): Entry<number> => ({ type: 'duration', ...options })
/** Octets in code; `512 64KiB 50MiB 1GiB` (or `K M G`) in files. */
export const size = (options: Options<number>): Entry<number> => ({ type: 'size', ...options })
export const integer = (options: Options<number>): Entry<number> => ({ type: 'integer', ...options })
export const number = (options: Options<number>): Entry<number> => ({ type: 'number', ...options })
/** An integer or one of `words`. */
export const integerOr = <W extends string>(
  words: readonly W[],
  options: Options<number | W>,
): Entry<number | W> => ({ type: 'integer', words, ...options })
export const boolean = (options: Options<boolean>): Entry<boolean> => ({ type: 'boolean', ...options })
export const string = (options: Options<string>): Entry<string> => ({ type: 'string', ...options })
/** A file system path, made absolute against the configuration file's folder. Empty stays empty. */
export const path = (options: Options<string>): Entry<string> => ({ type: 'path', ...options })
export const choice = <V extends string>(values: readonly V[], options: Options<NoInfer<V>>): Entry<V> => ({
  type: 'enum',
  values,
  ...options,
})
/** A list of strings; in `--set` and the environment separated by commas or spaces. */
export const list = (options: Options<readonly string[]>): Entry<readonly string[]> => ({
  type: 'list',
  ...options,
})
/** A list of `address` or `address/bits`. */
export const networks = (options: Options<readonly string[]>): Entry<readonly string[]> =>
  list({
    check: (values) => {
      const wrong = values.find((value) => !isNetwork(value))
      return wrong === undefined ? undefined : `"${wrong}" is no address or network, such as 10.0.0.0/8`
    },
    ...options,
  })
/** A table with free keys and string values. */
export const map = (
  options: Options<Readonly<Record<string, string>>>,
): Entry<Readonly<Record<string, string>>> => ({
  type: 'map',
  ...options,
})

/**
 * Lookup tables, asked in order: `"texthash:FILE, regexp:FILE"`, a list of such strings, or the entries themselves as
 * a TOML table. Paths are made absolute against the configuration file's folder. `mapsOf` of `tables/contract.ts`
 * makes the value ready for lookups.
 */
export const maps = (options: Options<readonly TableSource[]>): Entry<readonly TableSource[]> => ({
  type: 'maps',
  ...options,
})
/** Files of a certificate, PEM; an empty `key` is in the file `cert`. */
export interface CertificateFiles {
  readonly cert: string
  readonly key: string
}

/** A table of certificates by host name: `{ cert, key }`, or a path alone. */
export const certificates = (
  options: Options<Readonly<Record<string, CertificateFiles>>>,
): Entry<Readonly<Record<string, CertificateFiles>>> => ({ type: 'certificates', ...options })

/** Entries of one TOML table. */
// biome-ignore lint/suspicious/noExplicitAny: entries of all value types
export type Table = { readonly [key: string]: Entry<any> }

/** The values of a table. */
export type Settings<T extends Table> = { readonly [K in keyof T]: T[K]['default'] }

/** The default of each entry, as a fresh object. */
export function defaults<T extends Table>(table: T): Settings<T> {
  return Object.fromEntries(Object.entries(table).map(([key, entry]) => [key, entry.default])) as Settings<T>
}

function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const family = isIP(address)
  return family !== 0 && (bits === undefined || Number(bits) <= (family === 4 ? 32 : 128))
}
