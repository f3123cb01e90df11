/** Which servers are tried, in which order, and what is concluded: several scripted servers behind one next hop. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { deliver, type LogLine, outcome, recipients, type Setup, type Zone } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

/** Servers at 127.0.0.1, 127.0.0.2 … on one port; null: nothing listens there. */
class Farm {
  readonly servers: (ScriptedServer | undefined)[] = []
  port = 0

  static async start(scripts: readonly (Script | null)[]): Promise<Farm> {
    const farm = new Farm()
    for (let attempt = 0; attempt < 20; attempt++) {
      try {
        await farm.#listen(scripts)
        return farm
      } catch (error) {
        // The port is free at one address and taken at another: again with another port.
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
        await farm[Symbol.asyncDispose]()
      }
    }
    throw new Error('no port is free on all addresses')
  }

  async #listen(scripts: readonly (Script | null)[]): Promise<void> {
    this.servers.length = 0
    // The port is reserved by a server of its own, so that it is known even when the first is to be missing.
    const anchor = new ScriptedServer([{}])
    await anchor.listen({ host: '127.0.0.99', port: 0 })
    this.port = anchor.port
    this.servers.push(anchor)
    for (const [index, script] of scripts.entries()) {
      if (script === null) {
        this.servers.push(undefined)
        continue
      }
      const server = new ScriptedServer([script])
      await server.listen({ host: `127.0.0.${index + 1}`, port: this.port })
      this.servers.push(server)
    }
  }

  /** The n-th server, from 1. */
  at(n: number): ScriptedServer {
    return this.servers[n]!
  }

  /** Sessions per server. */
  get visits(): number[] {
    return this.servers.slice(1).map((server) => server?.sessions.length ?? 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.servers.map((server) => server?.[Symbol.asyncDispose]()))
  }
}

