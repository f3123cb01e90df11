import { dirname } from 'node:path'
import { type Command, Option } from 'commander'
import { type WritableScheme, writableSchemes } from '../../auth/config.ts'
import { PasswdFileError, UserError } from '../../auth/errors.ts'
import type { PasswdEntry } from '../../auth/passwd-entry.ts'
import { type PasswdContent, readPasswd, replaceEntry, sameUser } from '../../auth/passwd-file.ts'
import { readPassword, writePassword } from '../../auth/schemes.ts'
import { pathSettings, userNameProblem, userPaths } from '../../auth/user-name.ts'
import type { Config } from '../../config/settings.ts'
import { makeDirectory } from '../directory.ts'
import { CommandFailure, exitCodes, systemFailure } from '../exit.ts'
import { tableText } from '../format.ts'
import { waitForLock } from '../lock-file.ts'
import { type ConfigOptions, loadOrFail, withConfigOptions, withJson } from '../options.ts'
import { readPasswordFrom } from '../prompt.ts'
import { printJson, type Terminal } from '../terminal.ts'

interface PasswordOptions extends ConfigOptions {
  readonly stdin?: boolean
  readonly scheme?: WritableScheme
  readonly json?: boolean
}

/** Another writer holds the lock for milliseconds; one that holds it longer hangs. */
const lockWaitMs = 10_000

/** `mailactors user add|passwd|remove|list|verify`. Works on the file: with and without a service. */
export function addUserCommand(program: Command, terminal: Terminal): void {
  const user = program.command('user').description('the users in the passwd-file')
  const scheme = () =>
    new Option('--scheme <scheme>', 'how the password is stored (default: auth.default_scheme)').choices(
      writableSchemes,
    )
  const named = (name: string, description: string) =>
    withConfigOptions(
      user.command(name).description(description).argument('<name>', 'user name, or whole address'),
    )

  named('add', 'add a user; asks for the password')
    .option('--stdin', 'read the password from the first line of stdin')
    .addOption(scheme())
    .action(async (name: string, options: PasswordOptions) => {
      const { config } = loadOrFail(terminal, options)
      await addUser(config, name, {
        scheme: options.scheme ?? config.auth.default_scheme,
        password: () => readPasswordFrom(terminal, { stdin: options.stdin === true, isNew: true }),
      })
    })

  named('passwd', 'change the password of a user')
    .option('--stdin', 'read the password from the first line of stdin')
    .addOption(scheme())
    .action(async (name: string, options: PasswordOptions) => {
      const { config } = loadOrFail(terminal, options)
      existing(config, name)
      const password = await readPasswordFrom(terminal, { stdin: options.stdin === true, isNew: true })
      const field = await hash(options.scheme ?? config.auth.default_scheme, password)
      await underLock(config, () => {
        const entry = existing(config, name)
        replaceEntry(config.auth.passwd_file, entry.user, { ...entry, password: field })
      })
    })

  named('remove', 'remove a user; the mail stays').action(async (name: string, options: ConfigOptions) => {
    const { config } = loadOrFail(terminal, options)
    existing(config, name)
    await removeUser(config, name)
  })

  const list = user.command('list').description('all users')
  withJson(withConfigOptions(list)).action((options: PasswordOptions) => {
    const { config } = loadOrFail(terminal, options)
    const { entries, badLines } = users(config)
    for (const { line, problem } of badLines)
      terminal.complain(`${config.auth.passwd_file}:${line}: ${problem}`)
    const rows = entries.map((entry) => describe(config, entry))
    if (options.json) printJson(terminal, rows)
    else if (rows.length === 0) terminal.print('No users. Add one: mailactors user add NAME\n')
    else {
      terminal.print(
        tableText(
          [{ title: 'USER' }, { title: 'SCHEME' }, { title: 'MAILDIR' }],
          rows.map((row) => [row.user, row.scheme, row.maildir]),
        ),
      )
    }
  })

  withJson(named('verify', 'check the password of a user; exit code 77 when it is wrong'))
    .option('--stdin', 'read the password from the first line of stdin')
    .action(async (name: string, options: PasswordOptions) => {
      const { config } = loadOrFail(terminal, options)
      const entry = existing(config, name)
      const stored = readPassword(entry.password)
      if ('problem' in stored) {
        throw new CommandFailure(
          exitCodes.badConfig,
          `user ${entry.user}: ${stored.problem} (set a new one with user passwd)`,
        )
      }
      const password = await readPasswordFrom(terminal, { stdin: options.stdin === true, isNew: false })
      const ok = await stored.verify(password)
      if (options.json) printJson(terminal, { user: entry.user, ok })
      else if (ok) terminal.print('ok\n')
      if (!ok) throw new CommandFailure(exitCodes.noPermission, `user ${entry.user}: wrong password`)
    })
}

