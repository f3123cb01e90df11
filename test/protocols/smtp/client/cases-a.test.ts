/** Destination syntax: acceptance cases A, with a name server that is asked for real. All that are published are here. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaults } from '../../../../src/config/schema.ts'
import { dnsSettings } from '../../../../src/dns/config.ts'
import { createResolver, type DnsResolver } from '../../../../src/dns/resolver.ts'
import { DestinationError, parseDestinations } from '../../../../src/protocols/smtp/client/destination.ts'
import { findServers } from '../../../../src/protocols/smtp/client/servers.ts'
import { type Answer, NameServer } from '../../../dns/name-server.ts'
import { Farm } from './farm.ts'
import { deliver, environmentOf, type LogLine, outcome, request } from './harness.ts'

async function world(
  zone: Readonly<Record<string, Answer>>,
): Promise<{ resolver: DnsResolver; dns: NameServer }> {
  const dns = await NameServer.start(zone)
  onTestFinished(() => dns[Symbol.asyncDispose]())
  return { resolver: createResolver({ ...defaults(dnsSettings), servers: [dns.address] }), dns }
}

/** Where the mail would go: `host[address]:port`, and what was asked. */
async function where(zone: Readonly<Record<string, Answer>>, nexthop: string, transport = 'smtp') {
  const { resolver, dns } = await world(zone)
  const environment = { ...environmentOf({}, transport), resolver, families: [4 as const, 6 as const] }
  const { settings, knownPorts } = environment
  const protocol = transport === 'lmtp' ? 'lmtp' : 'smtp'
  const servers: string[] = []
  for (const one of parseDestinations(nexthop, { protocol, defaultService: settings.tcp_port, knownPorts })) {
    if (one instanceof DestinationError) throw one
    const list = await findServers(one, { ...environment, protocol, warn: () => {} })
    if (list.ok) servers.push(...list.servers.map(({ address, port }) => `${address}:${port}`))
    else servers.push(list.failure.dsn)
  }
  return { servers, asked: dns.questions }
}

const zone: Record<string, Answer> = {
  'MX d.test': { records: ['MX 10 m1.test'] },
  'A m1.test': { records: ['A 198.51.100.1'] },
  'A m9.test': { records: ['A 198.51.100.9'] },
  'A h.test': { records: ['A 198.51.100.4'] },
  'MX h.test': { records: ['MX 10 m9.test'] },
  'MX xn--bcher-kva.test': { records: ['MX 10 m1.test'] },
}

