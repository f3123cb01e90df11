/**
 * One large mailbox: how long it is from USER to the answer of STAT, the first time and later, and how long UIDL and LIST
 * take. `later` are sessions that follow at once.
 */

import { memory } from '../harness/proc-tree.ts'
import type { Measurement, Scenario } from '../harness/scenario.ts'
import { quantiles } from '../harness/statistics.ts'
import { dovecots, type LoadResult, load, type Mailboxes, ours, type Server } from './servers.ts'

interface LoginResult extends LoadResult {
  readonly runs: readonly { readonly stepMs: Readonly<Record<string, number>> }[]
}

const LATER = 20

async function measure(server: Server): Promise<Measurement> {
  const login = async (repeat: number) =>
    (await load<LoginResult>(server, 'login', ['--repeat', `${repeat}`], 0)).runs.map(({ stepMs }) => stepMs)
  const toStat = (steps: Readonly<Record<string, number>>) =>
    (steps.login ?? Number.NaN) + (steps.stat ?? Number.NaN)
  const [first = {}] = await login(1)
  const later = await login(LATER)
  const stat = quantiles(later.map(toStat))
  const of = (step: string) => quantiles(later.map((steps) => steps[step] ?? Number.NaN))?.p50 ?? Number.NaN
  return {
    firstMs: toStat(first),
    laterP50Ms: stat?.p50 ?? Number.NaN,
    laterP99Ms: stat?.p99 ?? Number.NaN,
    uidlMs: of('uidl'),
    listMs: of('list'),
    megabytes: memory([server.pid]).pssKiB / 1024,
  }
}

const scenario = (name: string, what: string, mailboxes: Mailboxes): Scenario => ({
  name,
  summary: `a mailbox of ${mailboxes.messages} mails of ${mailboxes.size} octets, ${what}: USER to STAT, UIDL, LIST`,
  rounds: 3,
  columns: [
    { key: 'firstMs', title: 'first STAT ms', better: 'less' },
    { key: 'laterP50Ms', title: 'later, p50 ms', better: 'less', digits: 1 },
    { key: 'laterP99Ms', title: 'p99 ms', better: 'less', digits: 1 },
    { key: 'uidlMs', title: 'UIDL ms', better: 'less', digits: 1 },
    { key: 'listMs', title: 'LIST ms', better: 'less', digits: 1 },
    { key: 'megabytes', title: 'MB after', digits: 0 },
  ],
  contestants: ({ dir, quick }) => {
    const wanted = quick ? { ...mailboxes, messages: 2_000 } : mailboxes
    // Its other variants do the same for a single client.
    return [ours('mailactors', dir, wanted, measure), ...dovecots(dir, wanted, measure).slice(0, 1)]
  },
})

const MAILBOX: Mailboxes = { users: 1, messages: 100_000, size: 2_048 }

export const pop3Mailbox = scenario('pop3-mailbox', 'sizes in their names', MAILBOX)
export const pop3MailboxPlain = scenario('pop3-mailbox-plain', 'no sizes in their names', {
  ...MAILBOX,
  plain: true,
})
export const pop3Million = scenario('pop3-million', 'sizes in their names', {
  users: 1,
  messages: 1_000_000,
  size: 2_048,
  linked: true,
})
