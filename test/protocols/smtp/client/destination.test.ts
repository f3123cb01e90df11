import { describe, expect, test } from 'vitest'
import { netSettings } from '../../../../src/dns/config.ts'
import {
  DestinationError,
  type DestinationOptions,
  type ParsedDestination,
  parseDestinations,
} from '../../../../src/protocols/smtp/client/destination.ts'

const knownPorts = netSettings.known_tcp_ports.default
const smtp: DestinationOptions = { protocol: 'smtp', defaultService: 'smtp', knownPorts }
const lmtp: DestinationOptions = { protocol: 'lmtp', defaultService: '24', knownPorts }

const show = (destination: ParsedDestination): string =>
  destination instanceof DestinationError
    ? `!${destination.message}`
    : destination.kind === 'unix'
      ? `unix ${destination.path}`
      : `${destination.mx ? 'mx' : destination.literal ? 'ip' : 'host'} ${destination.host} ${destination.port}`

describe('destinations of SMTP', () => {
  test.each([
    ['A01', 'd.test', ['mx d.test 25']],
    ['A02', 'd.test:2525', ['mx d.test 2525']],
    ['A04', '[h.test]', ['host h.test 25']],
    ['A05', '[198.51.100.7]:587', ['ip 198.51.100.7 587']],
    ['A06', '[IPv6:2001:db8::7]', ['ip 2001:db8::7 25']],
    ['A06 lower case', '[ipv6:2001:db8::7]:26', ['ip 2001:db8::7 26']],
    ['A07', '[2001:db8::7]', ['ip 2001:db8::7 25']],
    ['A09', 'd.test:submission', ['mx d.test 587']],
    ['A10', 'x.test, d.test', ['mx x.test 25', 'mx d.test 25']],
    [
      'a list separated in all ways',
      'a.test,,b.test \t[c.test]:1',
      ['mx a.test 25', 'mx b.test 25', 'host c.test 1'],
    ],
    ['A14', 'bücher.test', ['mx xn--bcher-kva.test 25']],
    ['an empty service', 'd.test:', ['mx d.test 25']],
    ['an empty service after a bracket', '[h.test]:', ['host h.test 25']],
    ['upper case', 'D.Test', ['mx d.test 25']],
    ['a service of the system', '[h.test]:pop3', ['host h.test 110']],
    ['smtps', '[h.test]:smtps', ['host h.test 465']],
    ['a literal without brackets', '198.51.100.7', ['ip 198.51.100.7 25']],
  ])('%s: %s', (_, nexthop, wanted) => {
    expect(parseDestinations(nexthop, smtp).map(show)).toEqual(wanted)
  })

  test.each([
    ['an empty one', ''],
    ['separators only', ' ,, '],
    ['no closing bracket', '[h.test'],
    ['text after the bracket', '[h.test]x'],
    ['empty brackets', '[]'],
    ['no host', ':25'],
    ['no host in brackets', '[]:25'],
    ['port 0', 'd.test:0'],
    ['port 65536', 'd.test:65536'],
    ['a port with letters', 'd.test:25x'],
    ['an unknown service', 'd.test:no-such-service'],
    ['an IPv6 address without brackets', '2001:db8::7'],
    ['a host name with the IPv6 prefix', '[IPv6:h.test]'],
    ['numbers only', '1.2.3'],
    ['A12 a unix socket', 'unix:/run/s'],
    ['a bad label', 'a..test'],
    ['a space in brackets', '[a b]'],
    ['a NUL', 'a\0b.test'],
  ])('refuses %s', (_, nexthop) => {
    expect(parseDestinations(nexthop, smtp).at(-1)).toMatchObject({ code: 'MA_DESTINATION' })
  })
})

describe('destinations of LMTP', () => {
  test.each([
    ['A15', 'inet:h.test', ['host h.test 24']],
    ['without inet:', 'h.test:2424', ['host h.test 2424']],
    ['a literal', 'inet:[127.0.0.1]:24', ['ip 127.0.0.1 24']],
    ['a socket', 'unix:/run/l', ['unix /run/l']],
    ['a socket whose path has colons and commas', 'unix:/run/a:b,c', ['unix /run/a:b,c']],
    ['a list', 'inet:a.test, b.test', ['host a.test 24', 'host b.test 24']],
  ])('%s: %s', (_, nexthop, wanted) => {
    expect(parseDestinations(nexthop, lmtp).map(show)).toEqual(wanted)
  })

  test.each([
    ['A16 a path that is too long', `unix:/${'x'.repeat(200)}`],
    ['an empty path', 'unix:'],
    ['inet: on a later member', 'inet:a.test, inet:b.test'],
  ])('refuses %s', (_, nexthop) => {
    expect(parseDestinations(nexthop, lmtp).at(-1)).toMatchObject({ code: 'MA_DESTINATION' })
  })
})
