/** Which servers are tried, in which order, and what is concluded: several scripted servers behind one next hop. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Farm, zoneOf } from './farm.ts'
import { deliver, type LogLine, outcome, recipients, type Setup } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

interface Case {
  readonly name: string
  readonly scripts: readonly (Script | null)[]
  readonly setup?: Setup
  readonly equal?: boolean
  readonly outcome: readonly string[]
  readonly visits: readonly number[]
  readonly hop?: string
}

const two = { request: { recipients: recipients('a@d.test', 'b@d.test') } }

describe('next servers', () => {
  test.each<Case>([
    {
      name: 'A11-like: the first server takes it',
      scripts: [{}, {}],
      outcome: ['sent'],
      visits: [1, 0],
    },
    {
      name: 'a hard refusal is final: no hopping on 5xx',
      scripts: [{ answers: { RCPT: '550 5.1.1 no' } }, {}],
      outcome: ['bounced 5.1.1'],
      visits: [1, 0],
    },
    {
      name: 'D01 5xx greeting',
      scripts: [{ greeting: '554 5.7.1 no' }, {}],
      outcome: ['sent'],
      visits: [1, 1],
    },
    {
      name: 'D02 5xx greeting of the only server',
      scripts: [{ greeting: '554 5.7.1 no' }],
      outcome: ['deferred 4.7.1'],
      visits: [1],
      hop: '4.7.1',
    },
    {
      name: 'G16 5xx greeting, not skipped',
      scripts: [{ greeting: '554 5.7.1 no' }, {}],
      setup: { settings: { skip_5xx_greeting: false } },
      outcome: ['bounced 5.7.1'],
      visits: [1, 0],
    },
    {
      name: 'D04 4xx greeting of the only server',
      scripts: [{ greeting: '450 4.3.2 busy' }],
      outcome: ['deferred 4.3.2'],
      visits: [1],
      hop: '4.3.2',
    },
    { name: 'D05 3xx greeting', scripts: [{ greeting: '354 hm' }], outcome: ['bounced 5.5.0'], visits: [1] },
    {
      name: 'D14 421 to EHLO is about the server',
      scripts: [{ answers: { EHLO: '421 later' } }, {}],
      outcome: ['sent'],
      visits: [1, 1],
    },
    {
      name: 'D24 a server without SMTPUTF8 is passed over',
      scripts: [{}, { keywords: ['SMTPUTF8'] }],
      setup: { request: { smtputf8: true, recipients: recipients('ä@d.test') } },
      outcome: ['sent'],
      visits: [1, 1],
    },
    {
      name: 'E10 DATA fails for now: all are offered to the next server',
      scripts: [{ answers: { DATA: '451 4.3.0 later' } }, {}],
      setup: two,
      outcome: ['sent', 'sent'],
      visits: [1, 1],
    },
    {
      name: 'E30 a recipient kept before the content was refused goes on alone',
      scripts: [{ answers: { 'RCPT TO:<b': '451 4.2.1 later' }, dot: '554 5.6.0 no' }, {}],
      setup: two,
      outcome: ['bounced 5.6.0', 'sent'],
      visits: [1, 1],
    },
    {
      name: 'G03 a server that hangs up before its greeting',
      scripts: [{ greeting: null, answers: {} }, {}],
      setup: { settings: { helo_timeout: 50 } },
      outcome: ['sent'],
      visits: [1, 1],
    },
    {
      name: 'G13 a session came to its end: no blame on the site',
      scripts: [{ answers: { RCPT: '450 4.2.1 later' } }, null],
      outcome: ['deferred 4.4.1'],
      visits: [1, 0],
    },
    {
      name: 'G14 refused, then turned away: blame',
      scripts: [null, { greeting: '421 4.3.2 no' }],
      outcome: ['deferred 4.3.2'],
      visits: [0, 1],
      hop: '4.3.2',
    },
    {
      name: 'G15 one was sent, the rest lost: no blame',
      scripts: [{ answers: { 'RCPT TO:<b': '450 4.2.1 later' } }, { answers: { EHLO: { close: '' } } }],
      setup: two,
      outcome: ['sent', 'deferred 4.4.2'],
      visits: [1, 1],
    },
  ])('$name', async ({ scripts, setup = {}, equal, outcome: wanted, visits, hop }) => {
    await using farm = await Farm.start(scripts)
    const report = await deliver({
      zone: zoneOf(scripts.length, equal),
      ...setup,
      request: { nexthop: `d.test:${farm.port}`, ...setup.request },
    })
    expect(outcome(report)).toEqual(wanted)
    expect(farm.visits).toEqual(visits)
    expect(report.hopStatus?.dsn).toBe(hop)
    expect(report.results).toHaveLength(setup.request?.recipients?.length ?? 1)
  })

  test('K06 a skip is logged with the queue id, then the mail is sent', async () => {
    const log: LogLine[] = []
    await using farm = await Farm.start([{ answers: { RCPT: '450 4.2.1 later' } }, {}])
    await deliver({ log, zone: zoneOf(2), request: { nexthop: `d.test:${farm.port}` } })
    const skips = log.filter(({ event }) => event === 'delivery.skipped')
    expect(skips).toHaveLength(1)
    expect(skips[0]!.facts.queueId).toBe('q1')
  })

  test.each([
    ['A12 unix sockets are not for SMTP', 'smtp', 'unix:/run/s'],
    ['A16 a socket path that is too long', 'lmtp', `unix:/${'x'.repeat(200)}`],
    ['an empty next hop', 'smtp', ' , '],
    ['a port that is none', 'smtp', 'd.test:99999'],
  ])('%s: 4.3.5', async (_, transport, nexthop) => {
    const report = await deliver({ request: { transport, nexthop } })
    expect(outcome(report)).toEqual(['deferred 4.3.5'])
    expect(report.hopStatus?.dsn).toBe('4.3.5')
  })
})

describe('greeting and EHLO', () => {
  const greet = async (script: Script, setup: Setup = {}) => {
    await using farm = await Farm.start([script])
    const report = await deliver({
      ...setup,
      request: { nexthop: `[127.0.0.1]:${farm.port}`, ...setup.request },
    })
    const session = farm.at(1).sessions[0]!
    await farm.at(1).until(() => session.closed || session.commands.includes('QUIT'))
    return { outcome: outcome(report), flights: session.flights.join(' | '), commands: session.commands }
  }
  const plain = 'MAIL | RCPT | DATA | CONTENT | QUIT'

  test.each<[string, Script, Setup, string, string]>([
    ['D06 a masked greeting', { greeting: '220 ****2***0**' }, {}, 'sent', `HELO | ${plain}`],
    [
      'D09',
      { greeting: '220 mx SMTP' },
      { settings: { always_send_ehlo: false } },
      'sent',
      `HELO | ${plain}`,
    ],
    [
      'D10',
      { greeting: '220 mx ESMTP x' },
      { settings: { always_send_ehlo: false } },
      'sent',
      `EHLO | ${plain}`,
    ],
    ['D11', {}, { settings: { never_send_ehlo: true } }, 'sent', `HELO | ${plain}`],
    ['D12', { answers: { EHLO: '502 what' } }, {}, 'sent', `EHLO | HELO | ${plain}`],
    [
      'D15',
      { answers: { EHLO: '502 what', HELO: '550 5.7.1 no' } },
      {},
      'bounced 5.7.1',
      'EHLO | HELO | QUIT',
    ],
    ['a greeting of several lines', { greeting: '220-mx\n220 ESMTP' }, {}, 'sent', `EHLO | ${plain}`],
    ['garbage before the greeting', { greeting: 'hi\n220 mx ESMTP' }, {}, 'sent', `EHLO | ${plain}`],
  ])('%s', async (_, script, setup, wanted, flights) => {
    const seen = await greet(script, setup)
    expect(seen.outcome).toEqual([wanted])
    expect(seen.flights).toBe(flights)
  })

  test('D07 behind a PIX an old mail waits before its final dot', async () => {
    const settings = { pix_workaround_delay_time: 30, pix_workaround_threshold_time: 0 }
    const seen = await greet({ greeting: '220 ****' }, { settings })
    expect(seen.outcome).toEqual(['sent'])
    expect(seen.commands).toContain('CONTENT')
  })
})

describe('LMTP', () => {
  test('F01 one reply for each accepted recipient, in the order of acceptance', async () => {
    await using server = await ScriptedServer.start({
      keywords: ['PIPELINING'],
      answers: { 'RCPT TO:<b': '550 5.1.1 no' },
      dot: ['250 2.0.0 ok', '452 4.2.2 full'],
    })
    const report = await deliver({
      request: {
        transport: 'lmtp',
        nexthop: `inet:[127.0.0.1]:${server.port}`,
        recipients: recipients('a@d.test', 'b@d.test', 'c@d.test'),
      },
    })
    expect(outcome(report)).toEqual(['sent', 'bounced 5.1.1', 'deferred 4.2.2'])
    expect(server.sessions[0]!.flights.join(' | ')).toBe('LHLO | MAIL RCPT RCPT RCPT DATA | CONTENT QUIT')
  })

  test('F02 the connection is lost between two of the replies', async () => {
    await using server = await ScriptedServer.start({ dot: ['250 ok', { close: '' }] })
    const report = await deliver({
      request: {
        transport: 'lmtp',
        nexthop: `[127.0.0.1]:${server.port}`,
        recipients: recipients('a@d.test', 'c@d.test'),
      },
    })
    expect(outcome(report)).toEqual(['sent', 'deferred 4.4.2'])
  })

  test('F03 all refused', async () => {
    await using server = await ScriptedServer.start({ answers: { RCPT: '550 5.1.1 no' } })
    const report = await deliver({
      request: { ...two.request, transport: 'lmtp', nexthop: `[127.0.0.1]:${server.port}` },
    })
    expect(outcome(report)).toEqual(['bounced 5.1.1', 'bounced 5.1.1'])
    await server.until(() => server.commands.includes('QUIT'))
    expect(server.sessions[0]!.flights.join(' | ')).toBe('LHLO | MAIL | RCPT | RCPT | RSET | QUIT')
  })

  test('all refused but DATA accepted: an empty mail without a reply', async () => {
    await using server = await ScriptedServer.start({
      keywords: ['PIPELINING'],
      answers: { RCPT: '550 5.1.1 no' },
    })
    const report = await deliver({
      request: { ...two.request, transport: 'lmtp', nexthop: `[127.0.0.1]:${server.port}` },
    })
    expect(outcome(report)).toEqual(['bounced 5.1.1', 'bounced 5.1.1'])
  })

  test('D29 LHLO refused: there is no HELO to fall back to', async () => {
    await using server = await ScriptedServer.start({ answers: { LHLO: '500 no' } })
    const report = await deliver({ request: { transport: 'lmtp', nexthop: `[127.0.0.1]:${server.port}` } })
    expect(outcome(report)).toEqual(['bounced 5.0.0'])
    await server.until(() => server.commands.includes('QUIT'))
    expect(server.commands).toEqual(['LHLO client.test', 'QUIT'])
  })

  test('a unix socket; A17 one that is not there, whose fallback relay is ignored', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'mailactors-lmtp-'))
    try {
      const path = join(dir, 'l')
      await using server = await ScriptedServer.startAt(path, {})
      const report = await deliver({ request: { transport: 'lmtp', nexthop: `unix:${path}` } })
      expect(outcome(report)).toEqual(['sent'])
      expect(report.results[0]!.relay).toBe(`client.test[${path}]`)
      const log: LogLine[] = []
      const absent = await deliver({
        log,
        settings: { fallback_relay: ['[127.0.0.1]:1'] },
        request: { transport: 'lmtp', nexthop: `unix:${path}x` },
      })
      expect(outcome(absent)).toEqual(['deferred 4.4.1'])
      expect(log.map(({ event }) => event)).toContain('delivery.fallback-ignored')
      expect(server.sessions).toHaveLength(1)
    } finally {
      await rm(dir, { recursive: true })
    }
  })
})
