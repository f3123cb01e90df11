/**
 * Short POP3 sessions: connect, USER, PASS, STAT, UIDL, LIST, RETR 1, QUIT over and over, on mailboxes of 10 mails of
 * 4 KB. Everyone has the same mailboxes (sizes in the file names, all read), the same passwords kept as {PLAIN}, and
 * no TLS.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../test/support/ports.ts'
import { Service } from '../test/support/service.ts'
import { pidFrom } from './harness/proc-tree.ts'
import { atEnd, run, whyMissing } from './harness/processes.ts'
import type { Contestant, Measurement, Scenario, ScenarioOptions } from './harness/scenario.ts'
import { generateMaildirs } from './peers/gen-maildir.ts'

const USERS = 100
const CLIENTS = 50
const MAILS = 10
const OCTETS = 4096
/** nobody: Dovecot refuses to touch mail as root. */
const MAIL_OWNER = { uid: 65_534, gid: 65_534 }

interface Server {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

interface LoadResult {
  readonly sessions: number
  readonly sessionsPerSecond: number
  readonly sessionsPerServerCpuSecond?: number
  readonly latencyMs?: { readonly p50: number; readonly p99: number }
  readonly elapsedSeconds: number
  readonly cpu: { readonly server: number; readonly generator: number; readonly other: number }
  readonly errors: number
  readonly errorSample?: string
}

const loadScript = fileURLToPath(new URL('peers/pop3-load.ts', import.meta.url))
const dovecotScript = fileURLToPath(new URL('peers/dovecot-pop3.sh', import.meta.url))

async function measure(server: Server, seconds: number): Promise<Measurement> {
  try {
    const { stdout } = await run(
      process.execPath,
      [
        loadScript,
        'session',
        '--clients',
        `${CLIENTS}`,
        '--users',
        `${USERS}`,
        '--seconds',
        `${seconds}`,
      ].concat(['--warmup', '2', '--port', `${server.port}`, '--pid', `${server.pid}`]),
      { timeoutMs: (seconds + 90) * 1000, okCodes: [0, 1] },
    )
    const result = JSON.parse(stdout) as LoadResult
    if (result.sessions === 0) throw new Error(`no session worked: ${result.errorSample}`)
    if (result.errors > 0) throw new Error(`${result.errors} sessions failed: ${result.errorSample}`)
    return {
      sessionsPerSecond: result.sessionsPerSecond,
      perCpuSecond: result.sessionsPerServerCpuSecond ?? Number.NaN,
      cpuMs: (result.cpu.server / result.sessions) * 1000,
      p50Ms: result.latencyMs?.p50 ?? Number.NaN,
      p99Ms: result.latencyMs?.p99 ?? Number.NaN,
      otherShare: result.cpu.other / result.elapsedSeconds,
    }
  } finally {
    await server.stop()
  }
}

async function startOurs(dir: string, mailRoot: string): Promise<Server> {
  const users = Object.fromEntries(Array.from({ length: USERS }, (_, index) => [`u${index}`, 'secret']))
  const service = await Service.prepare({
    dir,
    listeners: ['pop3'],
    users,
    tables: `[mail]\npath = "${mailRoot}/%u"\n`,
  })
  const stop = atEnd(async () => {
    if (service.isRunning) await service.stop()
  })
  await service.run()
  return { port: service.ports.pop3, pid: service.pid, stop }
}

async function startDovecot(dir: string, env: Readonly<Record<string, string>>): Promise<Server> {
  const [port = 0] = await freePorts(1)
  const stop = atEnd(async () => {
    await run(dovecotScript, ['stop', dir], { timeoutMs: 30_000 })
  })
  await run(dovecotScript, ['start', dir, `${port}`], {
    timeoutMs: 30_000,
    env: { USERS: `${USERS}`, ...env },
  })
  return { port, pid: pidFrom(join(dir, 'run', 'master.pid')), stop }
}

function contestants({ dir, quick }: ScenarioOptions): Contestant[] {
  const seconds = quick ? 2 : 8
  let turn = 0
  /** A directory with full mailboxes in `mail`. */
  const fresh = (name: string, owner?: { uid: number; gid: number }): string => {
    const path = join(dir, `${name}${turn++}`)
    mkdirSync(path, { recursive: true })
    chmodSync(path, 0o755)
    generateMaildirs({
      root: join(path, 'mail'),
      users: USERS,
      messages: MAILS,
      size: OCTETS,
      ...(owner !== undefined && { owner }),
    })
    return path
  }
  const dovecot = (name: string, env: Readonly<Record<string, string>>): Contestant => ({
    name,
    unavailable: whyMissing(['dovecot'], { root: true }),
    run: async () => measure(await startDovecot(fresh('dovecot', MAIL_OWNER), env), seconds),
  })
  return [
    {
      name: 'mailactors',
      run: async () => {
        const path = fresh('ours')
        return measure(await startOurs(path, join(path, 'mail')), seconds)
      },
    },
    dovecot('Dovecot', {}),
    // Many sessions in one mail process: its best, and what its documentation advises against.
    dovecot('Dovecot, shared', { SHARED: '1' }),
  ]
}

export const pop3: Scenario = {
  name: 'pop3',
  summary: `${CLIENTS} clients, ${USERS} mailboxes of ${MAILS} mails of ${OCTETS} octets; USER PASS STAT UIDL LIST RETR QUIT`,
  rounds: 3,
  columns: [
    { key: 'sessionsPerSecond', title: 'sessions/s', better: 'more' },
    { key: 'perCpuSecond', title: 'sessions per CPU s', better: 'more' },
    { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
    { key: 'p50Ms', title: 'p50 ms', better: 'less', digits: 1 },
    { key: 'p99Ms', title: 'p99 ms', better: 'less', digits: 1 },
    { key: 'otherShare', title: 'cores used by others', digits: 2 },
  ],
  contestants,
}