/** `d.test` with exchangers m1, m2 … at preferences 10, 20 … */
function zoneOf(count: number, equal = false): Zone {
  const zone: Record<string, Zone[string]> = {}
  const mx: [number, string][] = []
  for (let n = 1; n <= count; n++) {
    mx.push([equal ? 10 : n * 10, `m${n}.test`])
    zone[`m${n}.test`] = { a: [`127.0.0.${n}`] }
  }
  return { ...zone, 'd.test': { mx } }
}

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
      name: 'C03 two sessions at most',
      scripts: [1, 2, 3, 4].map((n) => ({ answers: { RCPT: `450 4.2.${n} later` } })),
      outcome: ['deferred 4.2.2'],
      visits: [1, 1, 0, 0],
    },
    {
      name: 'C04 servers that turn us away do not count as sessions',
      scripts: [{ greeting: '421 no' }, { greeting: '421 no' }, { greeting: '421 no' }, {}],
      outcome: ['sent'],
      visits: [1, 1, 1, 1],
    },
    {
      name: 'C05 the address limit counts everything',
      scripts: [null, { answers: { RCPT: '450 4.2.1 later' } }, {}],
      setup: { settings: { mx_address_limit: 2 } },
      outcome: ['deferred 4.2.1'],
      visits: [0, 1, 0],
    },
    {
      name: 'C08 a recipient that must wait is offered to the next server alone',
      scripts: [{ answers: { 'RCPT TO:<b': '451 4.2.0 later' } }, {}],
      setup: two,
      outcome: ['sent', 'sent'],
      visits: [1, 1],
    },
    {
      name: 'C09 a single server is the last one',
      scripts: [{ answers: { RCPT: '451 4.2.0 later' } }],
      outcome: ['deferred 4.2.0'],
      visits: [1],
    },
    {
      name: 'C18 soft_bounce: a hard refusal is tried elsewhere',
      scripts: [{ answers: { RCPT: '550 5.1.1 no' } }, {}],
      setup: { environment: { softBounce: true } },
      outcome: ['sent'],
      visits: [1, 1],
    },
    {
      name: 'C19 soft_bounce: a hard refusal of the last server defers',
      scripts: [{ answers: { RCPT: '550 5.1.1 no' } }],
      setup: { environment: { softBounce: true } },
      outcome: ['deferred 4.1.1'],
      visits: [1],
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

  test('C01 five addresses at most', async () => {
    await using farm = await Farm.start([null, null, null, null, null, {}, {}])
    const log: LogLine[] = []
    const report = await deliver({ log, zone: zoneOf(7, true), request: { nexthop: `d.test:${farm.port}` } })
    expect(outcome(report)).toEqual(['deferred 4.4.1'])
    expect(log.filter(({ event }) => event === 'delivery.connect-failed')).toHaveLength(5)
    expect(report.hopStatus?.dsn).toBe('4.4.1')
    expect(report.results[0]!.relay).toBe('none')
  })

  test('C06 the limits start again with each next hop', async () => {
    const later = { answers: { RCPT: '450 4.2.1 later' } }
    await using farm = await Farm.start([later, later, {}])
    const zone: Zone = {
      ...zoneOf(3),
      'x.test': {
        mx: [
          [10, 'm1.test'],
          [20, 'm2.test'],
        ],
      },
      'd.test': { mx: [[10, 'm3.test']] },
    }
    const report = await deliver({ zone, request: { nexthop: `x.test:${farm.port}, d.test:${farm.port}` } })
    expect(outcome(report)).toEqual(['sent'])
    expect(farm.visits).toEqual([1, 1, 1])
  })

  test('A10 A11 the next member of a list follows a refused server and a name that does not exist', async () => {
    await using farm = await Farm.start([null, {}])
    const zone: Zone = {
      ...zoneOf(2),
      'x.test': { mx: [[10, 'm1.test']] },
      'd.test': { mx: [[10, 'm2.test']] },
    }
    const { port } = farm
    const report = await deliver({
      zone,
      request: { nexthop: `x.test:${port} gone.test:${port} d.test:${port}` },
    })
    expect(outcome(report)).toEqual(['sent'])
  })

  test('C10 a fallback relay takes over after a failed lookup', async () => {
    await using farm = await Farm.start([{}])
    const report = await deliver({
      settings: { fallback_relay: [`[127.0.0.1]:${farm.port}`] },
      request: { nexthop: 'gone.test' },
    })
    expect(outcome(report)).toEqual(['sent'])
  })

  test('C11 a fallback relay gets those who must wait, not those who were refused', async () => {
    await using farm = await Farm.start([
      { answers: { 'RCPT TO:<a': '550 5.1.1 no', 'RCPT TO:<b': '450 4.2.1 later' } },
      {},
    ])
    const report = await deliver({
      zone: zoneOf(1),
      settings: { fallback_relay: [`[127.0.0.2]:${farm.port}`] },
      request: { ...two.request, nexthop: `d.test:${farm.port}` },
    })
    expect(outcome(report)).toEqual(['bounced 5.1.1', 'sent'])
    expect(farm.at(2).commands).toContain('RCPT TO:<b@d.test>')
    expect(farm.at(2).commands).not.toContain('RCPT TO:<a@d.test>')
  })

  test('C13 a relayhost that does not exist is our mistake', async () => {
    const report = await deliver({ settings: { relayhost: '[r.test]' }, request: { nexthop: '[r.test]' } })
    expect(outcome(report)).toEqual(['deferred 4.3.5'])
  })

  test('C14 another next hop that does not exist is not', async () => {
    const report = await deliver({ request: { nexthop: '[r.test]' } })
    expect(outcome(report)).toEqual(['bounced 5.4.4'])
  })

  test('C16 a bind address that is not ours', async () => {
    await using farm = await Farm.start([{}])
    const request = { nexthop: `[127.0.0.1]:${farm.port}` }
    const lenient = await deliver({ settings: { bind_address: '198.51.100.77' }, request })
    expect(outcome(lenient)).toEqual(['sent'])
    const strict = await deliver({
      settings: { bind_address: '198.51.100.77', bind_address_enforce: true },
      request,
    })
    expect(outcome(strict)).toEqual(['deferred 4.4.0'])
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
