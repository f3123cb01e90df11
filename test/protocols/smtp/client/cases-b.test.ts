/** Address lookup: acceptance cases B, with a name server that is asked for real. All that are published are here. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaults } from '../../../../src/config/schema.ts'
import { dnsSettings } from '../../../../src/dns/config.ts'
import { createResolver, type Family } from '../../../../src/dns/resolver.ts'
import { attempt } from '../../../../src/protocols/smtp/client/attempt.ts'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { DestinationError, parseDestinations } from '../../../../src/protocols/smtp/client/destination.ts'
import { ownAddresses } from '../../../../src/protocols/smtp/client/own-network.ts'
import { type Dropped, findServers, type ServerList } from '../../../../src/protocols/smtp/client/servers.ts'
import { type Answer, NameServer } from '../../../dns/name-server.ts'
import { Farm } from './farm.ts'
import { deliver, environmentOf, type LogLine, outcome, request } from './harness.ts'

type Shorthand = Readonly<Record<string, Answer | readonly string[]>>

async function nameServer(zone: Shorthand): Promise<NameServer> {
  const answers = Object.entries(zone).map(([question, answer]) => [
    question,
    Array.isArray(answer) ? { records: answer } : answer,
  ])
  const dns = await NameServer.start(Object.fromEntries(answers))
  onTestFinished(() => dns[Symbol.asyncDispose]())
  return dns
}

const resolverOf = (dns: NameServer, timeout = 5_000) =>
  createResolver({ ...defaults(dnsSettings), servers: [dns.address], timeout, tries: 1 })

interface Found {
  readonly list: ServerList
  /** Addresses in order, or the code. */
  readonly shown: string
  readonly asked: readonly string[]
  readonly warned: readonly string[]
  readonly dropped: readonly Dropped[]
}

async function find(
  zone: Shorthand,
  {
    nexthop = 'd.test',
    settings = {},
    families = [4, 6],
    isOwnAddress = (address: string) => address === '192.0.2.1',
    random = () => 0.5,
    patienceMs = 5_000,
  }: {
    nexthop?: string
    settings?: Partial<ClientSettings>
    families?: readonly Family[]
    isOwnAddress?: (address: string) => boolean
    random?: () => number
    patienceMs?: number
  } = {},
): Promise<Found> {
  const dns = await nameServer(zone)
  const environment = {
    ...environmentOf({ settings }, 'smtp'),
    resolver: resolverOf(dns, patienceMs),
    families,
    isOwnAddress,
    random,
  }
  const { knownPorts } = environment
  const [destination] = parseDestinations(nexthop, { protocol: 'smtp', defaultService: 'smtp', knownPorts })
  if (destination instanceof DestinationError) throw destination
  const warned: string[] = []
  const dropped: Dropped[] = []
  const list = await findServers(destination!, {
    ...environment,
    protocol: 'smtp',
    warn: (event) => warned.push(event),
    dropped: (one) => dropped.push(one),
  })
  const shown = list.ok
    ? list.servers.map(({ address, port }) => (port === 25 ? address : `${address}:${port}`)).join(' ')
    : list.failure.dsn
  return { list, shown, asked: dns.questions, warned, dropped }
}

const mx = (...records: string[]) => ({ 'MX d.test': records.map((record) => `MX ${record}`) })
const hosts = (...numbers: number[]) =>
  Object.fromEntries(numbers.map((n) => [`A m${n}.test`, [`A 198.51.100.${n}`]]))
const self = { 'A self.test': ['A 192.0.2.1'] }
const m = (n: number) => `198.51.100.${n}`

interface Case {
  readonly name: string
  readonly zone: Shorthand
  readonly settings?: Partial<ClientSettings>
  readonly nexthop?: string
  readonly expected: string
}