describe('destination syntax', () => {
  test('A01 a domain: its mail exchanger on port 25', async () => {
    expect((await where(zone, 'd.test')).servers).toEqual(['198.51.100.1:25'])
  })

  test('A02 a port: the exchanger on it, no loop detection', async () => {
    expect((await where(zone, 'd.test:2525')).servers).toEqual(['198.51.100.1:2525'])
    const self: Record<string, Answer> = {
      'MX d.test': { records: ['MX 10 self.test'] },
      'A self.test': { records: ['A 192.0.2.1'] },
    }
    expect((await where(self, 'd.test:2525')).servers).toEqual(['192.0.2.1:2525'])
  })

  test('A04 brackets: the host itself, no MX query', async () => {
    const { servers, asked } = await where(zone, '[h.test]')
    expect(servers).toEqual(['198.51.100.4:25'])
    expect(asked.filter((question) => question.startsWith('MX'))).toEqual([])
  })

  test('A05 an address: no query at all', async () => {
    expect(await where(zone, '[198.51.100.7]:587')).toEqual({ servers: ['198.51.100.7:587'], asked: [] })
  })

  test.each(['[IPv6:2001:db8::7]', '[ipv6:2001:db8::7]'])('A06 %s', async (nexthop) => {
    expect(await where(zone, nexthop)).toEqual({ servers: ['2001:db8::7:25'], asked: [] })
  })

  test('A07 an IPv6 address without its prefix', async () => {
    expect((await where(zone, '[2001:db8::7]')).servers).toEqual(['2001:db8::7:25'])
  })

  test('A09 a service by name', async () => {
    expect((await where(zone, 'd.test:submission')).servers).toEqual(['198.51.100.1:587'])
  })

  test('A10 the next of a list after a server that refuses', async () => {
    await using farm = await Farm.start([null, {}])
    const { resolver } = await world({
      'MX x.test': { records: ['MX 10 m8.test'] },
      'A m8.test': { records: ['A 127.0.0.1'] },
      'MX d.test': { records: ['MX 10 m1.test'] },
      'A m1.test': { records: ['A 127.0.0.2'] },
    })
    const log: LogLine[] = []
    const report = await deliver({
      log,
      settings: { tcp_port: `${farm.port}` },
      environment: { resolver },
      request: { nexthop: 'x.test, d.test' },
    })
    expect(outcome(report)).toEqual(['sent'])
    expect(report.results).toHaveLength(1)
    expect(log.map(({ event }) => event)).toEqual(['delivery.connect-failed'])
    expect(farm.visits).toEqual([0, 1])
  })

  test('A11 the next of a list after a name that does not exist', async () => {
    await using farm = await Farm.start([{}])
    const { resolver } = await world({
      'MX d.test': { records: ['MX 10 m1.test'] },
      'A m1.test': { records: ['A 127.0.0.1'] },
    })
    const report = await deliver({
      settings: { tcp_port: `${farm.port}` },
      environment: { resolver },
      request: { nexthop: 'x.test d.test' },
    })
    expect(outcome(report)).toEqual(['sent'])
  })

  test('A12 unix: is no destination of SMTP', async () => {
    const log: LogLine[] = []
    const report = await deliver({ log, request: { nexthop: 'unix:/run/s' } })
    expect(outcome(report)).toEqual(['deferred 4.3.5'])
    expect(report.hopStatus?.dsn).toBe('4.3.5')
    expect(log).toContainEqual(expect.objectContaining({ level: 'warn', event: 'delivery.bad-destination' }))
  })

  test('A14 a domain beyond ASCII: asked in A-labels, named as it was written', async () => {
    const { servers, asked } = await where(zone, 'bücher.test')
    expect(servers).toEqual(['198.51.100.1:25'])
    expect(asked[0]).toBe('MX xn--bcher-kva.test')
    const options = { protocol: 'smtp' as const, defaultService: 'smtp', knownPorts: { smtp: '25' } }
    expect(parseDestinations('bücher.test', options)[0]).toMatchObject({ nexthop: 'bücher.test' })
  })

  test('A15 LMTP: port 24, addresses only', async () => {
    const { servers, asked } = await where(zone, 'inet:h.test', 'lmtp')
    expect(servers).toEqual(['198.51.100.4:24'])
    expect(asked.toSorted()).toEqual(['A h.test', 'AAAA h.test'])
  })

  test('A16 a socket path that is too long', async () => {
    const report = await deliver({ request: { transport: 'lmtp', nexthop: `unix:/${'x'.repeat(200)}` } })
    expect(outcome(report)).toEqual(['deferred 4.3.5'])
  })

  test('A17 a socket that is not there: no fallback', async () => {
    await using farm = await Farm.start([{}])
    const log: LogLine[] = []
    const report = await deliver({
      log,
      settings: { fallback_relay: [`[127.0.0.1]:${farm.port}`] },
      request: { transport: 'lmtp', nexthop: 'unix:/nonexistent/l' },
    })
    expect(outcome(report)).toEqual(['deferred 4.4.1'])
    expect(farm.visits).toEqual([0])
    expect(log).toContainEqual(expect.objectContaining({ level: 'warn', event: 'delivery.fallback-ignored' }))
  })

  test('a good element is tried before a bad one counts', async () => {
    await using farm = await Farm.start([{}])
    const good = await deliver({ request: { nexthop: `[127.0.0.1]:${farm.port} [bad` } })
    expect(outcome(good)).toEqual(['sent'])
    const bad = await deliver({ request: { nexthop: `[bad [127.0.0.1]:${farm.port}` } })
    expect(outcome(bad)).toEqual(['sent'])
    expect(request().nexthop).toBe('d.test')
  })
})
