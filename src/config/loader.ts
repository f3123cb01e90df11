/**
 * Makes the effective configuration: defaults, then the file, then the environment, then `--set`. Everything
 * that is wrong is collected and reported at once, with its place and the nearest valid name.
 */
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parse } from 'smol-toml'
import { inheritLmtp, type SmtpSettings } from '../protocols/smtp/client/config.ts'
import { lmtpServerSettings } from '../protocols/smtp/server/config.ts'
import { tableSources } from '../tables/config.ts'
import { ConfigError, type ConfigProblem } from './errors.ts'
import { allKeys, entryOf, tableKeys, transportName, transportTable } from './keys.ts'
import { parseListenerAddress } from './listener-address.ts'
import { nearest, nearestSetting } from './nearest.ts'
import type { CertificateFiles, Entry, Table } from './schema.ts'
import {
  type Config,
  generalSettings,
  type ListenerConfig,
  listenerSettings,
  type PoolName,
  poolsSettings,
  tables,
  transportSetting,
} from './settings.ts'
import {
  type ConfigFile,
  type Environment,
  environmentOverrides,
  type Override,
  placeOf,
  readConfigFile,
  setOverrides,
} from './sources.ts'
import { composeTransports, unknownTransports } from './transports.ts'
import { parseText, parseValue } from './values.ts'

export interface LoadOptions {
  /** Configuration file; unset: the first of the search path, else the defaults alone; `false`: no file at all. */
  readonly file?: string | false
  /** `key=value`, as `--set` takes them. They win over everything. */
  readonly set?: readonly string[]
  /** Environment for `MAILACTORS_*`, `XDG_CONFIG_HOME` and `HOME`. Default: none. */
  readonly env?: Environment
  /** Folder that relative paths outside a file start from. Default: the current one. */
  readonly cwd?: string
}

/** Where a value came from. */
export type Origin = 'default' | 'file' | 'environment' | 'set'

export interface LoadedConfig {
  readonly config: Config
  /** The file that was read, if any. */
  readonly file: string | undefined
  /** Origin by dotted key (`smtp.connect_timeout`); keys that are not in it have their default. */
  readonly origins: ReadonlyMap<string, Origin>
}

/**
 * The effective configuration, ready for `serve`.
 *
 * @throws ConfigError with everything that is wrong; ConfigFileError when the file cannot be read.
 */
export function loadConfig(options: LoadOptions = {}): Config {
  return loadSettings(options).config
}

/** Like `loadConfig`, and tells where each value came from. */
export function loadSettings(options: LoadOptions = {}): LoadedConfig {
  return new Loader(options).load()
}

interface Written {
  readonly value: unknown
  readonly origin: Origin
}

class Loader {
  readonly #cwd: string
  readonly #file: ConfigFile | undefined
  readonly #overrides: readonly Override[]
  readonly #problems: ConfigProblem[] = []
  /** Checked values by dotted key. */
  readonly #written = new Map<string, Written>()
  /** Transports with a table of their own. */
  readonly #transports = new Set<string>()

  constructor({ file, set = [], env = {}, cwd = resolve('.') }: LoadOptions) {
    this.#cwd = cwd
    this.#overrides = [...environmentOverrides(env), ...setOverrides(set)]
    this.#file = file === false ? undefined : readConfigFile(file, cwd, env)
  }