describe('outcomes', () => {
  test.each<Case>([
    { name: 'B02 nothing', zone: {}, expected: '5.4.4' },
    { name: 'B03 MX SERVFAIL', zone: { 'MX d.test': { rcode: 2 } }, expected: '4.4.3' },
    {
      name: 'B04 MX SERVFAIL, ignored',
      zone: { 'MX d.test': { rcode: 2 }, 'A d.test': [`A ${m(4)}`] },
      settings: { ignore_mx_lookup_error: true },
      expected: m(4),
    },
    { name: 'B08 no exchanger resolves', zone: mx('10 x1.test', '20 x2.test'), expected: '5.4.4' },
    {
      name: 'B09 no exchanger resolves, deferred',
      zone: mx('10 x1.test', '20 x2.test'),
      settings: { defer_if_no_mx_address_found: true },
      expected: '4.4.4',
    },
    {
      name: 'B10 soft, then not there',
      zone: { ...mx('10 x1.test', '20 x2.test'), 'A x1.test': { rcode: 2 } },
      expected: '4.4.4',
    },
    {
      name: 'B10 not there, then soft',
      zone: { ...mx('10 x1.test', '20 x2.test'), 'A x2.test': { rcode: 2 } },
      expected: '4.4.3',
    },
    {
      name: 'B12 an alias',
      zone: { 'MX d.test': ['CNAME e.test'], 'MX e.test': ['MX 10 m1.test'], ...hosts(1) },
      expected: m(1),
    },
    { name: 'B14 an exchanger that is an address', zone: mx('10 198.51.100.3'), expected: m(3) },
    {
      name: 'B15 by preference',
      zone: { ...mx('20 m2.test', '10 m1.test'), ...hosts(1, 2) },
      expected: `${m(1)} ${m(2)}`,
    },
    {
      name: 'B22 we are the second: only the first is left',
      zone: { ...mx('5 m1.test', '10 self.test', '10 m2.test', '20 m3.test'), ...self, ...hosts(1, 2, 3) },
      expected: m(1),
    },
    {
      name: 'B23 we are the best',
      zone: { ...mx('10 self.test', '10 m2.test'), ...self, ...hosts(2) },
      expected: '5.4.6',
    },
    {
      name: 'B24 the better one does not resolve',
      zone: { ...mx('10 x1.test', '20 self.test'), ...self },
      expected: '4.4.4',
    },
    {
      name: 'B27 we are the host',
      zone: { 'A me.test': ['A 192.0.2.1'] },
      nexthop: '[me.test]',
      expected: '5.4.6',
    },
    {
      name: 'B28 not on another port',
      zone: { ...mx('10 self.test'), ...self },
      nexthop: 'd.test:587',
      expected: '192.0.2.1:587',
    },
    { name: 'silence', zone: { 'MX d.test': { silent: true } }, expected: '4.4.3' },
    { name: 'FORMERR', zone: { 'MX d.test': { rcode: 1 } }, expected: '5.4.3' },
    { name: 'bad exchangers only', zone: mx('10 -bad-.test'), expected: '5.4.4' },
    { name: 'null MX among others', zone: { ...mx('10 m1.test', '0 .'), ...hosts(1) }, expected: '5.1.0' },
  ])('$name', async ({ zone, settings = {}, nexthop = 'd.test', expected }) => {
    const isSilent = Object.values(zone).some((answer) => 'silent' in answer)
    const patienceMs = isSilent ? 200 : 5_000
    expect((await find(zone, { settings, nexthop, patienceMs })).shown).toBe(expected)
  })

  test('B03 the queue hears of it', async () => {
    const dns = await nameServer({ 'MX d.test': { rcode: 2 } })
    const report = await deliver({ environment: { resolver: resolverOf(dns) } })
    expect([...outcome(report), report.hopStatus?.dsn]).toEqual(['deferred 4.4.3', '4.4.3'])
  })

  test.each([
    ['B05', {}],
    ['B07', { ignore_mx_lookup_error: true }],
  ])('%s null MX: no address is asked for', async (_, settings) => {
    const { shown, asked } = await find({ 'MX d.test': ['MX 0 .'], 'A d.test': [`A ${m(1)}`] }, { settings })
    expect(shown).toBe('5.1.0')
    expect(asked).toEqual(['MX d.test'])
  })

  test('B08 a warning', async () => {
    expect((await find(mx('10 x1.test', '20 x2.test'))).warned).toEqual(['delivery.no-mx-address'])
  })

  test('B13 a chain of 12 aliases', async () => {
    const zone: Record<string, readonly string[]> = {}
    for (let i = 0; i < 12; i++) {
      for (const type of ['MX', 'A', 'AAAA'])
        zone[`${type} ${i === 0 ? 'd' : `c${i}`}.test`] = [`CNAME c${i + 1}.test`]
    }
    const { shown, warned } = await find(zone)
    expect(shown).toBe('5.4.4')
    expect(warned).toContain('delivery.dns-odd')
  })

  test('B25 we are an exchanger: no fallback', async () => {
    await using farm = await Farm.start([{}])
    const dns = await nameServer({
      ...mx('5 m1.test', '10 self.test'),
      ...self,
      'A m1.test': ['A 127.0.0.250'],
    })
    const report = await deliver({
      environment: { resolver: resolverOf(dns), families: [4] },
      settings: { fallback_relay: [`[127.0.0.1]:${farm.port}`], connect_timeout: 2_000 },
    })
    expect(outcome(report)).toEqual(['deferred 4.4.1'])
    expect(farm.visits).toEqual([0])
  })

  test('B29 an address of a proxy in front of us is ours', async () => {
    const { isOwnAddress } = ownAddresses(['loopback-only'], ['203.0.113.9'])
    const zone = { ...mx('10 out.test'), 'A out.test': ['A 203.0.113.9'] }
    expect((await find(zone, { isOwnAddress })).shown).toBe('5.4.6')
  })

  test('B30 the hosts file after DNS knows nothing', async () => {
    // The harness has a hosts file of its own: that of the machine is not ours to write.
    const settings = { host_lookup: ['dns', 'native'] }
    await using farm = await Farm.start([{}])
    const report = await deliver({ settings, request: { nexthop: `[hosts.test]:${farm.port}` } })
    expect(outcome(report)).toEqual(['sent'])
    expect(outcome(await deliver({ request: { nexthop: '[hosts.test]' } }))).toEqual(['bounced 5.4.4'])
  })

  test('B33 a server goes by the name in the MX record, or by what its alias leads to', async () => {
    await using farm = await Farm.start([{}])
    const dns = await nameServer({
      ...mx('10 m1.test'),
      'A m1.test': ['CNAME real.test'],
      'A real.test': ['A 127.0.0.1'],
    })
    const relay = async (settings: Partial<ClientSettings>) => {
      const report = await deliver({
        settings: { ...settings, tcp_port: `${farm.port}` },
        environment: { resolver: resolverOf(dns) },
      })
      return report.results[0]!.relay
    }
    expect(await relay({})).toBe(`m1.test[127.0.0.1]:${farm.port}`)
    expect(await relay({ cname_overrides_servername: true })).toBe(`real.test[127.0.0.1]:${farm.port}`)
  })

  test('B34 the reply filter drops everything', async () => {
    const dns = await nameServer({ ...mx('10 m1.test'), ...hosts(1) })
    const filter = (record: string) => (/ IN A /.test(record) ? ('drop' as const) : ('keep' as const))
    const log: LogLine[] = []
    const report = await deliver({ log, environment: { resolver: resolverOf(dns), query: { filter } } })
    expect(outcome(report)).toEqual(['deferred 4.7.0'])
  })
})

