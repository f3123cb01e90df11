/** What an importer has found so far: settings of ours, listeners, and what there is no place for. */
import { entryOf, namedTables, tableKeys } from '../keys.ts'
import type { Entry } from '../schema.ts'
import type { ListenerConfig } from '../settings.ts'
import { formatValue, parseText, tomlKey, tomlLiteral, tomlValue } from '../values.ts'

// biome-ignore lint/suspicious/noExplicitAny: entries of all value types
type AnyEntry = Entry<any>

/** A parameter that was not taken over. */
export interface LeftOut {
  readonly name: string
  readonly value: string
  readonly why: string
}

interface Setting {
  readonly value: unknown
  /** The parameter it comes from. */
  readonly from: string
}

export class Imported {
  readonly leftOut: LeftOut[] = []
  /** Parameters that say nothing of what mail systems do for their users, only how another one runs. */
  readonly needless: LeftOut[] = []
  readonly #seen = new Set<string>()
  readonly #settings = new Map<string, Setting>()
  readonly #listeners: ListenerConfig[] = []
  readonly #transport = new Map<string, string>()

  /** Takes a value as text; what is wrong with it is noted under `from`. */
  set(key: string, text: string, from: string): void {
    this.#seen.add(from)
    const entry = entryOf(key.split('.'))
    if (entry === undefined) {
      this.leave(from, text, 'no equivalent')
      return
    }
    const parsed = parseText(entry, text)
    if ('problem' in parsed) this.leave(from, text, `${key}: ${parsed.problem}`)
    else this.#settings.set(key, { value: parsed.value, from })
  }

  has(key: string): boolean {
    return this.#settings.has(key)
  }

  leave(name: string, value: string, why: string): void {
    this.#seen.add(name)
    this.leftOut.push({ name, value, why })
  }

  /** Nothing is to be done about a parameter. */
  dismiss(name: string, value: string, why: string): void {
    this.#seen.add(name)
    this.needless.push({ name, value, why })
  }

  /** A parameter has its effect on others, such as the listeners. */
  use(name: string): void {
    this.#seen.add(name)
  }

  /** Whether something became of a parameter. */
  accountsFor(name: string): boolean {
    return this.#seen.has(name)
  }

  /** Whether there is anything at all. */
  get isEmpty(): boolean {
    return this.#seen.size === 0
  }

  listen(listener: ListenerConfig): void {
    const isKnown = this.#listeners.some(({ address }) => address === listener.address)
    if (!isKnown) this.#listeners.push(listener)
  }

  get hasListeners(): boolean {
    return this.#listeners.length > 0
  }

  route(domain: string, route: string): void {
    this.#transport.set(domain, route)
  }

  /** Listeners without TLS where there is no certificate: they could not be opened. */
  get #servable(): readonly ListenerConfig[] {
    return this.has('tls.cert') ? this.#listeners : this.#listeners.map((one) => ({ ...one, tls: 'off' }))
  }

  get #allLeftOut(): readonly LeftOut[] {
    if (this.has('tls.cert')) return this.leftOut
    const wanted = this.#listeners.filter(({ tls }) => tls !== 'off')
    const why = 'needs tls.cert and tls.key'
    return [
      ...this.leftOut,
      ...wanted.map(({ service, address, tls }) => ({
        name: `listener ${service} ${address}`,
        value: `tls = "${tls}"`,
        why,
      })),
    ]
  }

  /** As a configuration file, what was left out as comments at its end. */
  toToml(): string {
    const sections: string[] = []
    for (const { name, table } of namedTables) {
      const lines = Object.entries(table).flatMap(([key, entry]) => {
        const setting = this.#settings.get(name === '' ? key : `${name}.${key}`)
        return setting === undefined ? [] : [settingLine(key, entry, setting)]
      })
      if (lines.length > 0) sections.push([...(name === '' ? [] : [`[${name}]`]), ...lines].join('\n'))
      if (name === '') sections.push(...this.#servable.map(listenerText))
    }
    if (this.#transport.size > 0) {
      const lines = Array.from(this.#transport, ([domain, to]) => `${tomlKey(domain)} = ${tomlLiteral(to)}`)
      sections.push(['[transport]', ...lines].join('\n'))
    }
    const leftOut = this.#allLeftOut
    if (leftOut.length > 0) {
      const lines = leftOut.map(({ name, value, why }) => `#   ${name} = ${oneLine(value)}\n#     ${why}`)
      sections.push(['# Not taken over:', ...lines].join('\n'))
    }
    const reasons = new Set(this.needless.map(({ why }) => why))
    for (const reason of reasons) {
      const names = this.needless.flatMap(({ name, why }) => (why === reason ? [name] : []))
      sections.push(
        [`# Of no use here, ${reason}:`, ...wrapped(names).map((line) => `#   ${line}`)].join('\n'),
      )
    }
    return `${sections.join('\n\n')}\n`
  }

  toData(): object {
    return {
      settings: Object.fromEntries(
        Array.from(this.#settings, ([key, { value, from }]) => [
          key,
          { value: written(entryOf(key.split('.'))!, value), from },
        ]),
      ),
      listeners: this.#servable,
      transport: Object.fromEntries(this.#transport),
      leftOut: this.#allLeftOut,
      needless: this.needless,
    }
  }
}

/**
 * Where a parameter lives: its prefix is the name of the table, `smtp_connect_timeout` is `smtp.connect_timeout`; or it
 * has no prefix, and one of our tables has a key of that name.
 */
export function homeOf(name: string, tablesInOrder: readonly string[]): string | undefined {
  const underscore = name.indexOf('_')
  const table = name.slice(0, underscore)
  const prefixed = `${table}.${name.slice(underscore + 1)}`
  if (underscore > 0 && tableKeys.has(table) && entryOf(prefixed.split('.')) !== undefined) return prefixed
  return tablesInOrder.map((one) => `${one}.${name}`).find((key) => entryOf(key.split('.')) !== undefined)
}

function settingLine(key: string, entry: AnyEntry, { value, from }: Setting): string {
  return `${key} = ${tomlValue(entry, value)}${from === key ? '' : `  # ${from}`}`
}

function listenerText({ service, address, tls, proxy_protocol }: ListenerConfig): string {
  const lines = [
    '[[listener]]',
    `service = "${service}"`,
    `address = ${tomlLiteral(address)}`,
    `tls = "${tls}"`,
  ]
  return [...lines, ...(proxy_protocol ? ['proxy_protocol = true'] : [])].join('\n')
}

const written = (entry: AnyEntry, value: unknown): unknown =>
  entry.type === 'duration' || entry.type === 'size' ? formatValue(entry, value) : value

/** Names with commas between them, some to a line. */
function wrapped(names: readonly string[]): string[] {
  const lines: string[] = []
  for (const name of names) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + name.length < 90) lines[lines.length - 1] = `${last}, ${name}`
    else lines.push(name)
  }
  return lines
}

const oneLine = (text: string): string => {
  const flat = text.replace(/\s+/g, ' ')
  return flat.length > 200 ? `${flat.slice(0, 197)}...` : flat
}