  load(): LoadedConfig {
    if (this.#file !== undefined) this.#readFile(this.#file)
    for (const override of this.#overrides) this.#readOverride(override)
    const config = this.#compose()
    if (this.#problems.length > 0) throw new ConfigError(this.#problems)
    const origins = new Map([...this.#written].map(([key, { origin }]) => [key, origin]))
    return { config, file: this.#file?.path, origins }
  }

  #problem(where: string, what: string): void {
    this.#problems.push({ where, what })
  }

  #readFile(file: ConfigFile): void {
    const base = dirname(file.path)
    for (const [key, value] of Object.entries(file.values)) {
      const at = placeOf(file, [key])
      if (Object.hasOwn(generalSettings, key)) {
        this.#take(key, generalSettings[key as keyof typeof generalSettings], value, at, base)
      } else if (key === 'listener') {
        this.#takeListeners(value, 'file', base, (path) => placeOf(file, ['listener', ...path]))
      } else if (key === 'transport') {
        this.#readTransport(file, value)
      } else if (key === 'pools') {
        this.#readPools(file, value, base)
      } else if (key === 'transports') {
        this.#readTransports(file, value, base)
      } else if (Object.hasOwn(tables, key)) {
        this.#readTable(file, [key], tables[key as keyof typeof tables], value, base)
      } else {
        this.#unknown(at, [key], isTable(value))
      }
    }
  }

  #readTransport(file: ConfigFile, value: unknown): void {
    if (!isTable(value)) {
      this.#problem(placeOf(file, ['transport']), 'transport is not a table (write [transport])')
      return
    }
    const routes: Record<string, string> = {}
    for (const [domain, route] of Object.entries(value)) {
      const parsed = parseValue(transportSetting, { [domain]: route })
      if ('problem' in parsed)
        this.#problem(placeOf(file, ['transport', domain]), `transport: ${parsed.problem}`)
      else routes[domain] = route as string
    }
    this.#written.set('transport', { value: routes, origin: 'file' })
  }

  #readPools(file: ConfigFile, value: unknown, base: string): void {
    if (!isTable(value)) {
      this.#problem(placeOf(file, ['pools']), 'pools is not a table (write [pools.connections])')
      return
    }
    for (const [pool, settings] of Object.entries(value)) {
      if (Object.hasOwn(poolsSettings, pool)) {
        this.#readTable(file, ['pools', pool], poolsSettings[pool as PoolName], settings, base)
      } else {
        this.#unknown(placeOf(file, ['pools', pool]), ['pools', pool], isTable(settings))
      }
    }
  }

  /** `[transports.NAME]`, and `[transports.NAME.smtp]` or `[transports.NAME.lmtp]` in it. */
  #readTransports(file: ConfigFile, value: unknown, base: string): void {
    if (!isTable(value)) {
      this.#problem(placeOf(file, ['transports']), 'transports is not a table (write [transports.NAME])')
      return
    }
    for (const [name, settings] of Object.entries(value)) {
      const path = ['transports', name]
      if (!transportName.test(name)) {
        this.#problem(
          placeOf(file, path),
          `transports.${name}: the name of a transport has small letters, digits, - and _`,
        )
        continue
      }
      this.#transports.add(name)
      if (!isTable(settings)) this.#readTable(file, path, transportTable('')!, settings, base)
      else {
        const { smtp, lmtp, ...own } = settings
        this.#readTable(file, path, transportTable('')!, own, base)
        for (const [client, differing] of Object.entries({ smtp, lmtp })) {
          if (differing === undefined) continue
          this.#readTable(file, [...path, client], transportTable(client)!, differing, base)
        }
      }
    }
  }

  #readTable(file: ConfigFile, path: readonly string[], table: Table, value: unknown, base: string): void {
    const name = path.join('.')
    if (!isTable(value)) {
      this.#problem(placeOf(file, path), `${name} is not a table (write [${name}] and its keys below)`)
      return
    }
    for (const [key, written] of Object.entries(value)) {
      const at = placeOf(file, [...path, key])
      const entry = Object.hasOwn(table, key) ? table[key] : undefined
      const inner = Object.hasOwn(tables, `${name}.${key}`)
        ? (tables as Readonly<Record<string, Table>>)[`${name}.${key}`]
        : undefined
      if (inner !== undefined) this.#readTable(file, [...path, key], inner, written, base)
      else if (entry === undefined) this.#unknown(at, [...path, key], isTable(written))
      else this.#take(`${name}.${key}`, entry, written, at, base)
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: entries of all value types
  #take(key: string, entry: Entry<any>, written: unknown, at: string, base: string): void {
    const parsed = parseValue(entry, written)
    if ('problem' in parsed) this.#problem(at, `${key}: ${parsed.problem}`)
    else this.#written.set(key, { value: absolute(entry, parsed.value, base), origin: 'file' })
  }

