/** The servers of the POP3 benchmarks, started on mailboxes that are the same for all. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../../test/support/ports.ts'
import { Service } from '../../test/support/service.ts'
import { pidFrom } from '../harness/proc-tree.ts'
import { atEnd, run, whyMissing } from '../harness/processes.ts'
import type { Contestant, Measurement } from '../harness/scenario.ts'
import { generateMaildirs, type MaildirOptions } from '../peers/gen-maildir.ts'

/** nobody: Dovecot refuses to touch mail as root. */
const MAIL_OWNER = { uid: 65_534, gid: 65_534 }

export interface Server {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

export interface Cpu {
  readonly server: number
  readonly generator: number
  readonly other: number
}

export interface LoadResult {
  readonly elapsedSeconds: number
  readonly cpu: Cpu
  readonly errors: number
  readonly errorSample?: string
}

/** What all contestants have to serve. */
export interface Mailboxes extends Pick<MaildirOptions, 'messages' | 'size' | 'crlf' | 'plain' | 'linked'> {
  readonly users: number
}

const loadScript = fileURLToPath(new URL('../peers/pop3-load.ts', import.meta.url))
const dovecotScript = fileURLToPath(new URL('../peers/dovecot-pop3.sh', import.meta.url))

/** Runs the load generator against a server; throws when a session failed. */
export async function load<R extends LoadResult>(
  server: Server,
  scenario: string,
  args: readonly string[],
  seconds: number,
): Promise<R> {
  const target = ['--port', `${server.port}`, '--pid', `${server.pid}`]
  const { stdout } = await run(
    process.execPath,
    [loadScript, scenario, ...args, '--seconds', `${seconds}`, ...target],
    { timeoutMs: (seconds + 180) * 1000, okCodes: [0, 1] },
  )
  const result = JSON.parse(stdout) as R
  if (result.errors > 0) throw new Error(`${result.errors} sessions failed: ${result.errorSample}`)
  return result
}

let turn = 0

/** A directory with full mailboxes in `mail`. */
function fresh(dir: string, name: string, mailboxes: Mailboxes, owner?: MaildirOptions['owner']): string {
  const path = join(dir, `${name}${turn++}`)
  mkdirSync(path, { recursive: true })
  chmodSync(path, 0o755)
  generateMaildirs({ root: join(path, 'mail'), ...mailboxes, ...(owner !== undefined && { owner }) })
  // Who flushes a file of its own would have to wait for all of these to get to the disk.
  execFileSync('sync')
  return path
}

async function startOurs(dir: string, users: number, tables: string): Promise<Server> {
  const service = await Service.prepare({
    dir,
    listeners: ['pop3'],
    users: Object.fromEntries(Array.from({ length: users }, (_, index) => [`u${index}`, 'secret'])),
    tables: `[mail]\npath = "${dir}/mail/%u"\n[limits]\nmax_userip_connections = 0\n${tables}`,
  })
  const stop = atEnd(async () => {
    if (service.isRunning) await service.stop()
  })
  await service.run()
  return { port: service.ports.pop3, pid: service.pid, stop }
}

async function startDovecot(
  dir: string,
  users: number,
  env: Readonly<Record<string, string>>,
): Promise<Server> {
  const [port = 0] = await freePorts(1)
  const stop = atEnd(async () => {
    await run(dovecotScript, ['stop', dir], { timeoutMs: 30_000 })
  })
  await run(dovecotScript, ['start', dir, `${port}`], {
    timeoutMs: 30_000,
    env: { USERS: `${users}`, SETTINGS: 'mail_max_userip_connections = 0\ndefault_vsz_limit = 4G', ...env },
  })
  return { port, pid: pidFrom(join(dir, 'run', 'master.pid')), stop }
}

type Measure = (server: Server) => Promise<Measurement>

async function measured(server: Server, measure: Measure): Promise<Measurement> {
  try {
    return await measure(server)
  } finally {
    await server.stop()
  }
}

/** `tables`: more of the configuration. */
export function ours(
  name: string,
  dir: string,
  mailboxes: Mailboxes,
  measure: Measure,
  tables = '',
): Contestant {
  return {
    name,
    run: async () => {
      const path = fresh(dir, 'ours', mailboxes)
      return measured(await startOurs(path, mailboxes.users, tables), measure)
    },
  }
}

/**
 * Dovecot as it comes (two processes for each session), with processes that are used again, and with many sessions in one
 * mail process: its best, and what its documentation advises against.
 */
export function dovecots(dir: string, mailboxes: Mailboxes, measure: Measure): Contestant[] {
  const variants = { Dovecot: {}, 'Dovecot, tuned': { TUNED: '1' }, 'Dovecot, shared': { SHARED: '1' } }
  return Object.entries(variants).map(([name, env]) => ({
    name,
    unavailable: whyMissing(['dovecot'], { root: true }),
    run: async () => {
      const path = fresh(dir, 'dovecot', mailboxes, MAIL_OWNER)
      return measured(await startDovecot(path, mailboxes.users, env), measure)
    },
  }))
}
