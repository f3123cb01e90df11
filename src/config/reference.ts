/** Writes the settings for people: TOML of the effective ones, documentation of one, the whole reference. All pure. */
import { documented, type NamedTable, namedTables } from './keys.ts'
import type { LoadedConfig, Origin } from './loader.ts'
import type { Entry, Table } from './schema.ts'
import {
  type Config,
  listenerSettings,
  transportClientSettings,
  transportSetting,
  transportSettings,
} from './settings.ts'
import { formatValue, rangeText, tomlKey, tomlLiteral, tomlValue, typeText } from './values.ts'

// biome-ignore lint/suspicious/noExplicitAny: entries of all value types
type AnyEntry = Entry<any>

/** The value of a dotted key in a configuration. */
export function settingOf(config: Config, key: string): unknown {
  let value: unknown = config
  for (const part of key.split('.')) value = (value as Record<string, unknown> | undefined)?.[part]
  return value
}

/** Which settings to print: all, or those that somebody set. */
export type Selection = (key: string) => boolean

/** The effective configuration as TOML that can be read again. */
export function configToml(
  { config }: Pick<LoadedConfig, 'config'>,
  isWanted: Selection = () => true,
): string {
  const sections: string[] = []
  for (const named of namedTables) {
    const lines = tableLines(config, named, isWanted)
    if (lines.length > 0)
      sections.push([...(named.name === '' ? [] : [`[${named.name}]`]), ...lines].join('\n'))
  }
  if (isWanted('transport') && Object.keys(config.transport).length > 0) {
    const routes = Object.entries(config.transport).map(
      ([domain, route]) => `${tomlKey(domain)} = ${tomlLiteral(route)}`,
    )
    sections.push(['[transport]', ...routes].join('\n'))
  }
  for (const table of transportTables(config)) {
    const lines = tableLines(config, table, isWanted)
    if (lines.length > 0 || isWanted(table.name)) sections.push([`[${table.name}]`, ...lines].join('\n'))
  }
  if (isWanted('listener')) {
    for (const listener of config.listener) {
      const lines = Object.entries(listener).map(([key, value]) => `${key} = ${tomlLiteral(value)}`)
      sections.push(['[[listener]]', ...lines].join('\n'))
    }
  }
  return sections.length === 0 ? '' : `${sections.join('\n\n')}\n`
}

/** `[transports.NAME]` as they were written: each with the keys that are set there. */
function transportTables({ transports }: Config): readonly NamedTable[] {
  const only = (table: Table, values: object): Table =>
    Object.fromEntries(Object.entries(table).filter(([key]) => key in values))
  return Object.entries(transports).flatMap(([name, { smtp, lmtp, ...own }]) => [
    { name: `transports.${name}`, table: only(transportSettings, own) },
    ...(smtp === undefined
      ? []
      : [{ name: `transports.${name}.smtp`, table: only(transportClientSettings.smtp, smtp) }]),
    ...(lmtp === undefined
      ? []
      : [{ name: `transports.${name}.lmtp`, table: only(transportClientSettings.lmtp, lmtp) }]),
  ])
}

function tableLines(config: Config, { name, table }: NamedTable, isWanted: Selection): string[] {
  return Object.entries(table)
    .map(([key, entry]) => ({ key, entry, full: name === '' ? key : `${name}.${key}` }))
    .filter(({ full }) => isWanted(full))
    .map(({ key, entry, full }) => `${key} = ${tomlValue(entry, settingOf(config, full))}`)
}

/** The effective configuration as data, times and sizes as people write them. */
export function configData(
  { config }: Pick<LoadedConfig, 'config'>,
  isWanted: Selection = () => true,
): object {
  const data: Record<string, unknown> = {}
  for (const { name, table } of [...namedTables, ...transportTables(config)]) {
    for (const [key, entry] of Object.entries(table)) {
      const full = name === '' ? key : `${name}.${key}`
      if (!isWanted(full)) continue
      let place = data
      for (const part of name.split('.').filter(Boolean)) {
        place[part] ??= {}
        place = place[part] as Record<string, unknown>
      }
      place[key] = dataValue(entry, settingOf(config, full))
    }
  }
  if (isWanted('transport')) data.transport = config.transport
  if (isWanted('listener')) data.listener = config.listener
  return data
}

function dataValue(entry: AnyEntry, value: unknown): unknown {
  return entry.type === 'duration' && typeof value === 'number' ? formatValue(entry, value) : value
}

