/** Acceptance cases of group E: transaction and pipelining. No published id is left out. */
import { describe, expect, it } from 'vitest'
import { type CaseRow, runCase } from './cases.ts'
import { recipients, type Setup } from './harness.ts'
import type { Script } from './scripted-server.ts'

const two: Setup = { request: { recipients: recipients('a@d.test', 'b@d.test') } }
const pipelining: Script = { keywords: ['PIPELINING'] }
const probe: Setup = { request: { probe: true } }
const none = '550 5.1.1 no'

const rows: readonly CaseRow[] = [
  {
    id: 'E01',
    title: 'no keywords: one command at a time',
    outcome: ['sent'],
    flights: ['EHLO | MAIL | RCPT | DATA | CONTENT | QUIT'],
  },
  {
    id: 'E02',
    title: 'pipelined: the envelope in one flight, QUIT with the content',
    servers: [pipelining],
    outcome: ['sent'],
    flights: ['EHLO | MAIL RCPT DATA | CONTENT QUIT'],
  },
  {
    id: 'E05',
    title: 'all refused: DATA is never sent',
    servers: [{ answers: { RCPT: none } }],
    setup: two,
    outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
    flights: ['EHLO | MAIL | RCPT | RCPT | RSET | QUIT'],
  },
  {
    id: 'E06',
    title: 'all refused and DATA refused',
    servers: [{ ...pipelining, answers: { RCPT: none, DATA: '554 5.5.1 none' } }],
    setup: two,
    outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
    flights: ['EHLO | MAIL RCPT RCPT DATA | RSET QUIT'],
  },
  {
    id: 'E07',
    title: 'all refused and DATA accepted: nothing but the dot',
    servers: [{ ...pipelining, answers: { RCPT: none } }],
    setup: two,
    outcome: ['bounced 5.1.1', 'bounced 5.1.1'],
    flights: ['EHLO | MAIL RCPT RCPT DATA | CONTENT QUIT'],
  },
  {
    id: 'E08',
    title: 'MAIL refused',
    servers: [{ answers: { MAIL: '550 5.7.1 no' } }],
    setup: two,
    outcome: ['bounced 5.7.1', 'bounced 5.7.1'],
    flights: ['EHLO | MAIL | RSET | QUIT'],
  },
  {
    id: 'E10',
    title: 'DATA refused for now: both go to the next server',
    servers: [{ answers: { DATA: '451 4.3.0 no' } }, {}],
    setup: two,
    outcome: ['sent', 'sent'],
    flights: [
      'EHLO | MAIL | RCPT | RCPT | DATA | RSET | QUIT',
      'EHLO | MAIL | RCPT | RCPT | DATA | CONTENT | QUIT',
    ],
  },
  {
    id: 'E11',
    title: 'a refused recipient keeps its own reply',
    servers: [{ answers: { 'RCPT TO:<b': none, DATA: '451 4.3.0 no' } }],
    setup: two,
    outcome: ['deferred 4.3.0', 'bounced 5.1.1'],
  },
  {
    id: 'E12',
    title: 'DATA answered with 250',
    servers: [{ answers: { DATA: '250 hm' } }],
    outcome: ['bounced 5.5.0'],
    flights: ['EHLO | MAIL | RCPT | DATA | RSET | QUIT'],
  },
  {
    id: 'E13',
    title: 'the content refused',
    servers: [{ dot: '554 5.6.0 no' }],
    outcome: ['bounced 5.6.0'],
    flights: ['EHLO | MAIL | RCPT | DATA | CONTENT | QUIT'],
  },
  {
    id: 'E15',
    title: '552 is as hard as it says',
    servers: [{ answers: { RCPT: '552 5.2.2 full' } }],
    outcome: ['bounced 5.2.2'],
    flights: ['EHLO | MAIL | RCPT | RSET | QUIT'],
  },
  {
    id: 'E16',
    title: 'RCPT answered with 354',
    servers: [{ answers: { RCPT: '354 go' } }],
    outcome: ['bounced 5.5.0'],
    flights: ['EHLO | MAIL | RCPT | RSET | QUIT'],
  },
  {
    id: 'E17',
    title: '421 to one recipient, then the connection is lost',
    servers: [{ answers: { 'RCPT TO:<a': { close: '421 4.3.2 gone' } } }],
    setup: two,
    outcome: ['deferred 4.3.2', 'deferred 4.4.2'],
    hop: '4.4.2',
  },
  {
    id: 'E18',
    title: 'a code of another class does not count',
    servers: [{ answers: { RCPT: '550 2.1.1 x' } }],
    outcome: ['bounced 5.0.0'],
  },
  {
    id: 'E18',
    title: 'a code that is none does not count',
    servers: [{ answers: { RCPT: '550 5.1 x' } }],
    outcome: ['bounced 5.0.0'],
  },
  {
    id: 'E18',
    title: 'a code that fits',
    servers: [{ answers: { RCPT: '550 5.1.1 x' } }],
    outcome: ['bounced 5.1.1'],
  },
  {
    id: 'E20',
    title: 'garbage before the reply to the dot',
    servers: [{ ...pipelining, dot: 'hello\n250 2.0.0 ok' }],
    outcome: ['sent'],
    events: ['delivery.garbage-replies'],
  },
  {
    id: 'E21',
    title: 'a reply line of 5000 octets',
    servers: [{ answers: { RCPT: `550 5.1.1 ${'x'.repeat(5_000)}` } }],
    outcome: ['bounced 5.1.1'],
    events: ['delivery.long-replies'],
  },
  {
    id: 'E22',
    title: 'a reply of 10 000 lines',
    servers: [{ dot: `${'250-line\n'.repeat(10_000)}250 2.0.0 ok` }],
    outcome: ['sent'],
  },
  { id: 'E23', title: 'QUIT is not answered', servers: [{ answers: { QUIT: null } }], outcome: ['sent'] },
  {
    id: 'E25',
    title: 'a probe ends after RCPT',
    servers: [{ answers: { RCPT: none } }],
    setup: probe,
    outcome: ['undeliverable 5.1.1'],
    flights: ['EHLO | MAIL | RCPT | RSET | QUIT'],
  },
  {
    id: 'E25',
    title: 'a probe that is welcome',
    setup: probe,
    outcome: ['deliverable 2.0.0'],
    flights: ['EHLO | MAIL | RCPT | RSET | QUIT'],
  },
  {
    id: 'E25',
    title: 'a probe, pipelined',
    servers: [pipelining],
    setup: probe,
    outcome: ['deliverable 2.0.0'],
    absent: ['DATA'],
  },
  {
    id: 'E26',
    title: 'a probe up to DATA hangs up',
    setup: { ...probe, settings: { address_verify_target: 'data' } },
    outcome: ['deliverable 2.0.0'],
    flights: ['EHLO | MAIL | RCPT | DATA'],
    absent: ['RSET', 'QUIT'],
  },
  {
    id: 'E28',
    title: 'the null sender',
    setup: { request: { sender: '' } },
    outcome: ['sent'],
    commands: ['MAIL FROM:<>'],
  },
  {
    id: 'E30',
    title: 'a recipient that was kept is not touched by the refusal of the content',
    servers: [{ answers: { 'RCPT TO:<b': '451 4.2.0 later' }, dot: '554 5.6.0 no' }, {}],
    setup: two,
    outcome: ['bounced 5.6.0', 'sent'],
  },
]

