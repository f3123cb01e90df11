/** What may die while connections are idle or lent: the cache, the keeper, the server. Mails arrive once, and nothing stays open. */
import { readdirSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Lease } from '../../../../src/cache/contract.ts'
import { SmtpSink } from '../../../support/smtp-sink.ts'
import {
  cache,
  reported,
  run,
  runLeased,
  start,
  startKeeper,
  system,
  until,
  untilIdle,
} from './cached-deliveries.ts'
import { outcome } from './harness.ts'

let sink: SmtpSink
let reports: number
let mails: number

beforeEach(async () => {
  sink = await SmtpSink.start()
  reports = 1
  mails = 0
  await start({ cache: { ttl_limit: 60_000 }, smtp: { connection_cache_time_limit: 60_000 } })
  await startKeeper()
})
afterEach(async () => {
  await system.stop()
  await sink.stop()
})

const descriptors = (): number => readdirSync('/proc/self/fd').length

/** Idle connections; undefined: there is no cache just now. */
const held = async (): Promise<number | undefined> => {
  try {
    return (await cache()?.ask('list'))?.length
  } catch {
    return undefined
  }
}

/** Mails at the same time, and so as many connections. */
async function sendTogether(count: number): Promise<void> {
  for (let n = 0; n < count; n++) run({ nexthop: sink.nexthop, cacheConnection: true })
  mails += count
  reports += count
  await reported.next(reports)
}

/** One mail over a connection that is kept, if there is one. */
async function send(): Promise<Lease | null> {
  const lease = await runLeased({ nexthop: sink.nexthop, cacheConnection: true })
  mails += 1
  reports += 1
  expect(outcome(await reported.next(reports))).toEqual(['sent'])
  return lease
}

async function untilKept(): Promise<void> {
  await until(async () => cache() !== undefined && (await send()) !== null)
  await untilAtRest()
}

/** Each connection that the server has is an idle one of the cache, and all that were kept are accounted for. */
async function untilAtRest(): Promise<void> {
  await until(async () => (await held()) === sink.open)
  const { saved, ...rest } = (await cache().ask('stats')).connections
  expect(Object.values(rest).reduce((sum, count) => sum + count)).toBe(saved)
}

test.each(['CONNECT', 'EHLO', 'RCPT', '.'])(
  'a delivery that is killed at %s leaves nothing open',
  async (moment) => {
    let isThere = false
    const stalling = await SmtpSink.start({
      misbehave(verb) {
        if (verb !== moment) return undefined
        isThere = true
        return 'stall'
      },
    })
    try {
      const ref = run({ nexthop: stalling.nexthop, cacheConnection: true })
      await until(async () => isThere)
      expect(stalling.open).toBe(1)
      system.kill(ref)
      await until(async () => stalling.open === 0)
    } finally {
      await stalling.stop()
    }
  },
)

describe.each<[string, (lease: Lease) => void]>([
  ['the cache is killed', () => system.kill(cache())],
  ['the cache crashes', () => cache().tell('save', null as never)],
  ['the keeper is killed', ({ keeper }) => system.kill(keeper)],
])('%s', (_, strike) => {
  test('with connections idle and one lent: all are closed, mails go out, and are kept for again', async () => {
    const before = descriptors()
    await sendTogether(4)
    await untilIdle(4)
    const lease = await runLeased({ nexthop: sink.nexthop, cacheConnection: true })
    expect(lease).not.toBeNull()
    strike(lease!)
    mails += 1
    reports += 1
    expect(outcome(await reported.next(reports))).toEqual(['sent'])
    await untilKept()
    expect(sink.count).toBe(mails)
    await cache().ask('flush')
    await until(async () => sink.open === 0 && descriptors() <= before)
  })

  test('while what was lent is held in hand: it goes to nobody, and the mail makes its own', async () => {
    await sendTogether(2)
    await untilIdle(2)
    const label = (await cache().ask('list'))[0]!.destinations[0]!
    const lease = (await cache().ask('findDestination', label))!
    strike(lease)
    await until(async () => (await held()) === 0)
    const { connection, endpoint, setupMs } = lease
    run({ nexthop: sink.nexthop, cacheConnection: true, lease: { connection, endpoint, setupMs } })
    mails += 1
    reports += 1
    expect(outcome(await reported.next(reports))).toEqual(['sent'])
    await untilKept()
    expect(sink.count).toBe(mails)
  })
})

describe('servers', () => {
  test.each<[string, (sink: SmtpSink) => void]>([
    ['reset', (server) => server.hangUp('reset')],
    ['half-closed', (server) => server.hangUp('half')],
    ['said goodbye on', (server) => server.say('421 4.4.2 idle for too long\r\n')],
    ['sent stray octets', (server) => server.say('\x00\xff')],
    ['sent a line that is no reply', (server) => server.say('hello\r\n')],
    ['sent more than any reply', (server) => server.say('x'.repeat(100_000))],
  ])(
    'connections that are %s are gone at once, without a word of ours, and without a mail lost',
    async (_, strike) => {
      const before = descriptors()
      await sendTogether(5)
      await untilIdle(5)
      strike(sink)
      await until(async () => sink.open === 0)
      await untilAtRest()
      expect((await cache().ask('stats')).connections.retired).toBe(5)
      await untilKept()
      expect(sink.count).toBe(mails)
      await cache().ask('flush')
      await until(async () => descriptors() <= before)
    },
  )

  test('one that restarts between two mails', async () => {
    await sendTogether(3)
    await untilIdle(3)
    const { port } = sink
    await sink.stop()
    const taken = sink.count
    sink = await SmtpSink.start({ port })
    await untilKept()
    expect(taken + sink.count).toBe(mails)
  })
})
