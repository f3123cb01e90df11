import type { Command } from 'commander'
import { documented, documentedKeys } from '../../config/keys.ts'
import { type LoadedConfig, loadSettings } from '../../config/loader.ts'
import { nearestSetting } from '../../config/nearest.ts'
import {
  configData,
  configToml,
  documentation,
  referenceMarkdown,
  type Selection,
  settingOf,
} from '../../config/reference.ts'
import { tomlLiteral, tomlValue } from '../../config/values.ts'
import { CommandFailure, exitCodes } from '../exit.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { lookupKeys } from '../tables.ts'
import { printJson, type Terminal } from '../terminal.ts'
import { addImportCommand } from './import.ts'

interface Options extends ConfigOptions {
  readonly defaults?: boolean
  readonly changed?: boolean
  readonly doc?: string
  readonly markdown?: boolean
  readonly lookup?: string
  readonly json?: boolean
}

/** `mailactors config`: what the settings are, and what they mean. */
export function addConfigCommand(program: Command, terminal: Terminal): void {
  const command = program
    .command('config')
    .description('effective settings, as postconf and doveconf print them')
    .argument('[key...]', 'print only these settings; with --lookup the keys to look up')
    .option('--defaults', 'the defaults, whatever the configuration says')
    .option('--changed', 'only what differs from the defaults')
    .option('--doc <key>', 'documentation of one setting')
    .option('--markdown', 'the whole reference')
    .option(
      '--lookup <tables>',
      'look keys up in lookup tables (type:name, or a setting that has some); exit code 66 when one is not there',
    )
  addImportCommand(command, terminal)
  withJson(withConfigOptions(command)).action((keys: string[], options: Options) => {
    const modes = (['defaults', 'changed', 'doc', 'markdown', 'lookup'] as const).filter(
      (mode) => options[mode] !== undefined,
    )
    if (modes.length > 1) {
      throw new CommandFailure(
        exitCodes.usage,
        `config: --${modes.join(' and --')} exclude each other (give one)`,
      )
    }
    if (options.markdown) terminal.print(referenceMarkdown())
    else if (options.doc !== undefined) printDocumentation(terminal, options.doc, options)
    else if (options.lookup !== undefined)
      process.exitCode = printLookups(terminal, options.lookup, keys, options)
    else printSettings(terminal, keys, options)
  })
}

/** As `postmap -q`: the value alone for one key, `key value` lines for more. Returns the exit code. */
function printLookups(terminal: Terminal, tables: string, keys: readonly string[], options: Options): number {
  if (keys.length === 0) {
    throw new CommandFailure(
      exitCodes.usage,
      'config: --lookup without a key (config --lookup TABLES KEY...)',
    )
  }
  const answers = lookupKeys(tables, keys, {
    cwd: terminal.cwd,
    config: () => loadOrFail(terminal, options).config,
  })
  const failed = answers.find(({ answer }) => answer.kind === 'error')?.answer
  if (options.json)
    printJson(
      terminal,
      answers.map(({ key, answer }) => ({ key, ...answer })),
    )
  else {
    for (const { key, answer } of answers) {
      if (answer.kind === 'found') terminal.print(`${keys.length === 1 ? '' : `${key} `}${answer.value}\n`)
    }
  }
  if (failed?.kind === 'error') throw new CommandFailure(exitCodes.temporary, `config: ${failed.detail}`)
  return answers.every(({ answer }) => answer.kind === 'found') ? exitCodes.ok : exitCodes.noInput
}

function printDocumentation(terminal: Terminal, key: string, options: Options): void {
  known(key, true)
  const loaded = loadOrFail(terminal, options)
  const origin = loaded.origins.get(key) ?? 'default'
  const { text, data } = documentation(key, { value: settingOf(loaded.config, key), origin })
  if (options.json) printJson(terminal, data)
  else terminal.print(text)
}

function printSettings(terminal: Terminal, keys: readonly string[], options: Options): void {
  for (const key of keys) known(key)
  const loaded: LoadedConfig = options.defaults
    ? loadSettings({ cwd: terminal.cwd, file: false })
    : loadOrFail(terminal, options)
  const isWanted = selection(keys, options, loaded)
  if (options.json) printJson(terminal, configData(loaded, isWanted))
  else if (keys.length > 0) {
    for (const key of keys) terminal.print(`${key} = ${settingText(loaded, key)}\n`)
  } else terminal.print(configToml(loaded, isWanted))
}

function selection(keys: readonly string[], options: Options, { origins }: LoadedConfig): Selection {
  const isNamed: Selection = keys.length === 0 ? () => true : (key) => keys.includes(key)
  return options.changed ? (key) => isNamed(key) && origins.has(key) : isNamed
}

function settingText({ config }: LoadedConfig, key: string): string {
  const entry = documented(key)
  const value = settingOf(config, key)
  return entry === undefined ? tomlLiteral(value) : tomlValue(entry, value)
}

function known(key: string, isDoc = false): void {
  if (documented(key) !== undefined || (key === 'listener' && !isDoc)) return
  const guess = nearestSetting(key, documentedKeys)
  const hint = guess === undefined ? 'see mailactors config --defaults' : `did you mean ${guess}?`
  throw new CommandFailure(exitCodes.usage, `config: there is no setting ${key} (${hint})`)
}
