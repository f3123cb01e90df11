/** The very first start without any configuration: a user to try things with, and mail for it. */
import { randomInt } from 'node:crypto'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathSettings, userPaths } from '../auth/user-name.ts'
import type { LoadedConfig } from '../config/loader.ts'
import type { Config } from '../config/settings.ts'
import type { ListenerInfo } from '../listeners/contract.ts'
import { deliver } from '../mailbox/deliver.ts'
import { addUser, removeUser } from './commands/user.ts'
import { makeDirectory } from './directory.ts'

const user = 'demo'
/** Without the letters and digits that are mistaken for each other: it is read from one screen and typed into another. */
const letters = 'abcdefghijkmnpqrstuvwxyz23456789'
const passwordLength = 16

/**
 * Nobody configured anything, and there are no users yet; or there is a user `demo` whose password nobody has seen,
 * because the process was killed before it was shown.
 */
export function isFirstRun({ config, file }: LoadedConfig): boolean {
  return file === undefined && (!existsSync(config.auth.passwd_file) || existsSync(unshownPath(config)))
}

/** There from before the user is made until the password was shown. Holds the path of the welcome message. */
function unshownPath(config: Config): string {
  return join(config.data_dir, 'first-run')
}

export class FirstRun {
  readonly #config: Config
  readonly #isElsewhere: boolean
  readonly #password: string
  #welcomeFile: string | undefined

  private constructor({ config, origins }: LoadedConfig, password: string) {
    this.#config = config
    this.#isElsewhere = origins.has('data_dir')
    this.#password = password
  }

  /** Makes the user `demo` and puts a welcome message into the mailbox. */
  static async begin(loaded: LoadedConfig, now: Date): Promise<FirstRun> {
    const password = Array.from({ length: passwordLength }, () => letters[randomInt(letters.length)]).join('')
    const unshown = unshownPath(loaded.config)
    if (existsSync(unshown)) {
      const welcome = readFileSync(unshown, 'utf8')
      if (welcome !== '') rmSync(welcome, { force: true })
      await removeUser(loaded.config, user)
    } else {
      makeDirectory(loaded.config.data_dir)
      writeFileSync(unshown, '', { mode: 0o600 })
    }
    await addUser(loaded.config, user, { scheme: 'ARGON2ID', password: () => password })
    const firstRun = new FirstRun(loaded, password)
    await firstRun.#welcome(now)
    return firstRun
  }

  /** The service could not start and the password was never shown: the next start is the first one again. */
  undo(): void {
    rmSync(this.#config.auth.passwd_file, { force: true })
    // This file alone: there may be mail of an earlier user of the name.
    if (this.#welcomeFile !== undefined) rmSync(this.#welcomeFile, { force: true })
    this.#forget()
  }

  /** The password was shown: there is no first run after this one. */
  shown(): void {
    this.#forget()
  }

  #forget(): void {
    rmSync(unshownPath(this.#config), { force: true })
  }

  async #welcome(now: Date): Promise<void> {
    const { hostname, mail } = this.#config
    const { maildir } = userPaths(user, '', pathSettings(this.#config))
    const { file } = await deliver(
      maildir,
      { bytes: Buffer.from(welcomeMail(hostname, now)) },
      { hostname, saveCrlf: mail.save_crlf, fsync: mail.fsync !== 'never' },
    )
    this.#welcomeFile = file
    writeFileSync(unshownPath(this.#config), file)
  }

  /** What is printed once: the password, and three lines to copy. */
  text(listeners: readonly ListenerInfo[]): string {
    const smtp = reachable(listeners, 'smtp')
    const pop3 = reachable(listeners, 'pop3')
    const to = `${user}@${this.#config.mail.local_domains[0] ?? this.#config.hostname}`
    // The commands have to find the same data directory: by default they do, in this folder.
    const where = this.#isElsewhere ? ` --set data_dir=${this.#config.data_dir}` : ''
    const lines = [
      '',
      `User "${user}" with the password ${this.#password} was made. It is shown only now; change it with`,
      `npx mailactors user passwd ${user}${where}. Copy these to send a message, fetch one, and send another:`,
      '',
      ...(smtp === undefined
        ? []
        : [
            `  curl smtp://${smtp} --mail-from ${to} --mail-rcpt ${to} -H 'From: ${to}' -H 'Subject: Hello' -F '=Hello, actors.'`,
          ]),
      ...(pop3 === undefined ? [] : [`  curl pop3://${pop3}/1 -u ${user}:${this.#password}`]),
      `  echo 'Hello from the command line.' | npx mailactors send${where} -F Demo ${to}`,
      '',
      '',
    ]
    return lines.join('\n')
  }
}

/** `host:port` of the first listener of a service, as a client on this machine writes it. */
function reachable(listeners: readonly ListenerInfo[], service: string): string | undefined {
  const address = listeners.find(
    (one) => one.service === service && !one.address.startsWith('unix:'),
  )?.address
  if (address === undefined) return undefined
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon)
  const isAny = host === '' || host === '*' || host === '0.0.0.0' || host === '[::]'
  return `${isAny ? '127.0.0.1' : host}:${address.slice(colon + 1)}`
}

function welcomeMail(hostname: string, now: Date): string {
  const date = now.toUTCString().replace('GMT', '+0000')
  return [
    `Return-Path: <postmaster@${hostname}>`,
    `From: mailactors <postmaster@${hostname}>`,
    `To: ${user}@${hostname}`,
    'Subject: Welcome to mailactors',
    `Date: ${date}`,
    `Message-Id: <welcome.${now.getTime()}@${hostname}>`,
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    '',
    'It works: this message came out of a Maildir through a POP3 session actor.',
    '',
    'See what is running:      npx mailactors status',
    'See the supervision tree: npx mailactors tree',
    'Add a user of your own:   npx mailactors user add NAME',
    'All settings:             npx mailactors config --defaults',
    '',
  ].join('\r\n')
}
