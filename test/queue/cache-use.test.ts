/** When deliveries look for idle connections and leave theirs behind: acceptance cases L about the scheduler. */
import { describe, expect, test } from 'vitest'
import { Site } from '../../src/queue/site.ts'
import type { Transport } from '../../src/queue/transport.ts'

const transport = {
  settings: {
    window: { initial: 5, limit: 20, positive: () => 1, negative: () => 1, failedCohortLimit: 1 },
  },
} as unknown as Transport

const neither = { load: false, store: false }
const both = { load: true, store: true }
const loadOnly = { load: true, store: false }

function site(always = false): Site {
  return new Site('smtp:d.test', transport, 'd.test', always)
}

/** What the next delivery of a site does at `now`, which is then running. */
function next(of: Site, now: number, onDemand = true): object {
  of.busy++
  return of.cacheUse(now, onDemand)
}

describe('use of the cache', () => {
  test('L09 five mails at once for an idle site: none of them', () => {
    const idle = site()
    expect([1, 2, 3, 4, 5].map(() => next(idle, 10_000))).toEqual([
      neither,
      neither,
      neither,
      neither,
      neither,
    ])
  })

  test('L10 back to back: both; while there are several, they stay; alone and later: looking only', () => {
    const busy = site()
    busy.lastDone = 9_000
    expect(next(busy, 10_000)).toEqual(both)
    expect(next(busy, 15_000)).toEqual(both)
    busy.busy = 0
    busy.lastDone = 15_000
    expect(next(busy, 16_001)).toEqual(loadOnly)
    busy.busy = 0
    busy.lastDone = 20_000
    expect(next(busy, 20_500)).toEqual(both)
  })

  test('L10 a second and a millisecond is not back to back', () => {
    const slow = site()
    slow.lastDone = 8_999
    expect(next(slow, 10_000)).toEqual(neither)
  })

  test('L12 not on demand: neither; for listed destinations: both', () => {
    const busy = site()
    busy.lastDone = 10_000
    expect(next(busy, 10_000, false)).toEqual(neither)
    expect(next(site(true), 10_000, false)).toEqual(both)
  })

  test('L43 a site in trouble has to be back to back again', () => {
    const troubled = site()
    troubled.lastDone = 10_000
    expect(next(troubled, 10_000)).toEqual(both)
    troubled.die({ dsn: '4.4.1', reason: 'no' }, 20_000)
    troubled.revive()
    troubled.busy = 0
    expect(next(troubled, 21_000)).toEqual(neither)
    troubled.lastDone = 21_500
    troubled.busy = 0
    expect(next(troubled, 22_000)).toEqual(both)
  })
})