describe('transactions', () => {
  it.each(rows.map((row) => [`${row.id} ${row.title}`, row] as const))('%s', async (_, row) => {
    await runCase(row)
  })

  it('E03 no more than 4096 octets of commands are in flight', async () => {
    const names = Array.from({ length: 150 }, (_, n) => `${`r${n}`.padEnd(51, 'x')}@d.test`)
    const { sessions } = await runCase({
      id: 'E03',
      title: '',
      servers: [pipelining],
      setup: { request: { recipients: recipients(...names) } },
      outcome: names.map(() => 'sent'),
    })
    const lines = sessions[0]!.commands.map((line) => line.length + 2)
    let at = 1
    const flights = sessions[0]!.flights.slice(1, -1).map((flight) => {
      const count = flight.split(' ').length
      at += count
      return lines.slice(at - count, at).reduce((sum, length) => sum + length, 0)
    })
    expect(flights.length).toBeGreaterThan(2)
    for (const octets of flights) expect(octets).toBeLessThanOrEqual(4_096)
  })

  it('E22 what is kept of a reply is bounded', async () => {
    const row = rows.find(({ id }) => id === 'E22')!
    const { report } = await runCase(row)
    expect(report.results[0]!.reply.length).toBeLessThanOrEqual(2_048)
  })

  it('E23 the reply to QUIT is waited for on request', async () => {
    await runCase({
      id: 'E23',
      title: '',
      setup: { settings: { skip_quit_response: false } },
      outcome: ['sent'],
      flights: ['EHLO | MAIL | RCPT | DATA | CONTENT | QUIT'],
    })
  })

  it('E27 commands do not wait for a lookup that takes its time', async () => {
    let clock = 0
    const { sessions } = await runCase({
      id: 'E27',
      title: '',
      servers: [pipelining],
      setup: {
        ...two,
        settings: { generic_maps: ['static:x'] },
        environment: {
          monotonic: () => clock,
          maps: (sources) => slowMaps(sources.length > 0, () => (clock += 2_500)),
        },
      },
      outcome: ['sent', 'sent'],
    })
    expect(sessions[0]!.flights).toEqual(['EHLO', 'MAIL RCPT', 'RCPT DATA', 'CONTENT QUIT'])
  })
})

/** Tables that know nothing and take their time to say so. */
function slowMaps(isThere: boolean, wait: () => void): never {
  const lookup = () => {
    wait()
    return { kind: 'none' }
  }
  return { isEmpty: !isThere, lookup } as never
}
