/** Lookup of servers against a table of records; ids are those of the acceptance cases. */
import { describe, expect, test } from 'vitest'
import { netSettings } from '../../../../src/dns/config.ts'
import type { ClientSettings } from '../../../../src/protocols/smtp/client/config.ts'
import { DestinationError, parseDestinations } from '../../../../src/protocols/smtp/client/destination.ts'
import { balanceFamilies } from '../../../../src/protocols/smtp/client/server-order.ts'
import { findServers, type ServerList } from '../../../../src/protocols/smtp/client/servers.ts'
import { settingsOf, type Zone, ZoneResolver } from './harness.ts'

const four = (n: number) => `198.51.100.${n}`
const six = (n: number) => `2001:db8::${n}`
const self = '192.0.2.1'

async function find(
  zone: Zone,
  nexthop = 'd.test',
  settings: Partial<ClientSettings> = {},
  over: { random?: () => number; families?: (4 | 6)[]; dnsDisabled?: boolean } = {},
): Promise<{ list: ServerList; asked: string[]; warned: string[] }> {
  const resolver = new ZoneResolver(zone)
  const warned: string[] = []
  const options = settingsOf('smtp', settings)
  const knownPorts = netSettings.known_tcp_ports.default
  const [destination] = parseDestinations(nexthop, { protocol: 'smtp', defaultService: 'smtp', knownPorts })
  if (destination instanceof DestinationError) throw destination
  const list = await findServers(destination!, {
    protocol: 'smtp',
    settings: options,
    resolver,
    hostname: 'client.test',
    families: [4, 6],
    dnsDisabled: false,
    isOwnAddress: (address) => address === self,
    random: () => 0.5,
    warn: (event) => warned.push(event),
    ...over,
  })
  return { list, asked: resolver.asked, warned }
}

const show = (list: ServerList): string =>
  list.ok
    ? list.servers
        .map(({ host, address, port }) => (host === address ? address : `${host}=${address}:${port}`))
        .join(' ')
    : list.failure.dsn

const mx = (...records: [number, string][]): Zone[string] => ({ mx: records })
const zone3: Zone = {
  'd.test': mx([20, 'm2.test'], [10, 'm1.test']),
  'm1.test': { a: [four(1)] },
  'm2.test': { a: [four(2)] },
}

