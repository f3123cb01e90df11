/**
 * What a large mailbox costs in memory: the whole server before, then what it has more: with a session that has opened the
 * mailbox, after LIST and UIDL, with a second session and with ten, a little later, and when all are gone for some time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { memory } from '../harness/proc-tree.ts'
import type { Measurement, Scenario } from '../harness/scenario.ts'
import { Pop3Connection } from '../peers/pop3-connection.ts'
import { dovecots, ours, type Server } from './servers.ts'

const SESSIONS = 10
const LATER_MS = 4_000
/** Longer than `mailbox.idle_close` here, and than a thread waits before it gives memory back. */
const CLOSED_MS = 30_000

async function measure({ port, pid }: Server): Promise<Measurement> {
  const megabytes = (): number => memory([pid]).pssKiB / 1024
  const before = megabytes()
  const more = (): number => megabytes() - before
  const buffer = Buffer.allocUnsafe(1 << 20)
  const sessions: Pop3Connection[] = []
  const open = async (): Promise<Pop3Connection> => {
    const session = new Pop3Connection({ host: '127.0.0.1', port }, buffer)
    sessions.push(session)
    await session.login('u0', 'secret')
    await session.single('STAT')
    return session
  }
  const first = await open()
  const opened = more()
  await sleep(LATER_MS)
  const settled = more()
  await first.multi('LIST')
  const listed = more()
  await first.multi('UIDL')
  const told = more()
  await open()
  const second = more()
  while (sessions.length < SESSIONS) await open()
  const ten = more()
  await sleep(LATER_MS)
  const later = more()
  for (const session of sessions) await session.single('QUIT')
  for (const session of sessions) session.end()
  await sleep(CLOSED_MS)
  return { before, opened, settled, listed, told, second, ten, later, closed: more() }
}

const scenario = (name: string, messages: number): Scenario => ({
  name,
  summary: `MB for a mailbox of ${messages} mails that was never opened before`,
  rounds: 1,
  columns: [
    { key: 'before', title: 'before', digits: 0 },
    ...['opened', 'settled', 'listed', 'told', 'second', 'ten', 'later', 'closed'].map((key) => ({
      key,
      title: titles[key]!,
      better: 'less' as const,
      digits: 1,
    })),
  ],
  contestants({ dir, quick }) {
    const mailboxes = { users: 1, messages: quick ? 5_000 : messages, size: 2_048, linked: true }
    return [
      ours('mailactors', dir, mailboxes, measure, '[mailbox]\nidle_close = "5s"\n'),
      ...dovecots(dir, mailboxes, measure).slice(0, 1),
    ]
  },
})

const titles: Readonly<Record<string, string>> = {
  opened: '+ opened',
  settled: '4 s later',
  listed: 'after LIST',
  told: 'UIDL',
  second: '+ a 2nd session',
  ten: '+ ten',
  later: '4 s later',
  closed: 'all gone',
}

export const pop3Memory = scenario('pop3-memory', 100_000)
export const pop3MemoryMillion = scenario('pop3-memory-million', 1_000_000)