describe('best_mx_transport', () => {
  const selfMx = { ...mx('10 self.test'), ...self }

  async function moved(settings: Partial<ClientSettings>, zone: Shorthand = selfMx, nexthop = 'd.test') {
    const environment = {
      ...environmentOf({ settings }, 'smtp'),
      resolver: resolverOf(await nameServer(zone)),
    }
    const one = attempt(request({ nexthop }), environment)
    const report = await one.run()
    return { moved: one.moved, results: outcome(report) }
  }

  test.each([
    ['lmtp:unix:/run/l', { kind: 'transport', transport: 'lmtp', nexthop: 'unix:/run/l' }],
    ['local', { kind: 'transport', transport: 'local', nexthop: 'd.test' }],
    ['smtp:[192.0.2.9]:26', { kind: 'transport', transport: 'smtp', nexthop: '[192.0.2.9]:26' }],
  ])('%s takes what would come back to us', async (best_mx_transport, expected) => {
    expect(await moved({ best_mx_transport })).toEqual({ moved: expected, results: [] })
  })

  test('not what fails otherwise', async () => {
    const settings = { best_mx_transport: 'local' }
    expect(await moved(settings, {})).toEqual({ moved: undefined, results: ['bounced 5.4.4'] })
    const behind = { ...mx('10 x1.test', '20 self.test'), ...self }
    expect(await moved(settings, behind)).toEqual({ moved: undefined, results: ['deferred 4.4.4'] })
    expect(await moved({})).toEqual({ moved: undefined, results: ['bounced 5.4.6'] })
  })
})