describe('mail exchangers', () => {
  test.each<[string, Zone, Partial<ClientSettings>, string]>([
    ['B15 by preference', zone3, {}, `m1.test=${four(1)}:25 m2.test=${four(2)}:25`],
    ['B02 no name at all', {}, {}, '5.4.4'],
    ['no MX: the address of the domain', { 'd.test': { a: [four(9)] } }, {}, `d.test=${four(9)}:25`],
    ['B03 SERVFAIL', { 'd.test': { mx: 'soft', a: [four(9)] } }, {}, '4.4.3'],
    [
      'B04 SERVFAIL ignored',
      { 'd.test': { mx: 'soft', a: [four(9)] } },
      { ignore_mx_lookup_error: true },
      `d.test=${four(9)}:25`,
    ],
    ['REFUSED', { 'd.test': { mx: 'refused' } }, {}, '5.4.3'],
    ['malformed', { 'd.test': { mx: 'malformed' } }, {}, '5.4.4'],
    ['B05 null MX', { 'd.test': { ...mx([0, '']), a: [four(9)] } }, {}, '5.1.0'],
    ['B07 null MX is no error', { 'd.test': mx([0, '']) }, { ignore_mx_lookup_error: true }, '5.1.0'],
    ['null MX among others', { ...zone3, 'd.test': mx([10, 'm1.test'], [0, '']) }, {}, '5.1.0'],
    ['B08 no exchanger has an address', { 'd.test': mx([10, 'x1.test'], [20, 'x2.test']) }, {}, '5.4.4'],
    [
      'B09 the same, deferred',
      { 'd.test': mx([10, 'x1.test'], [20, 'x2.test']) },
      { defer_if_no_mx_address_found: true },
      '4.4.4',
    ],
    [
      'B10 soft dominates',
      { 'd.test': mx([10, 'x1.test'], [20, 'x2.test']), 'x1.test': { a: 'soft' } },
      {},
      '4.4.4',
    ],
    [
      'B10 soft dominates, reversed',
      { 'd.test': mx([10, 'x1.test'], [20, 'x2.test']), 'x2.test': { a: 'soft' } },
      {},
      '4.4.3',
    ],
    ['B14 an exchanger that is an address', { 'd.test': mx([10, four(3)]) }, {}, four(3)],
    [
      'B22 self drops its equals and worse',
      {
        'd.test': mx([5, 'm1.test'], [10, 'self.test'], [10, 'm2.test'], [20, 'm3.test']),
        'm1.test': { a: [four(1)] },
        'm2.test': { a: [four(2)] },
        'm3.test': { a: [four(3)] },
        'self.test': { a: [self] },
      },
      {},
      `m1.test=${four(1)}:25`,
    ],
    [
      'B23 self is the best',
      {
        'd.test': mx([10, 'self.test'], [10, 'm2.test']),
        'self.test': { a: [self] },
        'm2.test': { a: [four(2)] },
      },
      {},
      '5.4.6',
    ],
    [
      'B24 the better one has no address',
      { 'd.test': mx([10, 'x1.test'], [20, 'self.test']), 'self.test': { a: [self] } },
      {},
      '4.4.4',
    ],
  ])('%s', async (_, zone, settings, wanted) => {
    const { list } = await find(zone, 'd.test', settings)
    expect(show(list)).toBe(wanted)
  })

  test('B05 null MX asks for no address', async () => {
    const { asked } = await find({ 'd.test': { ...mx([0, '']), a: [four(9)] } })
    expect(asked).toEqual(['MX d.test'])
  })

  test('B08 a warning', async () => {
    const { warned } = await find({ 'd.test': mx([10, 'x1.test']) })
    expect(warned).toEqual(['delivery.no-mx-address'])
  })

  test('A04 brackets: no MX query', async () => {
    const { list, asked } = await find({ 'h.test': { a: [four(9)], ...mx([10, 'm9.test']) } }, '[h.test]')
    expect(show(list)).toBe(`h.test=${four(9)}:25`)
    expect(asked).not.toContain('MX h.test')
  })

  test('A05 a literal: no query at all', async () => {
    const { list, asked } = await find({}, `[${four(7)}]:587`)
    expect(show(list)).toBe(four(7))
    expect(asked).toEqual([])
  })

  test('B27 our own address as a host; B28 not on another port', async () => {
    const zone = { 'me.test': { a: [self] } }
    expect(show((await find(zone, '[me.test]')).list)).toBe('5.4.6')
    expect(show((await find(zone, '[me.test]:587')).list)).toBe(`me.test=${self}:587`)
  })

  test('B25 we are an exchanger: said with the list', async () => {
    const zone = {
      'd.test': mx([5, 'm1.test'], [10, 'self.test']),
      'm1.test': { a: [four(1)] },
      'self.test': { a: [self] },
    }
    expect((await find(zone)).list.weAreMx).toBe(true)
  })

  test('B17 the preferred family first', async () => {
    const zone = { 'd.test': mx([10, 'm1.test']), 'm1.test': { a: [four(1)], aaaa: [six(1)] } }
    const addresses = async (address_preference: 'ipv4' | 'ipv6') => {
      const { list } = await find(zone, 'd.test', { address_preference })
      return list.ok ? list.servers.map(({ address }) => address) : []
    }
    expect(await addresses('ipv6')).toEqual([six(1), four(1)])
    expect(await addresses('ipv4')).toEqual([four(1), six(1)])
  })

  test('B30 the hosts file after DNS knows nothing', async () => {
    const native = { host_lookup: ['dns', 'native'] }
    expect(show((await find({}, '[hosts.test]', native)).list)).toBe('hosts.test=127.0.0.1:25')
    expect(show((await find({}, '[hosts.test]')).list)).toBe('5.4.4')
  })

  test('DNS disabled: hosts only, looked up by the system', async () => {
    const { list, asked } = await find({}, 'hosts.test', {}, { dnsDisabled: true })
    expect(show(list)).toBe('hosts.test=127.0.0.1:25')
    expect(asked).toEqual(['native hosts.test'])
  })

  test('localhost is loopback without asking anybody', async () => {
    const { list, asked } = await find({}, '[localhost]:2526')
    expect(show(list)).toBe('localhost=127.0.0.1:2526 localhost=::1:2526')
    expect(asked).toEqual([])
  })

  test('disabled families are not asked for; none left is a matter of configuration', async () => {
    const { list, asked } = await find(
      { 'h.test': { a: [four(1)], aaaa: [six(1)] } },
      '[h.test]',
      {},
      { families: [6] },
    )
    expect(show(list)).toBe(`h.test=${six(1)}:25`)
    expect(asked).toEqual(['AAAA h.test'])
    expect(show((await find({}, '[h.test]', {}, { families: [] })).list)).toBe('4.4.4')
  })

  test('servers of equal preference are shuffled, the others stay in order', async () => {
    const zone: Record<string, Zone[string]> = {
      'd.test': mx([10, 'm1.test'], [10, 'm2.test'], [10, 'm3.test'], [20, 'm4.test']),
    }
    for (const n of [1, 2, 3, 4]) zone[`m${n}.test`] = { a: [four(n)] }
    const orders = new Set<string>()
    for (let i = 0; i < 200; i++) {
      const { list } = await find(zone, 'd.test', { randomize_addresses: true }, { random: Math.random })
      const order = list.ok ? list.servers.map(({ host }) => host[1]).join('') : ''
      expect(order.at(-1)).toBe('4')
      orders.add(order)
    }
    expect(orders.size).toBe(6)
  })
})

describe('room for both families', () => {
  const list = (sixes: number, fours: number, sixFirst: boolean) => {
    const six = Array.from({ length: sixes }, () => ({ family: 6 as const }))
    const four = Array.from({ length: fours }, () => ({ family: 4 as const }))
    return sixFirst ? [...six, ...four] : [...four, ...six]
  }
  const count = (kept: readonly { family: 4 | 6 }[]) => [
    kept.filter(({ family }) => family === 6).length,
    kept.filter(({ family }) => family === 4).length,
  ]
  test.each([
    ['B18', 6, 2, true, 5, [3, 2]],
    ['B19', 4, 4, false, 5, [2, 3]],
    ['the odd place goes to the first', 4, 4, true, 5, [3, 2]],
    ['few of the sixth', 1, 9, false, 5, [1, 4]],
    ['all fit', 2, 3, true, 5, [2, 3]],
    ['one family', 0, 9, false, 5, [0, 9]],
  ])('%s', (_, sixes, fours, sixFirst, limit, wanted) => {
    expect(count(balanceFamilies(list(sixes, fours, sixFirst), limit))).toEqual(wanted)
  })
})