export interface NewUser {
  readonly scheme: WritableScheme
  password(): string | Promise<string>
}

/** Adds a user to the passwd-file. Fails when the name cannot be one, or is taken. */
export async function addUser(config: Config, name: string, { scheme, password }: NewUser): Promise<void> {
  const problem = userNameProblem(name)
  if (problem !== undefined)
    throw new CommandFailure(exitCodes.usage, `user name: "${name}" ${problem} (choose another)`)
  const refuseTwin = () => {
    if (find(users(config), name) !== undefined) {
      throw new CommandFailure(
        exitCodes.cannotCreate,
        `user ${name}: there is one already (change it with user passwd)`,
      )
    }
  }
  refuseTwin()
  const field = await hash(scheme, await password())
  await underLock(config, () => {
    // Once more: another process may have added it while the password was typed.
    refuseTwin()
    const entry: PasswdEntry = {
      user: name,
      password: field,
      uid: undefined,
      gid: undefined,
      gecos: '',
      home: '',
      shell: '',
      extra: '',
    }
    replaceEntry(config.auth.passwd_file, name, entry)
  })
}

/** Takes a user out of the passwd-file; one that is not there is no failure. The mail stays. */
export function removeUser(config: Config, name: string): Promise<void> {
  return underLock(config, () => {
    const entry = find(users(config), name)
    if (entry !== undefined) replaceEntry(config.auth.passwd_file, entry.user, undefined)
  })
}

async function hash(scheme: WritableScheme, password: string): Promise<string> {
  try {
    return await writePassword(scheme, password)
  } catch (error) {
    if (error instanceof UserError) throw new CommandFailure(exitCodes.badData, `password: ${error.message}`)
    throw error
  }
}

function users(config: Config): PasswdContent {
  try {
    return readPasswd(config.auth.passwd_file) ?? { entries: [], badLines: [] }
  } catch (error) {
    throw passwdFailure(config, error)
  }
}

function find({ entries }: PasswdContent, name: string): PasswdEntry | undefined {
  return entries.find((entry) => sameUser(entry.user, name))
}

function existing(config: Config, name: string): PasswdEntry {
  const entry = find(users(config), name)
  if (entry !== undefined) return entry
  throw new CommandFailure(
    exitCodes.noInput,
    `user ${name}: no such user in ${config.auth.passwd_file} (see mailactors user list)`,
  )
}

async function underLock(config: Config, work: () => void): Promise<void> {
  const path = `${config.auth.passwd_file}.lock`
  try {
    makeDirectory(dirname(path))
    const taken = await waitForLock(path, lockWaitMs)
    if ('holder' in taken) {
      throw new CommandFailure(
        exitCodes.temporary,
        `passwd-file: process ${taken.holder.pid} holds ${path} (try again)`,
      )
    }
    try {
      work()
    } finally {
      taken.lock.release()
    }
  } catch (error) {
    throw passwdFailure(config, error)
  }
}

function passwdFailure(config: Config, error: unknown): unknown {
  const cause = error instanceof PasswdFileError ? error.cause : error
  if (typeof (cause as NodeJS.ErrnoException | undefined)?.code !== 'string') return error
  if (cause instanceof CommandFailure) return cause
  const { why, exitCode } = systemFailure(cause)
  return new CommandFailure(exitCode, `passwd-file ${config.auth.passwd_file}: ${why} (see auth.passwd_file)`)
}

function describe(config: Config, entry: PasswdEntry) {
  const stored = readPassword(entry.password)
  const paths = userPaths(entry.user, entry.home, pathSettings(config))
  const scheme = entry.password === '' ? 'none' : 'problem' in stored ? 'unknown' : stored.scheme
  return { user: entry.user, scheme, home: paths.home, maildir: paths.maildir }
}
