/**
 * Acceptance cases of group K as far as they are the delivery's: what it reports, from which the queue writes log and
 * notices. Elsewhere: K01 and K02 (how times are written) test/queue/arithmetic.test.ts; K07 (a crash before the result is
 * written) test/queue/durability.test.ts. K09 cannot happen here: a success and its notice are written in one
 * transaction, so what fails is the whole of it, and the mail is due again.
 */
import { describe, expect, it } from 'vitest'
import { deliveryDelays, formatDelay } from '../../../../src/queue/delays.ts'
import { runCase } from './cases.ts'
import { recipients, type Setup } from './harness.ts'

const many: Setup = { request: { recipients: recipients('a@d.test', 'b@d.test', 'c@d.test') } }
const protocol = { notifyClasses: ['protocol'] }

describe('times', () => {
  it('K01 delay and delays of a delivery', () => {
    const stamps = { arrivedAt: 1_000, activeAt: 1_500, startedAt: 1_750, setupAt: 2_000, doneAt: 2_250 }
    expect(deliveryDelays(stamps)).toEqual({ delay: 1.3, delays: '0.5/0.25/0.25/0.25' })
  })

  it('K02 two digits, whole seconds from ten on', () => {
    expect([4, 123, 9_960, 12_300].map((ms) => formatDelay(ms, 2))).toEqual(['0', '0.12', '10', '12'])
  })

  it('K04 a failed lookup: no relay, and the time is that of the set-up', async () => {
    let clock = 1_000
    const { report } = await runCase({
      id: 'K04',
      title: '',
      setup: { request: { nexthop: 'nowhere.test' }, environment: { now: () => (clock += 100) } },
      outcome: ['bounced 5.4.4'],
    })
    expect(report.results[0]!.relay).toBe('none')
    expect(report.setupAt).toBeGreaterThan(report.startedAt)
    const stamps = { arrivedAt: 1_000, activeAt: 1_000, ...report, doneAt: report.setupAt }
    expect(deliveryDelays(stamps).delays).toMatch(/^0\/0\.\d+\/0\.\d+\/0$/)
  })

  it('K05 recipients of one reply share their times', async () => {
    const { report } = await runCase({ id: 'K05', title: '', setup: many, outcome: ['sent', 'sent', 'sent'] })
    expect(report.results.map(({ times }) => times)).toEqual([undefined, undefined, undefined])
  })

  it('recipients of an earlier session have its times', async () => {
    let clock = 1_000
    const { report } = await runCase({
      id: 'LOG-3',
      title: '',
      servers: [{ answers: { 'RCPT TO:<b': '450 4.2.1 later' } }, {}],
      setup: { ...many, environment: { now: () => (clock += 10) } },
      outcome: ['sent', 'sent', 'sent'],
    })
    const [first, second] = [
      report.results.find(({ id }) => id === 1)!,
      report.results.find(({ id }) => id === 2)!,
    ]
    expect(second.times).toBe(undefined)
    expect(first.times!.setupAt).toBeLessThan(report.setupAt)
    expect(first.times!.doneAt).toBeLessThan(report.setupAt)
  })
})

describe('log', () => {
  it('K06 one line for a server that was skipped, then the mail is sent', async () => {
    const { log } = await runCase({
      id: 'K06',
      title: '',
      servers: [{ answers: { MAIL: '450 4.7.1 later' } }, {}],
      setup: many,
      outcome: ['sent', 'sent', 'sent'],
    })
    const skipped = log.filter(({ event }) => event === 'delivery.skipped')
    expect(skipped.map(({ facts }) => facts)).toEqual([
      expect.objectContaining({ queueId: 'q1', reason: '450 4.7.1 later' }),
    ])
  })

  it('a hard refusal is no skipped server', async () => {
    const { log } = await runCase({
      id: 'K06',
      title: '',
      servers: [{ answers: { RCPT: '550 5.1.1 no' } }, {}],
      outcome: ['bounced 5.1.1'],
    })
    expect(log.map(({ event }) => event)).not.toContain('delivery.skipped')
  })
})

