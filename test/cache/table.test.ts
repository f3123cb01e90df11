/** The data model of the connection cache; ids are those of the acceptance cases. */
import { describe, expect, test } from 'vitest'
import { destinationLabel, endpointLabel } from '../../src/cache/labels.ts'
import { CacheTable, type Entry } from '../../src/cache/table.ts'
import { Random } from '../../src/testing/random.ts'
import { chosenSeed } from '../support/seed.ts'

const ttl = 2_000

function tableOf(): {
  table: CacheTable<string>
  save: (key: string, destination: string, endpoint: string, now?: number) => void
} {
  const table = new CacheTable<string>(0)
  return {
    table,
    save: (key, destination, endpoint, now = 0) => {
      const expiresAt = now + ttl
      if (destination !== '') table.saveDestination({ destination, endpoint, properties: '', expiresAt })
      table.saveEndpoint({ handle: key, endpoint, properties: '', expiresAt })
    },
  }
}

describe('the two layers', () => {
  test('L19 sessions of an endpoint come out in the order they went in', () => {
    const { table, save } = tableOf()
    save('A', '', 'e')
    save('B', '', 'e')
    expect(table.findEndpoint('e', 1)?.handle).toBe('A')
    expect(table.findEndpoint('e', 1)?.handle).toBe('B')
    expect(table.findEndpoint('e', 1)).toBeUndefined()
  })

  test('L20 a binding saved again lives longer and stays one', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e', 0)
    save('B', 'd', 'e', 1_000)
    table.findEndpoint('e', 1_100)
    table.findEndpoint('e', 1_100)
    save('C', '', 'e', 2_500)
    expect(table.findDestination('d', 2_900)?.entry.handle).toBe('C')
    save('D', '', 'e', 2_950)
    expect(table.findDestination('d', 3_000)).toBeUndefined()
  })

  test('a binding saved again with less time ends then, and comes last when it is saved once more', () => {
    const table = new CacheTable<string>(0)
    const bind = (endpoint: string, expiresAt: number) =>
      table.saveDestination({ destination: 'd', endpoint, properties: '', expiresAt })
    bind('e1', 2_000)
    bind('e2', 3_000)
    bind('e1', 1_000)
    table.expire(1_000)
    bind('e1', 4_000)
    for (const endpoint of ['e1', 'e2'])
      table.saveEndpoint({ handle: endpoint, endpoint, properties: '', expiresAt: 4_000 })
    expect(table.findDestination('d', 1_001)?.entry.handle).toBe('e2')
    expect(table.findDestination('d', 1_002)?.entry.handle).toBe('e1')
    table.expire(4_000)
    expect([...table.bindings()]).toEqual([])
    expect(table.nextExpiry()).toBeUndefined()
  })

  test('L22 a binding without a session is passed over and kept', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e1')
    save('B', 'd', 'e2')
    table.findEndpoint('e1', 1)
    expect(table.findDestination('d', 1)?.entry.handle).toBe('B')
    save('C', '', 'e1')
    expect(table.findDestination('d', 2)?.entry.handle).toBe('C')
  })

  test('L23 one session: hit, then miss', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e')
    expect(table.findDestination('d', 1)?.entry.handle).toBe('A')
    expect(table.findDestination('d', 1)).toBeUndefined()
  })

  test('L24 a session taken by its address is not found by its destination', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e')
    table.findEndpoint('e', 1)
    expect(table.findDestination('d', 1)).toBeUndefined()
    save('B', '', 'e')
    expect(table.findDestination('d', 1)?.entry.handle).toBe('B')
  })

  test('what is over is not found, expired or not', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e')
    expect(table.findDestination('d', ttl)).toBeUndefined()
    expect(table.findEndpoint('e', ttl)).toBeUndefined()
    expect(table.expire(ttl).map(({ handle }) => handle)).toEqual(['A'])
    expect(table.nextExpiry()).toBeUndefined()
  })

  test('expiry says when it has to look again, and forgets everything in the end', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e', 0)
    save('B', 'd', 'f', 550)
    const first = table.nextExpiry()!
    expect(first).toBe(2_000)
    expect(table.expire(first).map(({ handle }) => handle)).toEqual(['A'])
    const second = table.nextExpiry()!
    expect(second).toBeGreaterThanOrEqual(2_550)
    expect(second).toBeLessThanOrEqual(2_650)
    expect(table.expire(second).map(({ handle }) => handle)).toEqual(['B'])
    expect(table.nextExpiry()).toBeUndefined()
    expect(table.size).toBe(0)
  })

  test('a removed session is gone, and removing it again does nothing', () => {
    const { table, save } = tableOf()
    const entry = table.saveEndpoint({ handle: 'A', endpoint: 'e', properties: '', expiresAt: ttl })
    save('B', 'd', 'e')
    save('C', '', 'e')
    table.remove(entry)
    table.remove(entry)
    expect(table.size).toBe(2)
    expect(table.findDestination('d', 1)?.entry.handle).toBe('B')
    expect(table.findEndpoint('e', 1)?.handle).toBe('C')
    table.remove(entry)
    expect(table.size).toBe(0)
    expect(table.expire(10 * ttl)).toEqual([])
  })

  test('random saves, finds, removals and expiries: as a plain list would have it', () => {
    const seed = chosenSeed()
    const numbers = new Random(seed)
    const draw = (below: number): number => numbers.below(below)
    const table = new CacheTable<number>(0)
    let plain: Entry<number>[] = []
    let now = 0
    for (let step = 0; step < 20_000; step++) {
      now += draw(20)
      const endpoint = `e${draw(5)}`
      switch (draw(4)) {
        case 0: {
          const entry = { handle: step, endpoint, properties: '', expiresAt: now + 1 + draw(3_000) }
          plain.push(table.saveEndpoint(entry))
          break
        }
        case 1: {
          const found = table.findEndpoint(endpoint, now)
          const wanted = plain.find((one) => one.endpoint === endpoint && one.expiresAt > now)
          expect(found).toBe(wanted)
          plain = plain.filter((one) => one !== found)
          break
        }
        case 2: {
          const [entry] = plain.slice(draw(plain.length + 1))
          if (entry === undefined) break
          table.remove(entry)
          plain = plain.filter((one) => one !== entry)
          break
        }
        default: {
          for (const entry of table.expire(now)) {
            expect(plain).toContain(entry)
            plain = plain.filter((one) => one !== entry)
          }
        }
      }
      expect(table.size).toBe(plain.length)
    }
    expect(new Set(table.entries())).toEqual(new Set(plain))
  })

  test('many sessions: each comes out once', () => {
    const { table, save } = tableOf()
    for (let i = 0; i < 10_000; i++) save(`s${i}`, `d${i % 100}`, `e${i % 1_000}`, i % 500)
    const seen = new Set<string>()
    for (let i = 0; i < 5_000; i++) seen.add(table.findDestination(`d${i % 100}`, 600)!.entry.handle)
    for (const { handle } of table.expire(5_000)) seen.add(handle)
    expect(seen.size).toBe(10_000)
    expect(table.nextExpiry()).toBeUndefined()
  })
})

