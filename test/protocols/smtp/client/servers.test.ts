/** Lookup of servers against a table of records: what the acceptance cases of group B do not ask for. */
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

describe('hosts and order', () => {
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
