/** The service under load: a process of its own, with a configuration and data in a temporary directory. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ControlClient } from '../control-client.ts'
import { CommandFailure, exitCodes } from '../exit.ts'

const startMs = 30_000
const stopMs = 20_000
/** Mails in each mailbox that is made for POP3. */
const mailsOfUser = 10

export interface BenchService {
  readonly smtpPort: number
  readonly pop3Port: number
  /** Everything that waits in the queue is tried now. */
  flush(): Promise<void>
  /** CPU time it has used, in seconds; undefined: this system does not tell. */
  cpuSeconds(): number | undefined
  stop(): Promise<void>
}

export interface BenchServiceOptions {
  /** Where the temporary directory is made: the disk that is measured. */
  readonly dir: string
  /** TOML tables. */
  readonly tables: string
  /** Mailboxes `u0`, `u1`, … with a few mails each. */
  readonly users: number
}

export async function startBenchService({ dir, tables, users }: BenchServiceOptions): Promise<BenchService> {
  mkdirSync(dir, { recursive: true })
  const home = mkdtempSync(join(dir, 'mailactors-bench-'))
  const [smtpPort = 0, pop3Port = 0] = await freePorts(2)
  const config = join(home, 'mailactors.toml')
  const listeners = [
    ['smtp', smtpPort],
    ['pop3', pop3Port],
  ].map(([service, port]) => `[[listener]]\nservice = "${service}"\naddress = "127.0.0.1:${port}"\n`)
  const top = 'hostname = "bench.test"\ndata_dir = "data"\n'
  const limits = '[auth]\npasswd_file = "users"\n[limits]\nmax_userip_connections = 0\n'
  writeFileSync(config, [top, ...listeners, limits, tables].join('\n'))
  writeFileSync(join(home, 'users'), userLines(users), { mode: 0o600 })
  for (let user = 0; user < users; user += 1) makeMailbox(join(home, 'data', 'mail', `u${user}`, 'Maildir'))
  const log = openSync(join(home, 'log'), 'a')
  const isSource = import.meta.url.includes('/src/cli/')
  const binary = fileURLToPath(new URL('../../../bin/mailactors.js', import.meta.url))
  const child = spawn(process.execPath, [binary, 'serve', '-c', config], {
    cwd: home,
    stdio: ['ignore', log, log],
    env: { ...process.env, ...(isSource ? { MAILACTORS_FROM_SOURCE: '1' } : {}) },
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
    await ended
    clearTimeout(timer)
    rmSync(home, { recursive: true, force: true })
  }
  try {
    await untilReady(child, join(home, 'log'))
  } catch (error) {
    await stop()
    throw error
  }
  const control = new ControlClient(join(home, 'data'))
  return {
    smtpPort,
    pop3Port,
    stop,
    flush: async () => void (await control.request('queue.flush', { site: '' })),
    cpuSeconds: () => cpuSecondsOf(child.pid ?? 0),
  }
}

const userLines = (users: number): string =>
  Array.from({ length: users }, (_, user) => `u${user}:{PLAIN}secret::::::\n`).join('')

function makeMailbox(maildir: string): void {
  for (const folder of ['cur', 'new', 'tmp']) mkdirSync(join(maildir, folder), { recursive: true })
  const mail = `From: s@bench.test\nSubject: bench\n\n${`${'x'.repeat(63)}\n`.repeat(64)}`
  for (let i = 0; i < mailsOfUser; i += 1) {
    writeFileSync(join(maildir, 'cur', `${1_700_000_000 + i}.M${i}P1.bench:2,S`), mail)
  }
}

async function untilReady(child: ChildProcess, log: string): Promise<void> {
  const deadline = performance.now() + startMs
  while (!readFileSync(log, 'utf8').includes('"event":"ready"')) {
    if (child.exitCode !== null || performance.now() > deadline) {
      const last = readFileSync(log, 'utf8').trim().split('\n').at(-1) ?? ''
      throw new CommandFailure(
        exitCodes.unavailable,
        `bench: the service did not start: ${last.slice(0, 500)}`,
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** Linux keeps it in hundredths of a second. */
function cpuSecondsOf(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return undefined
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once('listening', resolve))))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