describe('transcripts for the postmaster', () => {
  const refused = {
    id: 'K10',
    title: '',
    servers: [{ answers: { RCPT: '500 5.5.1 what' } }],
    outcome: ['bounced 5.5.1'],
  }

  it('K10 of the class protocol', async () => {
    const { report } = await runCase({ ...refused, setup: { environment: protocol } })
    expect(report.transcripts).toHaveLength(1)
    expect(report.transcripts![0]!.lines).toEqual([
      'In:  220 mx.test ESMTP',
      'Out: EHLO client.test',
      'In:  250 mx.test',
      'Out: MAIL FROM:<s@client.test>',
      'In:  250 2.0.0 ok',
      'Out: RCPT TO:<a@d.test>',
      'In:  500 5.5.1 what',
    ])
  })

  it('K10 garbage is of the class protocol too', async () => {
    const { report } = await runCase({
      id: 'K10',
      title: '',
      servers: [{ dot: 'hello\n250 ok' }],
      setup: { environment: protocol },
      outcome: ['sent'],
    })
    expect(report.transcripts![0]!.lines).toContain('In:  hello')
  })

  it('K10 a table that cannot be asked is of the class data', async () => {
    const setup = { settings: { generic_maps: ['fail:x'] }, environment: { notifyClasses: ['data'] } }
    const { report } = await runCase({
      id: 'K10',
      title: '',
      setup,
      outcome: ['deferred 4.3.0'],
      hop: '4.3.0',
    })
    expect(report.transcripts).toHaveLength(1)
  })

  it.each([
    ['K11 none about mail of the null sender', { request: { sender: '' }, environment: protocol }],
    [
      'K11 nor of our own notices',
      { request: { sender: 'double-bounce@client.test' }, environment: protocol },
    ],
    ['K12 none by default', {}],
  ] satisfies [string, Setup][])('%s', async (_, setup) => {
    const { report } = await runCase({ ...refused, setup })
    expect(report.transcripts).toBe(undefined)
  })

  it('a flood is kept in part', async () => {
    const flood = 'garbage '.repeat(200)
    const dot = `${`${flood}\n`.repeat(500)}250 ok`
    const { report } = await runCase({
      id: 'K10',
      title: '',
      servers: [{ dot }],
      setup: { environment: protocol },
      outcome: ['sent'],
    })
    expect(report.transcripts![0]!.lines.join('').length).toBeLessThan(60_000)
  })
})

describe('delivery status filter', () => {
  const filtered = (table: Record<string, string>): Setup => ({ environment: { statusFilter: [table] } })

  it('RES-11 a failure becomes temporary, or final', async () => {
    const hard = [{ answers: { RCPT: '550 5.1.1 no' } }]
    const soft = [{ answers: { RCPT: '450 4.1.1 no' } }]
    const toSoft = filtered({ '5.1.1 550 5.1.1 no': '4.1.1 not yet' })
    const { report } = await runCase({
      id: 'RES-11',
      title: '',
      servers: hard,
      setup: toSoft,
      outcome: ['deferred 4.1.1'],
    })
    expect(report.results[0]!.reply).toBe('not yet')
    const toHard = filtered({ '4.1.1 450 4.1.1 no': '5.1.1' })
    await runCase({ id: 'RES-11', title: '', servers: soft, setup: toHard, outcome: ['bounced 5.1.1'] })
  })

  it('K14 a success stays one', async () => {
    const setup = filtered({ '2.0.0 250 2.0.0 ok': '4.0.0 no' })
    await runCase({ id: 'K14', title: '', setup, outcome: ['sent'], events: ['delivery.filter-odd'] })
  })
})

describe('results', () => {
  it('RES-4 soft_bounce: a hard failure waits, and shows', async () => {
    const servers = [{ answers: { RCPT: '550 5.1.1 no' } }]
    const { report } = await runCase({
      id: 'RES-4',
      title: '',
      servers,
      setup: { environment: { softBounce: true } },
      outcome: ['deferred 4.1.1'],
    })
    expect(report.results[0]).toMatchObject({ softBounced: true })
  })

  it('K15 no DSN at the server: the duty of a notice stays here', async () => {
    const wants = { request: { recipients: [{ id: 1, address: 'a@d.test', notify: ['SUCCESS'] as const }] } }
    const { report } = await runCase({ id: 'K15', title: '', setup: wants, outcome: ['sent'] })
    expect(report.results[0]).not.toHaveProperty('dsnRelayed')
    expect(report.results[0]).not.toHaveProperty('isFinal')
  })

  it('K16 a success is 2.0.0 whatever its enhanced code', async () => {
    const { report } = await runCase({
      id: 'K16',
      title: '',
      servers: [{ dot: '250 5.0.0 ok' }],
      outcome: ['sent'],
    })
    expect(report.results[0]!.dsn).toBe('2.0.0')
  })

  it('K17 QUIT fails after success: one result', async () => {
    const { report } = await runCase({
      id: 'K17',
      title: '',
      servers: [{ answers: { QUIT: { close: '' } } }],
      outcome: ['sent'],
    })
    expect(report.results).toHaveLength(1)
  })
})
