import { describe, expect, test } from 'vitest'
import { familiesOf, ownAddresses, replyFilter } from '../../../../src/protocols/smtp/client/own-network.ts'
import { Tables } from '../../../../src/tables/contract.ts'
import { deliver, type LogLine } from './harness.ts'

describe('our own addresses', () => {
  test('the machine, loopback alone, or those that are named, and those of proxies', () => {
    expect(ownAddresses(['all'], []).isOwnAddress('127.0.0.1')).toBe(true)
    expect(ownAddresses(['loopback-only'], []).isOwnAddress('127.0.0.1')).toBe(true)
    const named = ownAddresses(['192.0.2.1', '[2001:db8::1]'], ['203.0.113.9'])
    expect(['192.0.2.1', '2001:db8::1', '203.0.113.9', '127.0.0.1'].map(named.isOwnAddress)).toEqual([
      true,
      true,
      true,
      false,
    ])
  })

  test('ADR-33 the only one of a family that is named is the one to connect from', () => {
    const { ownAddressOf } = ownAddresses(['192.0.2.1', '127.0.0.1', '2001:db8::1', '2001:db8::2'], [])
    expect([ownAddressOf(4), ownAddressOf(6)]).toEqual(['192.0.2.1', undefined])
    expect(ownAddresses(['all'], []).ownAddressOf(4)).toBeUndefined()
    expect(ownAddresses(['loopback-only'], []).ownAddressOf(4)).toBeUndefined()
  })

  test('families', () => {
    expect([familiesOf(['all']), familiesOf(['ipv6']), familiesOf(['ipv4', 'ipv6'])]).toEqual([
      [4, 6],
      [6],
      [4, 6],
    ])
  })
})

describe('dns_reply_filter', () => {
  const filterOf = (entries: Record<string, string>) =>
    replyFilter(new Tables({ now: () => 0, warn: () => {} }).maps([entries]))

  test('IGNORE leaves a record out; nothing keeps it; anything else is an error of the table', () => {
    const filter = filterOf({ a: 'ignore', b: 'REJECT' })!
    expect([filter('a'), filter('c')]).toEqual(['drop', 'keep'])
    expect(() => filter('b')).toThrow('"REJECT" is no action (there is IGNORE)')
    expect(replyFilter(new Tables({ now: () => 0, warn: () => {} }).maps([]))).toBeUndefined()
  })
})

test('DST-8 port 465 without TLS from the start: a hint', async () => {
  const log: LogLine[] = []
  await deliver({ log, settings: { connect_timeout: 500 }, request: { nexthop: '[127.0.0.1]:smtps' } })
  expect(log.map(({ event }) => event)).toContain('delivery.port-465')
})
