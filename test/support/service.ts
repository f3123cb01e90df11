/**
 * The real service as its users run it: `bin/mailactors.js serve` as a child process with a configuration file, a
 * data directory and log files of its own. Nothing here looks inside: what a test knows comes from sockets, files,
 * the log, the commands and the exit code. Used by the system tests, the interop tests and the benchmarks.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts } from './ports.ts'
import { until, within } from './until.ts'

export const projectRoot = fileURLToPath(new URL('../../', import.meta.url))
export const binary = join(projectRoot, 'bin', 'mailactors.js')

/** The source as it is now, whatever was built last. */
const fromSource: Readonly<Record<string, string>> = { MAILACTORS_FROM_SOURCE: '1' }

export type ListenerName = 'smtp' | 'pop3' | 'lmtp' | 'submission' | 'admin'

export interface ServiceOptions {
  /** Where configuration, data and logs are. A new temporary directory when not given. */
  readonly dir?: string
  /** Default smtp and pop3, each on a free port; lmtp is a socket in the data directory. */
  readonly listeners?: readonly ListenerName[]
  /** name → password; kept as {PLAIN}, so that many users cost nothing. Default ann and bob, both `secret`. */
  readonly users?: Readonly<Record<string, string>>
  /** TOML keys before the first table. */
  readonly top?: string
  /** TOML tables; not [auth], which is written here. */
  readonly tables?: string
  /** Options of `serve` after `-c FILE`. */
  readonly args?: readonly string[]
  /** Options of node itself. */
  readonly nodeArgs?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

export interface LogLine {
  readonly event?: string
  readonly level?: string | number
  readonly msg?: string
  readonly [key: string]: unknown
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export class Service {
  readonly dir: string
  readonly dataDir: string
  readonly configFile: string
  readonly ports: Readonly<Record<'smtp' | 'pop3' | 'submission' | 'admin', number>>
  readonly lmtpSocket: string
  readonly #options: ServiceOptions
  #child: ChildProcess | undefined
  #exited: Promise<Exit> | undefined
  #generation = 0

  private constructor(dir: string, ports: readonly number[], options: ServiceOptions) {
    this.dir = dir
    this.dataDir = join(dir, 'data')
    this.configFile = join(dir, 'mailactors.toml')
    this.lmtpSocket = join(this.dataDir, 'lmtp.sock')
    const [smtp = 0, pop3 = 0, submission = 0, admin = 0] = ports
    this.ports = { smtp, pop3, submission, admin }
    this.#options = options
  }

  /** Writes the configuration and starts nothing. */
  static async prepare(options: ServiceOptions = {}): Promise<Service> {
    const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'ma-'))
    const service = new Service(dir, await freePorts(4), options)
    mkdirSync(service.dataDir, { recursive: true })
    const users = options.users ?? { ann: 'secret', bob: 'secret' }
    const passwd = Object.entries(users).map(([name, password]) => `${name}:{PLAIN}${password}::::::\n`)
    writeFileSync(join(dir, 'users'), passwd.join(''), { mode: 0o600 })
    writeFileSync(service.configFile, service.#configuration())
    return service
  }