  #readOverride(override: Override): void {
    const { path, text, where, origin } = override
    const key = path.join('.')
    if (path[0] === 'listener') {
      const value = path.length === 1 ? tomlText(text) : undefined
      if (value === undefined) {
        this.#problem(
          where,
          'listener takes a list of tables (write listener=[{service="pop3",address="127.0.0.1:1110"}])',
        )
      } else this.#takeListeners(value, origin, this.#cwd, () => where)
      return
    }
    if (path[0] === 'transport') {
      this.#overrideTransport(override)
      return
    }
    const entry = entryOf(path)
    if (entry === undefined) {
      if (tableKeys.has(key)) this.#problem(where, `${key} is a table (write ${key}.KEY=value)`)
      else this.#unknown(where, path, false)
      return
    }
    if (path[0] === 'transports') this.#transports.add(path[1]!)
    const isToml = tomlStart[entry.type]?.test(text) === true
    // `[host]:port` begins like a TOML list and is none.
    const toml = isToml ? tomlText(text) : undefined
    const parsed = toml === undefined ? parseText(entry, text) : parseValue(entry, toml)
    if ('problem' in parsed) this.#problem(where, `${key}: ${parsed.problem}`)
    else this.#written.set(key, { value: absolute(entry, parsed.value, this.#cwd), origin })
  }

  /** Either the whole map as an inline table, or one domain more. */
  #overrideTransport({ path, text, where, origin }: Override): void {
    const before = this.#written.get('transport')?.value as Record<string, string> | undefined
    const domain = path.slice(1).join('.')
    const value = domain === '' ? tomlText(text) : { ...before, [domain]: text }
    const parsed = parseValue(transportSetting, value ?? text)
    if ('problem' in parsed) this.#problem(where, `transport: ${parsed.problem}`)
    else this.#written.set('transport', { value: parsed.value, origin })
  }

  #unknown(where: string, path: readonly string[], table: boolean): void {
    const key = path.join('.')
    const guess = table ? nearest(key, tableKeys) : nearestSetting(key, allKeys)
    const hint = guess === undefined ? 'see mailactors config --defaults' : `did you mean ${guess}?`
    this.#problem(where, `unknown ${table ? 'table' : 'key'} ${key} (${hint})`)
  }

  #takeListeners(
    value: unknown,
    origin: Origin,
    base: string,
    where: (path: readonly (string | number)[]) => string,
  ): void {
    if (!Array.isArray(value) || !value.every(isTable)) {
      this.#problem(where([]), 'listener is not a list of tables (write [[listener]] before each)')
      return
    }
    const listeners: Record<string, unknown>[] = []
    value.forEach((written: Record<string, unknown>, index) => {
      const listener: Record<string, unknown> = {}
      const before = this.#problems.length
      for (const [key, item] of Object.entries(written)) {
        const entry = Object.hasOwn(listenerSettings, key) ? (listenerSettings as Table)[key] : undefined
        if (entry === undefined) {
          const guess = nearest(key, Object.keys(listenerSettings))
          const hint = guess ?? Object.keys(listenerSettings).join(', ')
          this.#problem(
            where([index, key]),
            `unknown key listener.${key} (${guess === undefined ? `valid are ${hint}` : `did you mean ${hint}?`})`,
          )
          continue
        }
        const parsed = parseValue(entry, item)
        if ('problem' in parsed) this.#problem(where([index, key]), `listener.${key}: ${parsed.problem}`)
        else listener[key] = parsed.value
      }
      const place = (key: string) => where(key in written ? [index, key] : [index])
      for (const key of ['service', 'address']) {
        if (!(key in written)) this.#problem(place(key), `listener.${key} is missing`)
      }
      if (typeof listener.address === 'string') {
        const address = parseListenerAddress(listener.address, base)
        if ('problem' in address) this.#problem(place('address'), `listener.address: ${address.problem}`)
        else {
          listener.address = address.address
          const twin = listeners.find((other) => other.address === address.address)
          if (twin !== undefined && !address.address.endsWith(':0'))
            this.#problem(
              place('address'),
              `listener.address: ${address.address} is taken by another listener`,
            )
        }
      }
      if (this.#problems.length === before) listeners.push({ ...listener, where: place('tls') })
    })
    this.#written.set('listener', { value: listeners, origin })
  }

  #compose(): Config {
    const base = this.#file === undefined ? this.#cwd : dirname(this.#file.path)
    const general = this.#values('', generalSettings)
    const data_dir = absolute(generalSettings.data_dir, general.data_dir, base) as string
    const values: Record<string, Record<string, unknown>> = {}
    for (const [name, table] of Object.entries(tables)) {
      const [outer = '', inner] = name.split('.')
      const written = this.#values(`${name}.`, table)
      if (inner === undefined) values[outer] = written
      else values[outer] = { ...values[outer], [inner]: written }
    }
    const auth = values.auth as Record<string, unknown>
    if (auth.passwd_file === '') auth.passwd_file = join(data_dir, 'users')
    const writtenLmtp = [...this.#written].filter(([key]) => key.startsWith('lmtp.'))
    values.lmtp = {
      ...this.#values('lmtp.', lmtpServerSettings),
      ...inheritLmtp(
        values.smtp as unknown as SmtpSettings,
        Object.fromEntries(writtenLmtp.map(([key, { value }]) => [key.slice('lmtp.'.length), value])),
      ),
    }
    const transports = composeTransports(this.#transports, values, this.#written)
    const routes = (this.#written.get('transport')?.value ?? {}) as Readonly<Record<string, string>>
    const { best_mx_transport: bestMx } = values.smtp as unknown as SmtpSettings
    const bestMxRoute = bestMx === '' || bestMx.includes(':') ? bestMx : `${bestMx}:`
    for (const { problem } of unknownTransports({ 'our best MX': bestMxRoute }, transports)) {
      this.#problem(this.#whereWritten(['smtp', 'best_mx_transport']), problem)
    }
    for (const { domain, problem } of unknownTransports(routes, transports)) {
      this.#problem(this.#whereWritten(['transport', domain]), problem)
    }
    for (const table of ['smtp', 'lmtp']) {
      const { sasl_auth_enable, sasl_password_maps } = values[table] as unknown as SmtpSettings
      if (sasl_auth_enable && sasl_password_maps.length === 0) {
        const problem = `${table}.sasl_auth_enable: needs accounts (set ${table}.sasl_password_maps)`
        this.#problem(this.#whereWritten([table, 'sasl_auth_enable']), problem)
      }
    }
    const pools = Object.fromEntries(
      Object.entries(poolsSettings).map(([name, table]) => [name, this.#pool(name, table)]),
    )
    const tls = values.tls as unknown as Config['tls']
    this.#checkTls(tls, auth.allow_cleartext === true)
    const pop3 = values.pop3 as unknown as Config['pop3']
    if (pop3.delete_type === 'flag' && pop3.deleted_flag === '') {
      const where = this.#whereWritten(['pop3', 'delete_type'])
      this.#problem(where, 'pop3.delete_type: "flag" needs the name of the flag (set pop3.deleted_flag)')
    }
    return {
      ...general,
      hostname: general.hostname === '' ? systemName() : general.hostname,
      data_dir,
      ...values,
      transport: routes,
      transports,
      pools,
      listener: this.#listeners(data_dir, tls),
    } as unknown as Config
  }

  #checkTls(tls: Config['tls'], allowsCleartext: boolean): void {
    if (tls.mode === 'required' && allowsCleartext) {
      const where = this.#whereWritten(['auth', 'allow_cleartext'])
      this.#problem(where, 'auth.allow_cleartext: contradicts tls.mode = "required" (give up one of them)')
    }
    if (tls.mode === 'required' && tls.cert === '') {
      this.#problem(
        this.#whereWritten(['tls', 'mode']),
        'tls.mode: "required" needs a certificate (set tls.cert)',
      )
    }
    for (const key of ['require', 'username'] as const) {
      if (!tls.client_cert[key] || tls.client_cert.ca !== '') continue
      const where = this.#whereWritten(['tls', 'client_cert', key])
      this.#problem(
        where,
        `tls.client_cert.${key}: nobody is asked for a certificate (set tls.client_cert.ca)`,
      )
    }
  }

  #values(prefix: string, table: Table): Record<string, unknown> {
    return Object.fromEntries(
      Object.entries(table).map(([key, entry]) => {
        const written = this.#written.get(prefix + key)
        return [key, written === undefined ? entry.default : written.value]
      }),
    )
  }

  #pool(name: string, table: Table): Record<string, unknown> {
    const pool = this.#values(`pools.${name}.`, table)
    const { min_threads: min, max_threads: max } = pool
    if (typeof max === 'number' && typeof min === 'number' && max < min) {
      if (this.#written.has(`pools.${name}.max_threads`)) {
        const where = this.#whereWritten(['pools', name, 'max_threads'])
        this.#problem(where, `pools.${name}.max_threads: ${max} is less than min_threads (${min})`)
      }
      // More threads at least than the default at most: the default gives way.
      return { ...pool, max_threads: min }
    }
    return pool
  }

  #listeners(dataDir: string, tls: Config['tls']): readonly ListenerConfig[] {
    const written = this.#written.get('listener')?.value as
      | readonly (Partial<ListenerConfig> & { where: string })[]
      | undefined
    if (written === undefined) return defaultListeners(dataDir, tls)
    return written.map(({ where, service = 'smtp', address = '', tls: mode, proxy_protocol = false }) => {
      const canStart =
        tls.mode !== 'no' && tls.cert !== '' && service !== 'admin' && !address.startsWith('unix:')
      if (mode !== undefined && mode !== 'off' && tls.mode !== 'no' && tls.cert === '') {
        this.#problem(where, `listener.tls: "${mode}" needs a certificate (set tls.cert and tls.key)`)
      }
      if (mode === 'starttls' && service === 'admin') {
        this.#problem(where, 'listener.tls: the admin page has no STARTTLS (use "implicit" or "off")')
      }
      if (proxy_protocol && service === 'admin') {
        this.#problem(where, 'listener.proxy_protocol: the admin page takes no PROXY header')
      }
      return {
        service,
        address,
        tls: tls.mode === 'no' ? 'off' : (mode ?? (canStart ? 'starttls' : 'off')),
        proxy_protocol,
      }
    })
  }

  #whereWritten(path: readonly string[]): string {
    const override = this.#overrides.findLast((one) => one.path.join('.') === path.join('.'))
    if (override !== undefined) return override.where
    return this.#file === undefined ? path.join('.') : placeOf(this.#file, path)
  }
}

