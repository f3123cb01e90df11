import { describe, expect, test } from 'vitest'
import { Router, type RoutingSettings } from '../../src/queue/routing.ts'

const router = (changes: Partial<RoutingSettings> = {}): Router =>
  new Router({
    hostname: 'mx.here.test',
    localDomains: ['here.test'],
    transport: {},
    relayhost: '',
    hasText: (transport) => ['error', 'retry', 'discard'].includes(transport),
    ...changes,
  })

const table = {
  'example.com': 'smtp:[10.0.0.9]:25',
  '.example.net': 'lmtp:unix:/run/LMTP.sock',
  '.deep.example.net': 'smtp:deep.test',
  'empty.test': 'smtp:',
  'bare.test': 'lmtp:',
  'here.test': 'lmtp:store.test:24',
}

describe('the route of an address', () => {
  test.each([
    { to: 'a@Remote.Test', route: { transport: 'smtp', nexthop: 'remote.test' } },
    { to: 'a@HERE.test', route: { transport: 'local', nexthop: 'here.test' } },
    { to: 'a@mx.here.test', route: { transport: 'local', nexthop: 'mx.here.test' } },
    { to: 'root', route: { transport: 'local', nexthop: '' } },
    { to: '"a@b"@remote.test', route: { transport: 'smtp', nexthop: 'remote.test' } },
    { to: 'a@[192.0.2.1]', route: { transport: 'smtp', nexthop: '[192.0.2.1]' } },
  ])('$to without tables', ({ to, route }) => {
    expect(router().route(to)).toEqual(route)
  })

  test.each([
    { to: 'a@example.com', route: { transport: 'smtp', nexthop: '[10.0.0.9]:25' } },
    { to: 'a@EXAMPLE.COM', route: { transport: 'smtp', nexthop: '[10.0.0.9]:25' } },
    { to: 'a@sub.example.com', route: { transport: 'smtp', nexthop: 'sub.example.com' } },
    { to: 'a@x.example.net', route: { transport: 'lmtp', nexthop: 'unix:/run/LMTP.sock' } },
    { to: 'a@example.net', route: { transport: 'smtp', nexthop: 'example.net' } },
    { to: 'a@x.deep.example.net', route: { transport: 'smtp', nexthop: 'deep.test' } },
    { to: 'a@deep.example.net', route: { transport: 'lmtp', nexthop: 'unix:/run/LMTP.sock' } },
    { to: 'a@empty.test', route: { transport: 'smtp', nexthop: 'empty.test' } },
    { to: 'a@bare.test', route: { transport: 'lmtp', nexthop: 'bare.test' } },
    { to: 'a@here.test', route: { transport: 'lmtp', nexthop: 'store.test:24' } },
  ])('$to by the table, most specific entry first', ({ to, route }) => {
    expect(router({ transport: table }).route(to)).toEqual(route)
  })

  test('a relayhost takes what nothing else takes', () => {
    const relayed = router({ relayhost: '[Relay.Test]:2526', transport: table })
    expect(relayed.route('a@remote.test')).toEqual({ transport: 'smtp', nexthop: '[relay.test]:2526' })
    expect(relayed.route('a@empty.test')).toEqual({ transport: 'smtp', nexthop: '[relay.test]:2526' })
    expect(relayed.route('a@example.com')).toEqual({ transport: 'smtp', nexthop: '[10.0.0.9]:25' })
    expect(relayed.route('a@mx.here.test')).toEqual({ transport: 'local', nexthop: 'mx.here.test' })
  })

  test('* takes all other domains', () => {
    const all = router({ transport: { '*': 'smtp:[10.0.0.1]' } })
    expect(all.route('a@any.test')).toEqual({ transport: 'smtp', nexthop: '[10.0.0.1]' })
  })

  test.each(['', '@remote.test', 'a@'])('%j bounces with 5.1.3', (to) => {
    expect(router().route(to)).toMatchObject({ dsn: '5.1.3' })
  })
})
