import { describe, expect, test } from 'vitest'
import { listingText } from '../../src/cli/commands/queue.ts'
import { statusText, treeText } from '../../src/cli/commands/status.ts'
import { oneLine } from '../../src/cli/exit.ts'
import { octetsText, spanText, tableText } from '../../src/cli/format.ts'

test.each([
  [0, '0 B'],
  [1_023, '1023 B'],
  [1_536, '1.5 KiB'],
  [10_240_000, '9.8 MiB'],
  [2 ** 40, '1.0 TiB'],
])('%d octets are %s', (octets, text) => {
  expect(octetsText(octets)).toBe(text)
})

test.each([
  [-5, '0s'],
  [999, '0s'],
  [61_000, '1m 1s'],
  [3_600_000, '1h'],
  [90_061_000, '1d 1h'],
])('%d ms are %s', (ms, text) => {
  expect(spanText(ms)).toBe(text)
})

test('columns are as wide as their widest cell, and controls do not reach the terminal', () => {
  expect(
    tableText(
      [{ title: 'A' }, { title: 'N', right: true }, { title: 'Z' }],
      [
        ['abc', '1', 'x\x1b[31m'],
        ['d', '22', ''],
      ],
    ),
  ).toBe('A     N  Z\nabc   1  x?[31m\nd    22\n')
})

test('an error is one line, whatever was in it', () => {
  expect(oneLine('a\r\n  b\x07c')).toBe('a b?c')
})

describe('the queue', () => {
  const mail = {
    queueId: '0HOCT1J00XK0002KE9',
    queueName: 'deferred' as const,
    arrivedAt: 1_000_000,
    size: 4_096,
    sender: 'ann@a.test',
    forcedExpire: false,
    recipients: [
      {
        address: 'bob@b.test',
        destination: 'smtp:b.test',
        attempts: 2,
        nextAttempt: 1_090_000,
        reason: 'connection refused\x1b',
        bounceReason: null,
      },
      {
        address: 'eve@c.test',
        destination: 'smtp:c.test',
        attempts: 0,
        nextAttempt: 0,
        reason: null,
        bounceReason: null,
      },
    ],
  }

  test('shows age, size, sender, and for each recipient what it waits for', () => {
    expect(listingText(mail, 1_060_000)).toBe(
      [
        '0HOCT1J00XK0002KE9  1m         4.0 KiB  <ann@a.test>  deferred',
        '    bob@b.test  next try in 30s, tried 2 times',
        '      connection refused?',
        '    eve@c.test  due',
        '',
      ].join('\n'),
    )
  })

  test('of mail on hold says so', () => {
    expect(listingText({ ...mail, queueName: 'hold' }, 1_060_000)).toContain('bob@b.test  on hold')
  })
})

test('a tree shows who is below whom', () => {
  const node = (name: string, children: Parameters<typeof treeText>[0][] = []) => ({
    name,
    id: 1,
    thread: 0,
    state: 'idle',
    restarts: 0,
    queueLength: 0,
    handled: 0,
    children,
  })
  const names = treeText(node('root', [node('a', [node('b')]), node('c')]))
    .split('\n')
    .slice(1)
    .map((line) => line.replace(/ {2,}\d.*$/, ''))
  expect(names).toEqual(['root', '├─ a', '│  └─ b', '└─ c', ''])
})

test('status fits a service that did nothing yet', () => {
  const text = statusText({
    hostname: 'mail.test',
    version: '1.2.3',
    pid: 42,
    startedAt: 0,
    uptimeMs: 61_000,
    listeners: [{ service: 'pop3', address: '127.0.0.1:1110', tls: 'off', accepted: 0, refused: 0 }],
    sessions: {},
    pop3: {
      logins: 0,
      failedLogins: 0,
      fetchedMails: 0,
      fetchedOctets: 0,
      removedMails: 0,
      input: 0,
      output: 0,
    },
    queue: { incoming: 0, active: 0, deferred: 3, hold: 0, corrupt: 0 },
    delivery: {
      results: {},
      accepted: 0,
      refused: 0,
      notices: {},
      recipientsInMemory: 0,
      running: 0,
      waiting: 0,
      sites: 0,
      deadSites: 0,
      commits: 0,
      heldUp: 0,
    },
    deliveryTls: [],
    cache: {
      since: 0,
      destinationHits: 0,
      destinationMisses: 0,
      endpointHits: 0,
      endpointMisses: 0,
      maxDestinations: 0,
      maxEndpoints: 0,
      maxSessions: 0,
      total: { destinationHits: 0, destinationMisses: 0, endpointHits: 0, endpointMisses: 0 },
      connections: { saved: 0, lent: 0, expired: 0, retired: 0, evicted: 0, flushed: 0, lost: 0, held: 0 },
      savings: { hits: 0, misses: 0, handshakesSpared: 0, msSpared: 0, destinations: [] },
    },
    pools: [],
    threads: [{ pool: 'storage', thread: 1, actors: 2, utilization: 0.254, heapBytes: 2 ** 20 }],
    rssBytes: 2 ** 27,
  })
  for (const part of [
    'mail.test',
    'process 42',
    'up 1m 1s',
    '3 deferred',
    '127.0.0.1:1110',
    '25%',
    'not asked yet',
  ]) {
    expect(text).toContain(part)
  }
})

test('the tree shows the last crash where there was one', () => {
  const node = {
    name: 'a',
    id: 1,
    thread: 0,
    state: 'idle',
    restarts: 1,
    queueLength: 0,
    handled: 0,
    children: [],
  }
  expect(treeText(node)).not.toContain('LAST CRASH')
  expect(treeText({ ...node, lastCrash: 'disk is full' })).toMatch(/LAST CRASH\n.*disk is full/)
})
