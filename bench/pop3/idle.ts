/**
 * Logged-in sessions that do nothing: memory of each. Ours holds 10,000 in one service; Dovecot gets 400, because each
 * takes a process or a good part of one.
 */
import type { Measurement, Scenario } from '../harness/scenario.ts'
import { dovecots, type LoadResult, load, ours, type Server } from './servers.ts'

const MAILBOXES = { users: 100, messages: 10, size: 4096 }
const OURS = 10_000
const THEIRS = 400

interface IdleResult extends LoadResult {
  readonly sessions: number
  readonly perSession: { readonly pssKiB: number; readonly pssKiBWithServer: number }
  readonly openSeconds: number
  readonly holdSeconds: number
  readonly holdCpu: { readonly server: number }
}

async function measure(server: Server, sessions: number, seconds: number): Promise<Measurement> {
  const args = ['--clients', `${sessions}`, '--users', `${MAILBOXES.users}`]
  const result = await load<IdleResult>(server, 'idle', args, seconds)
  return {
    sessions: result.sessions,
    pss: result.perSession.pssKiB,
    pssWithServer: result.perSession.pssKiBWithServer,
    loginsPerSecond: result.sessions / result.openSeconds,
    cpuPercent: (100 * result.holdCpu.server) / result.holdSeconds,
  }
}

export const pop3Idle: Scenario = {
  name: 'pop3-idle',
  summary: `idle sessions: ${OURS} in one service, ${THEIRS} in Dovecot; ${MAILBOXES.users} mailboxes of ${MAILBOXES.messages} mails`,
  rounds: 3,
  columns: [
    { key: 'sessions', title: 'sessions' },
    { key: 'pss', title: 'KiB more for each', better: 'less', digits: 1 },
    { key: 'pssWithServer', title: 'KiB each, with server', better: 'less', digits: 1 },
    { key: 'loginsPerSecond', title: 'logins/s', better: 'more' },
    { key: 'cpuPercent', title: '% CPU while idle', digits: 2 },
  ],
  contestants({ dir, quick }) {
    const seconds = quick ? 1 : 3
    return [
      ours('mailactors', dir, MAILBOXES, (server) => measure(server, quick ? 1_000 : OURS, seconds)),
      ...dovecots(dir, MAILBOXES, (server) => measure(server, quick ? 50 : THEIRS, seconds)),
    ]
  },
}
