import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { importDovecot } from '../../config/import/dovecot.ts'
import { Imported } from '../../config/import/imported.ts'
import { importPostfix } from '../../config/import/postfix.ts'
import { CommandFailure, exitCodes, systemFailure } from '../exit.ts'
import { withJson } from '../options.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface Options {
  readonly postfix?: string
  readonly dovecot?: string
  readonly json?: boolean
}

/** `mailactors config import`: what Postfix and Dovecot are told, as our configuration. */
export function addImportCommand(config: Command, terminal: Terminal): void {
  const command = config
    .command('import')
    .description("print a Postfix's and a Dovecot's configuration as ours, and what has no equivalent")
    .option('--postfix <dir>', 'its configuration directory; -: output of postconf -n (and -M) on stdin')
    .option('--dovecot <file>', 'its configuration file; -: output of doveconf -n on stdin')
  withJson(command).action(async (options: Options, self: Command) => {
    // The parent has an option of that name too, and takes it when it stands first.
    const asJson = options.json ?? self.optsWithGlobals<Options>().json
    const { postfix, dovecot } = options
    if (postfix === undefined && dovecot === undefined) {
      throw new CommandFailure(
        exitCodes.usage,
        'config import: from what? (give --postfix DIR or --dovecot FILE)',
      )
    }
    if (postfix === '-' && dovecot === '-') {
      throw new CommandFailure(
        exitCodes.usage,
        'config import: only one of them can be on stdin (give the other its path)',
      )
    }
    const isPiped = postfix === '-' || dovecot === '-'
    const input = isPiped ? await readStdin(terminal) : ''
    // What is left of a program that failed: an empty configuration would be taken for the answer.
    if (isPiped && !/^[^#\n]*(?:[={]|\s(?:inet|unix)\s)/m.test(input)) {
      throw new CommandFailure(
        exitCodes.badData,
        'config import: no settings on stdin (pipe the output of postconf -n or doveconf -n into it)',
      )
    }
    const imported = new Imported()
    if (postfix !== undefined) importPostfix(postfixSources(postfix, input, terminal), imported)
    if (dovecot !== undefined)
      importDovecot(dovecot === '-' ? input : dovecotText(dovecot, terminal), imported)
    if (imported.isEmpty) {
      throw new CommandFailure(
        exitCodes.badData,
        `config import: there are no settings in ${[postfix, dovecot].filter(Boolean).join(' and ')}`,
      )
    }
    if (asJson) printJson(terminal, imported.toData())
    else terminal.print(imported.toToml())
  })
}

function postfixSources(from: string, input: string, terminal: Terminal) {
  const readFile = (path: string): string | undefined => {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      return undefined
    }
  }
  if (from === '-') return { main: input, master: input, readFile }
  const dir = resolve(terminal.cwd, from)
  return {
    main: printed('postconf', ['-c', dir, '-n']) ?? readOrFail(join(dir, 'main.cf')),
    master: printed('postconf', ['-c', dir, '-M']) ?? readFile(join(dir, 'master.cf')) ?? '',
    readFile,
  }
}

function dovecotText(from: string, terminal: Terminal): string {
  const file = resolve(terminal.cwd, from)
  const text = readOrFail(file)
  return printed('doveconf', ['-n', '-c', file]) ?? text
}

/** What a program prints; undefined when it is not there, or does not like its input: then the file itself is read. */
function printed(program: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(program, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 20_000,
    })
  } catch {
    return undefined
  }
}

function readOrFail(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { why, exitCode } = systemFailure(error as NodeJS.ErrnoException)
    throw new CommandFailure(
      exitCode,
      `${path}: ${why} (give the directory or file of the configuration, or -)`,
    )
  }
}

async function readStdin(terminal: Terminal): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of terminal.stdin) chunks.push(Buffer.from(chunk as Uint8Array))
  return Buffer.concat(chunks).toString('utf8')
}