/** What listens when the configuration names no listener: on this machine alone. */
export function defaultListeners(dataDir: string, tls: Config['tls']): readonly ListenerConfig[] {
  const mode = tls.cert === '' || tls.mode === 'no' ? 'off' : 'starttls'
  return [
    { service: 'pop3', address: '127.0.0.1:1110', tls: mode, proxy_protocol: false },
    { service: 'smtp', address: '127.0.0.1:2525', tls: mode, proxy_protocol: false },
    { service: 'lmtp', address: `unix:${join(dataDir, 'lmtp.sock')}`, tls: 'off', proxy_protocol: false },
    { service: 'admin', address: '127.0.0.1:9025', tls: 'off', proxy_protocol: false },
  ]
}

/** How a value begins that is written in TOML also outside of a file. */
const tomlStart: Readonly<Partial<Record<Entry<unknown>['type'], RegExp>>> = {
  list: /^\s*\[/,
  map: /^\s*\{/,
  maps: /^\s*[[{]/,
  certificates: /^\s*\{/,
}

function systemName(): string {
  const name = hostname().trim().toLowerCase().replace(/\.$/, '')
  return name === '' || generalSettings.hostname.check?.(name) !== undefined ? 'localhost' : name
}

// biome-ignore lint/suspicious/noExplicitAny: entries of all value types
function absolute(entry: Entry<any>, value: unknown, base: string): unknown {
  if (entry.type === 'maps') return tableSources(value, base)
  if (entry.type === 'certificates') {
    const files = Object.entries(value as Readonly<Record<string, CertificateFiles>>)
    const full = (path: string) => (path === '' ? '' : resolve(base, path))
    return Object.fromEntries(
      files.map(([name, { cert, key }]) => [name, { cert: full(cert), key: full(key) }]),
    )
  }
  if (entry.type !== 'path' || typeof value !== 'string' || value === '') return value
  // `%h/Maildir` and the like become absolute when the variables are filled in.
  return value.startsWith('%') ? value : resolve(base, value)
}

/** A value written in TOML; undefined when it is none. */
function tomlText(text: string): unknown {
  try {
    return parse(`value = ${text}`).value
  } catch {
    return undefined
  }
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
