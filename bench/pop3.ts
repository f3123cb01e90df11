/**
 * Short POP3 sessions: connect, USER, PASS, STAT, UIDL, LIST, RETR 1, QUIT over and over, on mailboxes of 10 mails of
 * 4 KB. Everyone has the same mailboxes (sizes in the file names, all read), the same passwords kept as {PLAIN}, and
 * no TLS.
 */
import type { Measurement, Scenario } from './harness/scenario.ts'
import { dovecots, type LoadResult, load, ours, type Server } from './pop3/servers.ts'

const CLIENTS = 50
const MAILBOXES = { users: 100, messages: 10, size: 4096 }
/** Seconds that are not counted: V8 compiles for as long, on threads beside, a sixth of all CPU time in the first ones. */
const WARM_UP = 8

interface SessionResult extends LoadResult {
  readonly sessions: number
  readonly sessionsPerSecond: number
  readonly sessionsPerServerCpuSecond?: number
  readonly latencyMs?: { readonly p50: number; readonly p99: number }
}

async function measure(server: Server, seconds: number): Promise<Measurement> {
  const warmUp = Math.min(WARM_UP, seconds)
  const args = ['--clients', `${CLIENTS}`, '--users', `${MAILBOXES.users}`, '--warmup', `${warmUp}`]
  const result = await load<SessionResult>(server, 'session', args, seconds)
  return {
    sessionsPerSecond: result.sessionsPerSecond,
    perCpuSecond: result.sessionsPerServerCpuSecond ?? Number.NaN,
    cpuMs: (result.cpu.server / result.sessions) * 1000,
    p50Ms: result.latencyMs?.p50 ?? Number.NaN,
    p99Ms: result.latencyMs?.p99 ?? Number.NaN,
    otherShare: result.cpu.other / result.elapsedSeconds,
  }
}

export const pop3: Scenario = {
  name: 'pop3',
  summary: `${CLIENTS} clients, ${MAILBOXES.users} mailboxes of ${MAILBOXES.messages} mails of ${MAILBOXES.size} octets; USER PASS STAT UIDL LIST RETR QUIT`,
  rounds: 3,
  columns: [
    { key: 'sessionsPerSecond', title: 'sessions/s', better: 'more' },
    { key: 'perCpuSecond', title: 'sessions per CPU s', better: 'more' },
    { key: 'cpuMs', title: 'CPU ms each', better: 'less', digits: 2 },
    { key: 'p50Ms', title: 'p50 ms', better: 'less', digits: 1 },
    { key: 'p99Ms', title: 'p99 ms', better: 'less', digits: 1 },
    { key: 'otherShare', title: 'cores used by others', digits: 2 },
  ],
  contestants({ dir, quick }) {
    const run = (server: Server) => measure(server, quick ? 2 : 8)
    return [ours('mailactors', dir, MAILBOXES, run), ...dovecots(dir, MAILBOXES, run)]
  },
}