describe('order', () => {
  const both = { ...mx('10 m1.test'), 'A m1.test': [`A ${m(1)}`], 'AAAA m1.test': ['AAAA 2001:db8::1'] }

  test.each([
    ['ipv6', `2001:db8::1 ${m(1)}`],
    ['ipv4', `${m(1)} 2001:db8::1`],
  ] as const)('B17 %s first', async (address_preference, expected) => {
    expect((await find(both, { settings: { address_preference } })).shown).toBe(expected)
  })

  const families = (sixes: number, fours: number) => ({
    ...mx('10 m1.test'),
    'A m1.test': Array.from({ length: fours }, (_, i) => `A 198.51.100.${i + 1}`),
    'AAAA m1.test': Array.from({ length: sixes }, (_, i) => `AAAA 2001:db8::${i + 1}`),
  })
  const kinds = ({ list }: Found) =>
    list.ok ? list.servers.map(({ address }) => (address.includes(':') ? '6' : '4')).join('') : ''

  test('B18 room for both families', async () => {
    const found = await find(families(6, 2), { settings: { address_preference: 'ipv6' } })
    expect(kinds(found)).toBe('66644')
    expect(found.shown).toBe(`2001:db8::1 2001:db8::2 2001:db8::3 ${m(1)} ${m(2)}`)
    expect(found.dropped).toHaveLength(3)
  })

  test('B19 the odd place goes to the family of the first', async () => {
    expect(kinds(await find(families(4, 4), { settings: { address_preference: 'ipv4' } }))).toBe('44466')
  })

  test('B20 without balancing the first family takes all places', async () => {
    const settings = { address_preference: 'ipv6' as const, balance_inet_protocols: false }
    expect(kinds(await find(families(6, 2), { settings })).slice(0, 5)).toBe('66666')
  })
})

describe('SRV', () => {
  const settings = { use_srv_lookup: ['submission'] }
  const nexthop = 'd.test:submission'
  const zoneOf = (...records: string[]): Shorthand => ({
    'SRV _submission._tcp.d.test': records.map((one) => `SRV ${one}`),
    ...hosts(1, 2, 3),
  })

  test('its port counts, least priority first', async () => {
    const { shown, asked } = await find(zoneOf('20 0 2587 m2.test', '10 0 1587 m1.test'), {
      settings,
      nexthop,
    })
    expect(shown).toBe(`${m(1)}:1587 ${m(2)}:2587`)
    expect(asked[0]).toBe('SRV _submission._tcp.d.test')
    expect(asked.filter((question) => question.startsWith('MX'))).toEqual([])
  })

  test('equals are drawn by weight', async () => {
    const counts = { [m(1)]: 0, [m(2)]: 0 } as Record<string, number>
    let seed = 1
    const random = () => {
      seed = (seed * 16_807) % 2_147_483_647
      return seed / 2_147_483_647
    }
    for (let i = 0; i < 200; i++) {
      const { list } = await find(zoneOf('10 3 25 m1.test', '10 1 25 m2.test'), { settings, nexthop, random })
      if (list.ok) counts[list.servers[0]!.address]!++
    }
    // 150 of 200 expected; the generator is seeded.
    expect(counts[m(1)]).toBeGreaterThan(120)
    expect(counts[m(2)]).toBeGreaterThan(20)
  })

  test.each<[string, Shorthand, Partial<ClientSettings>, string]>([
    ['B32 no SRV record', { ...mx('10 m1.test'), ...hosts(1) }, {}, '5.4.4'],
    [
      'B32 no SRV record, fallback allowed',
      { ...mx('10 m1.test'), ...hosts(1) },
      { allow_srv_lookup_fallback: true },
      `${m(1)}:587`,
    ],
    [
      'no SRV record is no error',
      { ...mx('10 m1.test'), ...hosts(1) },
      { ignore_srv_lookup_error: true },
      '5.4.4',
    ],
    ['SERVFAIL', { 'SRV _submission._tcp.d.test': { rcode: 2 } }, {}, '4.4.3'],
    [
      'SERVFAIL, ignored',
      { 'SRV _submission._tcp.d.test': { rcode: 2 }, ...mx('10 m1.test'), ...hosts(1) },
      { ignore_srv_lookup_error: true },
      `${m(1)}:587`,
    ],
    [
      'null SRV',
      { 'SRV _submission._tcp.d.test': ['SRV 0 0 0 .'], ...mx('10 m1.test') },
      { ignore_srv_lookup_error: true },
      '5.1.0',
    ],
    [
      'null SRV, fallback allowed',
      { 'SRV _submission._tcp.d.test': ['SRV 0 0 0 .'], ...mx('10 m1.test'), ...hosts(1) },
      { allow_srv_lookup_fallback: true },
      `${m(1)}:587`,
    ],
  ])('%s', async (_, zone, over, expected) => {
    expect((await find(zone, { settings: { ...settings, ...over }, nexthop })).shown).toBe(expected)
  })

  test.each(['[d.test]:submission', 'd.test', 'd.test:587'])('%s asks for no SRV', async (nexthop) => {
    const { asked } = await find({ 'A d.test': [`A ${m(1)}`] }, { settings, nexthop })
    expect(asked.filter((question) => question.startsWith('SRV'))).toEqual([])
  })
})