  #configuration(): string {
    const listeners = (this.#options.listeners ?? ['smtp', 'pop3']).map((name) => {
      const address = name === 'lmtp' ? `unix:${this.lmtpSocket}` : `127.0.0.1:${this.ports[name]}`
      return `[[listener]]\nservice = "${name}"\naddress = "${address}"\ntls = "off"\n`
    })
    return [
      'hostname = "mail.peers.test"',
      'data_dir = "data"',
      this.#options.top ?? '',
      ...listeners,
      // Wrong passwords of one test must not slow down the next.
      '[auth]\npasswd_file = "users"\n[auth.penalty]\nenabled = false\n',
      this.#options.tables ?? '',
      '',
    ].join('\n')
  }

  /** Starts the process again on the same configuration and data, and waits for `ready`. */
  async run(deadlineMs = 50_000): Promise<void> {
    this.launch()
    await this.untilEvent('ready', () => true, deadlineMs)
  }

  /** Starts the process without waiting. */
  launch(): void {
    if (this.isRunning) throw new Error('the service runs already')
    this.#generation += 1
    const stdout = openSync(this.#file('out'), 'a')
    const stderr = openSync(this.#file('err'), 'a')
    const { nodeArgs = [], args = [], env = {} } = this.#options
    const child = spawn(process.execPath, [...nodeArgs, binary, 'serve', '-c', this.configFile, ...args], {
      cwd: this.dir,
      env: { ...process.env, ...fromSource, ...env },
      stdio: ['ignore', stdout, stderr],
    })
    closeSync(stdout)
    closeSync(stderr)
    this.#child = child
    this.#exited = new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code, signal) => resolve({ code, signal }))
    })
  }

  get isRunning(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error('the service was not started')
    return this.#child.pid
  }

  #file(kind: 'out' | 'err'): string {
    return join(this.dir, `${kind}.${this.#generation}.log`)
  }

  /** What the running (or last) process wrote to stdout. */
  get stdout(): string {
    return readFileSync(this.#file('out'), 'utf8')
  }

  get stderr(): string {
    return readFileSync(this.#file('err'), 'utf8')
  }

  /** The log lines of the running (or last) process; an unfinished last line is left out. */
  log(): LogLine[] {
    return `${this.stdout}\n${this.stderr}`.split('\n').flatMap((line) => {
      if (!line.startsWith('{')) return []
      try {
        return [JSON.parse(line) as LogLine]
      } catch {
        return []
      }
    })
  }

  events(event: string): LogLine[] {
    return this.log().filter((line) => line.event === event)
  }

  /** Waits for a log line; fails at once when the process ends before it. */
  async untilEvent(
    event: string,
    matches: (line: LogLine) => boolean = () => true,
    deadlineMs = 40_000,
  ): Promise<LogLine> {
    return until(
      `the event ${event}`,
      () => {
        const found = this.events(event).find(matches)
        if (found === undefined && !this.isRunning) {
          throw new Error(`the service ended (${this.#child?.exitCode}) before ${event}: ${this.#tail()}`)
        }
        return found
      },
      { deadlineMs, everyMs: 20, describe: () => this.#tail() },
    )
  }

  #tail(): string {
    return `\n${`${this.stdout}${this.stderr}`.split('\n').slice(-25).join('\n')}`
  }

  /** How the process ended; waits for it. */
  async exit(deadlineMs = 50_000): Promise<Exit> {
    if (this.#exited === undefined) throw new Error('the service was not started')
    return within('the end of the service', this.#exited, deadlineMs)
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name)
  }

  /** As a crash of the machine's kind does it: no goodbye. */
  async kill(): Promise<Exit> {
    this.signal('SIGKILL')
    return this.exit()
  }

  /** TERM and the wait for the end; KILL when that takes too long, and then it throws. */
  async stop(deadlineMs = 50_000): Promise<Exit> {
    if (!this.isRunning) return this.exit()
    this.signal('SIGTERM')
    try {
      return await this.exit(deadlineMs)
    } catch (error) {
      await this.kill()
      throw error
    }
  }

  /** Runs another command beside the service, in its directory: it finds the same configuration there. */
  command(args: readonly string[], input = ''): Promise<CommandResult> {
    return runCommand(args, { cwd: this.dir, input })
  }

  /** Ends the process if it runs, and removes the directory unless `keep`. */
  async dispose({ keep = false } = {}): Promise<void> {
    if (this.isRunning) await this.kill()
    if (!keep) rmSync(this.dir, { recursive: true, force: true })
  }
}

export interface RunOptions {
  readonly cwd?: string
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
  readonly deadlineMs?: number
}

/** Runs `mailactors` with these arguments to its end. */
export const runCommand = (args: readonly string[], options: RunOptions = {}): Promise<CommandResult> =>
  runProgram(process.execPath, [binary, ...args], { ...options, env: { ...fromSource, ...options.env } })

/** Runs any program to its end; kills it and throws when that takes longer than the deadline. */
export async function runProgram(
  program: string,
  args: readonly string[],
  { cwd, input = '', env = {}, deadlineMs = 30_000 }: RunOptions = {},
): Promise<CommandResult> {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env }, stdio: 'pipe' })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  // A program that does not read its input is no failure of the test.
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code))
  })
  try {
    const code = await within(`the end of ${program} ${args.join(' ')}`, closed, deadlineMs)
    return { code, stdout, stderr }
  } catch (error) {
    child.kill('SIGKILL')
    throw new Error(`${String(error)}\n${stdout}${stderr}`)
  }
}
