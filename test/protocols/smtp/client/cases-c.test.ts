/** Limits, next servers, fallback: acceptance cases C. All that are published are here. */
import { describe, expect, test } from 'vitest'
import { Farm, zoneOf } from './farm.ts'
import { deliver, type LogLine, outcome, recipients, type Setup, type Zone } from './harness.ts'
import type { Script } from './scripted-server.ts'

const later: Script = { answers: { RCPT: '450 4.2.1 later' } }
const two = { request: { recipients: recipients('a@d.test', 'b@d.test') } }

interface Case {
  readonly name: string
  readonly scripts: readonly (Script | null)[]
  readonly setup?: Setup
  readonly equal?: boolean
  readonly outcome: readonly string[]
  readonly visits: readonly number[]
  readonly hop?: string
}

describe('limits and next servers', () => {
  test.each<Case>([
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
      scripts: [null, later, {}],
      setup: { settings: { mx_address_limit: 2 } },
      outcome: ['deferred 4.2.1'],
      visits: [0, 1, 0],
    },
    {
      name: 'C09 a single server is the last one',
      scripts: [{ answers: { RCPT: '451 4.2.0 later' } }],
      outcome: ['deferred 4.2.0'],
      visits: [1],
    },
    {
      name: 'C18 soft bounce: a hard refusal is tried elsewhere',
      scripts: [{ answers: { RCPT: '550 5.1.1 no' } }, {}],
      setup: { environment: { softBounce: true } },
      outcome: ['sent'],
      visits: [1, 1],
    },
    {
      name: 'C19 soft bounce: a hard refusal of the last server defers',
      scripts: [{ answers: { RCPT: '550 5.1.1 no' } }],
      setup: { environment: { softBounce: true } },
      outcome: ['deferred 4.1.1'],
      visits: [1],
    },
    {
      name: 'no limits: every server is tried',
      scripts: [later, later, later, later, later, later, {}],
      setup: { settings: { mx_address_limit: 0, mx_session_limit: 0 } },
      equal: true,
      outcome: ['sent'],
      visits: [1, 1, 1, 1, 1, 1, 1],
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

  test('C08 a recipient that must wait is offered to the next server alone', async () => {
    await using farm = await Farm.start([{ answers: { 'RCPT TO:<b': '451 4.2.0 later' } }, {}])
    const report = await deliver({
      zone: zoneOf(2),
      request: { ...two.request, nexthop: `d.test:${farm.port}` },
    })
    expect(outcome(report)).toEqual(['sent', 'sent'])
    const recipientsAt = (n: number) => farm.at(n).commands.filter((command) => command.startsWith('RCPT'))
    expect(recipientsAt(1)).toEqual(['RCPT TO:<a@d.test>', 'RCPT TO:<b@d.test>'])
    expect(recipientsAt(2)).toEqual(['RCPT TO:<b@d.test>'])
    expect(farm.at(1).commands).toContain('DATA')
  })
})

describe('fallback relays and safety nets', () => {
  test('C10 a fallback relay takes over after a failed lookup', async () => {
    await using farm = await Farm.start([{}])
    const report = await deliver({
      settings: { fallback_relay: [`[127.0.0.1]:${farm.port}`] },
      request: { nexthop: 'gone.test' },
    })
    expect(outcome(report)).toEqual(['sent'])
  })

  test('C11 it gets those who must wait, not those who were refused', async () => {
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

  test('C15 what the relayhost refuses is refused', async () => {
    await using farm = await Farm.start([{ answers: { RCPT: '550 5.1.1 no' } }])
    const nexthop = `[127.0.0.1]:${farm.port}`
    const report = await deliver({ settings: { relayhost: nexthop }, request: { nexthop } })
    expect(outcome(report)).toEqual(['bounced 5.1.1'])
  })

  test('a fallback relay that does not exist is our mistake too', async () => {
    const log: LogLine[] = []
    const report = await deliver({
      log,
      settings: { fallback_relay: ['[fb.test]'] },
      request: { nexthop: 'gone.test' },
    })
    expect(outcome(report)).toEqual(['deferred 4.3.5'])
    expect(log.map(({ event }) => event)).toContain('delivery.relay-unusable')
  })

  test('C16 a bind address that is not ours', async () => {
    await using farm = await Farm.start([{}])
    const request = { nexthop: `[127.0.0.1]:${farm.port}` }
    const log: LogLine[] = []
    const lenient = await deliver({ log, settings: { bind_address: '198.51.100.77' }, request })
    expect(outcome(lenient)).toEqual(['sent'])
    expect(log.map(({ event }) => event)).toContain('delivery.bind-failed')
    const settings = { bind_address: '198.51.100.77', bind_address_enforce: true }
    expect(outcome(await deliver({ settings, request }))).toEqual(['deferred 4.4.0'])
  })
})
