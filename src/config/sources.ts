/** Where settings come from: the file that is found, `--set`, the environment. Written values, not checked yet. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import { ConfigError, ConfigFileError } from './errors.ts'
import { type KeyLines, keyLines, lineOf } from './lines.ts'

export type Environment = Readonly<Record<string, string | undefined>>

export interface ConfigFile {
  readonly path: string
  readonly values: Readonly<Record<string, unknown>>
  readonly lines: KeyLines
}

/** One setting written as text, outside any file. */
export interface Override {
  /** For messages: `--set smtp.tcp_port=x` or the variable's name. */
  readonly where: string
  readonly origin: 'set' | 'environment'
  /** The key in parts; a part of a variable's name is in lower case. */
  readonly path: readonly string[]
  readonly text: string
}

const environmentPrefix = 'MAILACTORS_'

/** Where a configuration file is looked for without `-c`, first one first. */
export function searchPath(cwd: string, env: Environment): readonly string[] {
  const home = env.HOME
  const xdg = env.XDG_CONFIG_HOME || (home ? join(home, '.config') : '')
  return [
    resolve(cwd, 'mailactors.toml'),
    ...(xdg === '' ? [] : [join(xdg, 'mailactors', 'mailactors.toml')]),
    '/etc/mailactors/mailactors.toml',
  ]
}

/**
 * Reads the file that was asked for, or the first that is there.
 *
 * @throws ConfigFileError when it cannot be read; ConfigError when it is no TOML.
 */
export function readConfigFile(
  wanted: string | undefined,
  cwd: string,
  env: Environment,
): ConfigFile | undefined {
  if (wanted !== undefined) return parseConfigFile(resolve(cwd, wanted))
  for (const path of searchPath(cwd, env)) {
    try {
      return parseConfigFile(path)
    } catch (error) {
      if (error instanceof ConfigFileError && (error.errno === 'ENOENT' || error.errno === 'ENOTDIR'))
        continue
      throw error
    }
  }
  return undefined
}

function parseConfigFile(path: string): ConfigFile {
  let octets: Buffer
  try {
    octets = readFileSync(path)
  } catch (error) {
    throw new ConfigFileError(path, error as NodeJS.ErrnoException)
  }
  const text = octets.toString('utf8').replace(/^\uFEFF/, '')
  const notText = text.includes('\0') || text.includes('\uFFFD')
  try {
    if (notText) throw new Error('not UTF-8 text')
    return { path, values: parse(text), lines: keyLines(text) }
  } catch (error) {
    const line = error instanceof TomlError ? error.line : 1
    const [reason = ''] = (error as Error).message.split('\n')
    throw new ConfigError([
      { where: `${path}:${line}`, what: `no valid TOML: ${reason.replace(/^Invalid TOML document: /, '')}` },
    ])
  }
}

/** `FILE:LINE` of a key. */
export function placeOf(file: ConfigFile, path: readonly (string | number)[]): string {
  return `${file.path}:${lineOf(file.lines, path)}`
}

/**
 * The `KEY=VALUE` of `--set`. Parts of the key may stand in double quotes: `transport."example.com"=smtp:[10.0.0.9]`.
 *
 * @throws ConfigError when there is no `=` or the key is empty.
 */
export function setOverrides(assignments: readonly string[]): Override[] {
  return assignments.map((assignment) => {
    const match = /^((?:"[^"]*"|[^"=])+)=(.*)$/s.exec(assignment)
    const path = keyParts(match?.[1]?.trim() ?? '')
    if (match === null || path.some((part) => part === '')) {
      throw new ConfigError([
        { where: `--set ${assignment}`, what: 'no assignment (write --set table.key=value)' },
      ])
    }
    return { where: `--set ${assignment}`, origin: 'set', path, text: match[2] ?? '' }
  })
}

/** `MAILACTORS_SMTP__CONNECT_TIMEOUT=5s`: two underscores are the dot. */
export function environmentOverrides(env: Environment): Override[] {
  const overrides: Override[] = []
  for (const [name, text] of Object.entries(env)) {
    if (!name.startsWith(environmentPrefix) || text === undefined) continue
    const path = name.slice(environmentPrefix.length).toLowerCase().split('__')
    overrides.push({ where: name, origin: 'environment', path, text })
  }
  return overrides
}

/** Splits a dotted key; parts may stand in double quotes. */
export function keyParts(key: string): string[] {
  const parts = key.match(/"[^"]*"|[^".]+|(?<=^|\.)(?=\.|$)/g) ?? ['']
  return parts.map((part) => part.replace(/^"(.*)"$/, '$1').trim())
}
