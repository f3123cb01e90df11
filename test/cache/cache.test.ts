/** The cache actor with virtual time. Keepers are stand-ins that remember what they are told. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ActorRef, actor, killed, type Logger } from '../../src/actors/index.ts'
import { cacheActor } from '../../src/cache/cache.ts'
import { cacheSettings } from '../../src/cache/config.ts'
import type { CacheContract, IdleConnection, KeeperContract } from '../../src/cache/contract.ts'
import { defaults } from '../../src/config/schema.ts'
import { Random } from '../../src/testing/random.ts'
import { TestSystem } from '../../src/testing/test-system.ts'
import { chosenSeed } from '../support/seed.ts'

let system: TestSystem
let lines: Record<string, unknown>[]
let closed: number[]
let started: ActorRef<KeeperContract>[]
let kill: (() => void)[]

const keeper = actor<KeeperContract>({
  name: 'keeper',
  module: import.meta.url,
  init(context) {
    started.push(context.self)
    kill.push(() => context.exit(context.self, killed))
    return { close: (connection) => void closed.push(connection) }
  },
})

const logTo = (facts: object) => void lines.push(facts as Record<string, unknown>)
const log: Logger = {
  trace: () => {},
  debug: () => {},
  info: logTo,
  warn: logTo,
  error: logTo,
  fatal: logTo,
  isLevelEnabled: () => true,
}

beforeEach(async () => {
  lines = []
  closed = []
  started = []
  kill = []
  const settings = { config: { cache: defaults(cacheSettings) } }
  system = await TestSystem.start({
    settings,
    log,
    children: [{ id: 'cache', actor: cacheActor, args: undefined, registerAs: 'cache' }],
  })
  cache().tell('startKeeper', keeper, cache())
  await system.settle()
})
afterEach(() => system.stop())

const cache = () => system.whereis<CacheContract>('cache')!

function idle(connection: number, over: Partial<IdleConnection> = {}): IdleConnection {
  return {
    keeper: started[0]!,
    connection,
    destination: 'd',
    endpoint: 'e',
    unbind: '',
    ttlMs: 30_000,
    setupMs: 100,
    relay: 'mx.test[192.0.2.1]:25',
    tls: false,
    uses: 1,
    ...over,
  }
}

function save(connection: number, destination = 'd', endpoint = 'e', ttlMs = 30_000): void {
  cache().tell('save', idle(connection, { destination, endpoint, ttlMs }))
}

describe('the connection cache', () => {
  test('lends the oldest connection with its keeper', async () => {
    save(1)
    save(2)
    const lease = await cache().ask('findDestination', 'd')
    expect(lease).toMatchObject({ connection: 1, endpoint: 'e' })
    expect(lease!.keeper.id).toBe(started[0]!.id)
    expect(await cache().ask('findEndpoint', 'e', 'd', null)).toMatchObject({ connection: 2 })
    expect(await cache().ask('findDestination', 'd')).toBeNull()
  })

  test('L04 the ttl is capped, and expiry has the keeper say QUIT', async () => {
    save(1)
    await system.advance(1_900)
    expect(closed).toEqual([])
    expect(await cache().ask('list')).toHaveLength(1)
    await system.advance(250)
    expect(closed).toEqual([1])
    expect(await cache().ask('list')).toEqual([])
  })

  test('a connection that goes from mail to mail by itself counts as kept and used again', async () => {
    cache().tell('handedOn', 'd', 30)
    cache().tell('handedOn', 'd', 30)
    cache().tell('wasted', 'd', 30)
    const { destinationHits, connections, savings } = await cache().ask('stats')
    expect(destinationHits).toBe(2)
    expect(connections).toMatchObject({ saved: 2, lent: 2, held: 0 })
    expect(savings).toMatchObject({ hits: 2, handshakesSpared: 1, msSpared: 30 })
  })

  test('a lent connection is not closed', async () => {
    save(1)
    await cache().ask('findDestination', 'd')
    await system.advance(10_000)
    expect(closed).toEqual([])
  })

  test('L25 a ttl of zero or worse keeps nothing, and the cache lives', async () => {
    save(1, 'd', 'e', 0)
    save(2, 'd', 'e', Number.NaN)
    await system.settle()
    expect(closed).toEqual([1, 2])
    expect(await cache().ask('list')).toEqual([])
  })

  test('gone connections are forgotten', async () => {
    save(1)
    save(2)
    cache().tell('gone', [1], started[0]!)
    expect(await cache().ask('findDestination', 'd')).toMatchObject({ connection: 2 })
  })

  test('flush closes all and says how many', async () => {
    save(1)
    save(2, 'x', 'y')
    expect(await cache().ask('flush')).toBe(2)
    await system.settle()
    expect(closed).toEqual([1, 2])
  })

  test('what is too much makes room: the oldest goes first, with QUIT', async () => {
    const { max_connections: most } = defaults(cacheSettings)
    for (let connection = 1; connection <= most + 3; connection++) {
      save(connection, `d${connection}`, `e${connection}`)
      if (connection % 1_000 === 0) await system.settle()
    }
    await system.settle()
    expect(closed).toEqual([1, 2, 3])
    expect(await cache().ask('findDestination', 'd3')).toBeNull()
    expect(await cache().ask('findDestination', 'd4')).toMatchObject({ connection: 4 })
    // There is room for one again; the next takes the place of what is the oldest now.
    save(20_001)
    save(20_002)
    await system.settle()
    expect(closed).toEqual([1, 2, 3, 5])
    expect((await cache().ask('stats')).maxSessions).toBe(most)
    expect((await cache().ask('stats')).connections).toMatchObject({ evicted: 4, held: most })
  })

  test('a keeper that dies takes its connections with it', async () => {
    cache().tell('startKeeper', keeper, cache())
    await system.settle()
    save(1)
    cache().tell('save', idle(1, { keeper: started[1]!, destination: 'x', endpoint: 'y', ttlMs: 1_000 }))
    kill[0]!()
    await system.settle()
    expect(await cache().ask('findDestination', 'd')).toBeNull()
    expect(await cache().ask('findDestination', 'x')).not.toBeNull()
  })

  test('what became of the connections adds up, over all intervals, whatever happens in whatever order', async () => {
    const random = new Random(chosenSeed())
    cache().tell('startKeeper', keeper, cache())
    await system.settle()
    const wanted = { saved: 0, lent: 0, expired: 0, retired: 0, evicted: 0, flushed: 0, lost: 0, held: 0 }
    const lookups = { destinationHits: 0, destinationMisses: 0, endpointHits: 0, endpointMisses: 0 }
    for (let connection = 1; connection <= 400; connection++) {
      const endpoint = `e${random.below(6)}`
      const destination = `d${random.below(6)}`
      const number = random.below(2)
      const byKeeper = started[number]!
      const what = random.next()
      if (what < 0.5) {
        cache().tell('save', idle(connection, { keeper: byKeeper, destination, endpoint }))
        wanted.saved++
      } else if (what < 0.6) {
        const rows = await cache().ask('list')
        // One that is held, perhaps by the other keeper, and one that is not.
        const gone = rows.length === 0 ? connection : random.pick(rows).connection
        cache().tell('gone', [gone, 100_000], byKeeper)
        wanted.retired += rows.length - (await cache().ask('list')).length
      } else if (what < 0.72) {
        if ((await cache().ask('findDestination', destination)) === null) lookups.destinationMisses++
        else lookups.destinationHits++
      } else if (what < 0.84) {
        const only = random.chance(0.5) ? byKeeper : null
        if ((await cache().ask('findEndpoint', endpoint, destination, only)) === null)
          lookups.endpointMisses++
        else lookups.endpointHits++
      } else if (what < 0.97) {
        const before = (await cache().ask('list')).length
        await system.advance(random.pick([10, 700, 5_000]))
        wanted.expired += before - (await cache().ask('list')).length
      } else if (what < 0.98) wanted.flushed += await cache().ask('flush')
      else if (what < 0.985) {
        wanted.expired += (await cache().ask('list')).length
        await system.advance(600_000)
      }
      if (connection === 300) {
        const before = (await cache().ask('list')).length
        kill[0]!()
        await system.settle()
        wanted.lost = before - (await cache().ask('list')).length
        cache().tell('startKeeper', keeper, cache())
        await system.settle()
        started[0] = started.pop()!
      }
    }
    wanted.lent = lookups.destinationHits + lookups.endpointHits
    wanted.held = (await cache().ask('list')).length
    const { connections, total } = await cache().ask('stats')
    expect({ connections, total }).toEqual({ connections: wanted, total: lookups })
    const { saved, held, lent, expired, retired, flushed, lost } = connections
    expect(saved).toBe(held + lent + expired + retired + flushed + lost)
    expect(Math.min(lent, expired, retired)).toBeGreaterThan(0)
  })

  test('L27 statistics of each interval that had any, and at the end', async () => {
    for (const connection of [1, 2, 3, 4])
      save(connection, connection < 3 ? 'd1' : 'd2', `e${Math.min(connection, 3)}`)
    for (const label of ['d1', 'd1', 'd2', 'none']) await cache().ask('findDestination', label)
    await system.advance(600_000)
    const events = () => lines.filter(({ event }) => event === 'cache.statistics')
    expect(events()).toHaveLength(1)
    expect(events()[0]).toMatchObject({
      destinationHits: 3,
      destinationMisses: 1,
      destinationHitPercent: 75,
      maxDestinations: 2,
      maxEndpoints: 3,
      maxSessions: 4,
    })
    expect(events()[0]).not.toHaveProperty('endpointHitPercent')
    await system.advance(600_000)
    expect(events()).toHaveLength(1)
    await cache().ask('findEndpoint', 'e', 'd', null)
    await system.stop()
    expect(events()).toHaveLength(2)
    expect(events()[1]).toMatchObject({ endpointMisses: 1 })
  })
})