describe('statistics', () => {
  test('L28 finding by destination counts nothing for endpoints', () => {
    const { table, save } = tableOf()
    save('A', 'd', 'e')
    table.findDestination('d', 1)
    table.findDestination('x', 1)
    table.findEndpoint('y', 1)
    expect(table.statistics()).toMatchObject({
      destinationHits: 1,
      destinationMisses: 1,
      endpointHits: 0,
      endpointMisses: 1,
    })
  })

  test('peaks are those of the interval and start from zero', () => {
    const { table, save } = tableOf()
    save('A', 'd1', 'e1')
    save('B', 'd1', 'e2')
    save('C', 'd2', 'e2')
    expect(table.statistics()).toMatchObject({ maxDestinations: 2, maxEndpoints: 2, maxSessions: 3 })
    table.resetStatistics(10)
    expect(table.statistics()).toMatchObject({
      since: 10,
      maxDestinations: 0,
      maxEndpoints: 0,
      maxSessions: 0,
    })
  })
})

describe('labels', () => {
  test('are readable', () => {
    expect(destinationLabel({ transport: 'smtp', nexthop: '[127.0.0.1]:2526' })).toBe(
      'smtp - [127.0.0.1]:2526 0',
    )
    expect(endpointLabel({ transport: 'smtp', address: '::1', port: 25 })).toBe('smtp - - - ::1 25 - 0')
  })

  test('L32 L33 L34 what must not be shared has different labels', () => {
    const base = { transport: 'smtp', nexthop: 'd.test' }
    const labels = [
      base,
      { ...base, transport: 'lmtp' },
      { ...base, nexthop: 'e.test' },
      { ...base, smtputf8: true },
      { ...base, sender: 'a@b' },
      { ...base, sender: '-' },
      { ...base, sender: 'a b' },
      { ...base, sender: '=YSBi' },
    ].map(destinationLabel)
    expect(new Set(labels).size).toBe(labels.length)
  })

  test('fields cannot run into each other', () => {
    expect(destinationLabel({ transport: 'a', nexthop: 'b c' })).not.toBe(
      destinationLabel({ transport: 'a', sender: 'b', nexthop: 'c' }),
    )
  })
})