/** What `config --doc KEY` prints, and what it is as data. */
export function documentation(
  key: string,
  effective: { readonly value: unknown; readonly origin: Origin },
): {
  readonly text: string
  readonly data: object
} {
  const entry = documented(key)
  if (entry === undefined) throw new TypeError(`no setting ${key}`)
  const range = rangeText(entry)
  const isListener = key.startsWith('listener.')
  const rows = [
    ['type', typeText(entry)],
    ...(range === '' ? [] : [['range', range]]),
    ['default', tomlValue(entry, entry.default)],
    ...(isListener ? [] : [['value', `${tomlValue(entry, effective.value)} (${effective.origin})`]]),
    ['reload', entry.live === false ? 'needs a restart' : 'changes in the running service'],
  ]
  const list = rows.map(([name = '', value]) => `  ${name.padEnd(8)} ${value}`).join('\n')
  return {
    text: `${key}\n\n${entry.doc}\n\n${list}\n`,
    data: {
      key,
      doc: entry.doc,
      type: entry.type,
      ...(entry.values === undefined ? {} : { values: entry.values }),
      ...(range === '' ? {} : { range }),
      default: dataValue(entry, entry.default),
      ...(isListener ? {} : { value: dataValue(entry, effective.value), origin: effective.origin }),
      live: entry.live !== false,
    },
  }
}

/** `docs/configuration.md`. */
export function referenceMarkdown(): string {
  const general = `# Configuration

Written by \`mailactors config --markdown\`; the text of each setting stands in the code beside what it steers.

The file is TOML. It is the one named by \`-c\`, else \`./mailactors.toml\`, else
\`$XDG_CONFIG_HOME/mailactors/mailactors.toml\`, else \`/etc/mailactors/mailactors.toml\`, else the defaults below
stand alone. Any key can be overridden, for one start, by \`--set smtp.connect_timeout=5s\` or by the environment,
\`MAILACTORS_SMTP__CONNECT_TIMEOUT=5s\`; \`--set\` wins over the environment, the environment over the file.

- Times are \`500ms\`, \`30s\`, \`10m\`, \`4h\`, \`5d\`, \`1w\`; a bare number is seconds.
- Sizes are \`512\`, \`64KiB\`, \`50MiB\`, \`1GiB\` (also \`K\`, \`M\`, \`G\`); a bare number is octets.
- Relative paths in a file start from the file's folder, others from the current one.
- \`%u\` is the user, \`%n\` the local part, \`%d\` the domain, \`%h\` the home.
- Settings marked *restart* do not change in a running service; all others do on \`mailactors reload\`.

A wrong key or value stops the start: all of them are listed with file, line and the nearest valid name, and the
exit code is 78. \`mailactors serve --check\` looks without starting anything.
`
  const sections = namedTables.map(({ name, table }) => {
    const heading = name === '' ? '## Outside any table' : `## [${name}]`
    return `${heading}\n\n${settingsTable(table)}`
  })
  const listener = `## [[listener]]

One for each address. When any is given, the default listeners are gone: POP3 on 127.0.0.1:1110, SMTP on
127.0.0.1:2525, LMTP on \`DATA_DIR/lmtp.sock\` and the admin page on 127.0.0.1:9025.

${settingsTable(listenerSettings)}`
  const transport = `## [transport]

${transportSetting.doc}

\`\`\`toml
[transport]
"example.com"  = "smtp:[10.0.0.9]:25"
".example.net" = "lmtp:unix:/run/lmtp.sock"
\`\`\`

## [transports.NAME]

Transports beside \`smtp\`, \`relay\` (the same), \`lmtp\`, \`local\`, \`error\`, \`retry\` and \`discard\`, which are
always there; one of these names changes that transport. A transport has the limits of the queue for itself, and may
differ from \`[smtp]\` in any key:

\`\`\`toml
[transport]
"slow.example" = "slow:"
"gone.example" = "error:5.1.2 this domain is no more"

[transports.slow]
destination_rate_delay = "2s"

[transports.slow.smtp]
helo_name = "slow.example.org"
\`\`\`

${settingsTable(transportSettings)}`
  return `${[general.trimEnd(), sections[0], listener, ...sections.slice(1), transport].join('\n\n')}\n`
}

function settingsTable(table: Table): string {
  const rows = Object.entries(table).map(([key, entry]) => {
    const range = rangeText(entry)
    const kind = [typeText(entry), range].filter(Boolean).join(', ')
    const restart = entry.live === false ? ' *restart*' : ''
    return `| \`${key}\` | ${defaultText(entry)} | ${cell(kind)} | ${cell(entry.doc)}${restart} |`
  })
  return ['| key | default | takes | |', '| --- | --- | --- | --- |', ...rows].join('\n')
}

function defaultText(entry: AnyEntry): string {
  return `\`${tomlValue(entry, entry.default).replaceAll('|', '\\|')}\``
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
