/**
 * One client fetches a mailbox of 2,000 mails of 50 KB, one RETR at a time and pipelined by ten, again and again for some
 * seconds. With LF in the files, as Dovecot stores them, and with CRLF, as `mail.save_crlf` does.
 */
import type { Measurement, Scenario } from '../harness/scenario.ts'
import { dovecots, type LoadResult, load, ours, type Server } from './servers.ts'

const MAILBOXES = { users: 1, messages: 2_000, size: 51_200 }

interface DrainResult extends LoadResult {
  readonly megabytesPerSecond: number
  readonly megabytesPerServerCpuSecond?: number
}

async function measure(server: Server, seconds: number): Promise<Measurement> {
  const drain = (depth: number, time = seconds) =>
    load<DrainResult>(server, 'drain', ['--pipeline', `${depth}`], time)
  // The caches of the system are filled, and V8 has compiled what runs: as of `pop3`, it is the state of a service that is up.
  await drain(1, 2 * seconds)
  const single = await drain(1)
  const pipelined = await drain(10)
  return {
    single: single.megabytesPerSecond,
    singleCpu: single.megabytesPerServerCpuSecond ?? Number.NaN,
    pipelined: pipelined.megabytesPerSecond,
    pipelinedCpu: pipelined.megabytesPerServerCpuSecond ?? Number.NaN,
    otherShare: pipelined.cpu.other / pipelined.elapsedSeconds,
  }
}

export const pop3Drain: Scenario = {
  name: 'pop3-drain',
  summary: `one client fetches ${MAILBOXES.messages} mails of ${MAILBOXES.size} octets, one at a time and pipelined by ten`,
  rounds: 3,
  columns: [
    { key: 'single', title: 'MB/s', better: 'more' },
    { key: 'singleCpu', title: 'MB per CPU s', better: 'more' },
    { key: 'pipelined', title: 'MB/s by ten', better: 'more' },
    { key: 'pipelinedCpu', title: 'MB per CPU s by ten', better: 'more' },
    { key: 'otherShare', title: 'cores used by others', digits: 2 },
  ],
  contestants({ dir, quick }) {
    const run = (server: Server) => measure(server, quick ? 1 : 4)
    return [
      ours('mailactors', dir, MAILBOXES, run),
      ours('mailactors, CRLF', dir, { ...MAILBOXES, crlf: true }, run),
      ...dovecots(dir, MAILBOXES, run),
    ]
  },
}
