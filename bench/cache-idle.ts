/**
 * What does a lookup and a save cost while many connections are idle? `node bench/cache-idle.ts [IDLE] [CYCLES]`, 10,000 and
 * 100,000 by default, a minute.
 *
 * Deliveries to as many addresses of 127/8 leave real connections behind, each one descriptor here and one of the server, a
 * process of its own. What is more than the limit of open files allows is held by a keeper that has nothing: for the cache
 * the same. Then the cache actor is asked as the queue asks it, `findDestination` and `save`, in this thread: what is timed
 * is the CPU time of the message there, its handler and the answer; and of its table alone.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { type ActorRef, actor } from '../src/actors/index.ts'
import type { KeeperContract } from '../src/cache/contract.ts'
import { destinationLabel } from '../src/cache/labels.ts'
import { CacheTable } from '../src/cache/table.ts'
import {
  cache,
  reported,
  run,
  start,
  startKeeper,
  system,
} from '../test/protocols/smtp/client/cached-deliveries.ts'
import { TlsSink } from './harness/tls-sink.ts'

const idle = Number(process.argv[2] ?? 10_000)
const cycles = Number(process.argv[3] ?? 100_000)
/** Longer than all this takes. */
const forever = 3_600_000

const descriptors = (): number => readdirSync('/proc/self/fd').length
const openFiles = Number(
  /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1_024,
)
const real = Math.min(idle, openFiles - 500)

let standIn: ActorRef<KeeperContract> | undefined
const emptyHanded = actor<KeeperContract>({
  name: 'empty-handed',
  module: import.meta.url,
  init(context) {
    standIn = context.self
    return { close() {} }
  },
})

const sink = await TlsSink.start({ tls: false, host: '0.0.0.0' })
await start({
  cache: { ttl_limit: forever, max_connections: idle },
  smtp: { connection_cache_time_limit: forever, tls_security_level: 'none' },
})
await startKeeper()
await reported.last()
const before = descriptors()
const nexthopOf = (index: number): string =>
  `[127.${20 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}]:${sink.port}`
const facts = { unbind: '', ttlMs: forever, setupMs: 1, relay: 'mx.test[192.0.2.1]:25', tls: false, uses: 1 }
const begun = performance.now()
for (let index = 0; index < real; index++) {
  run({ nexthop: nexthopOf(index), cacheConnection: true })
  await reported.last()
}
cache().tell('startKeeper', emptyHanded, cache())
await cache().ask('stats')
for (let index = real; index < idle; index++) {
  const destination = destinationLabel({ transport: 'smtp', nexthop: nexthopOf(index) })
  cache().tell('save', { keeper: standIn!, connection: index, destination, endpoint: `e ${index}`, ...facts })
  if (index % 500 === 0) await cache().ask('stats')
}
const { maxSessions } = await cache().ask('stats')
const held = descriptors()
console.log(
  `${maxSessions} idle connections, ${held - before} descriptors, ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB, made in ${((performance.now() - begun) / 1_000).toFixed(0)} s`,
)

let found = 0
const samples: number[] = []
for (let round = 0; round < 10; round++) {
  const since = cpuMicroseconds()
  for (let n = 0; n < cycles / 10; n++) {
    // Some stride, so that neighbours in time are none in memory.
    const nexthop = nexthopOf((n * 7_919 + round) % idle)
    const destination = destinationLabel({ transport: 'smtp', nexthop })
    const lease = await cache().ask('findDestination', destination)
    if (lease === null) continue
    found++
    const { keeper, connection, endpoint } = lease
    cache().tell('save', { keeper, connection, destination, endpoint, ...facts })
  }
  samples.push((cpuMicroseconds() - since) / (cycles / 10))
}
await cache().ask('stats')
samples.sort((a, b) => a - b)
const after = descriptors()
console.log(
  `${cycles} cycles, ${found} found: find and save ${samples[5]!.toFixed(1)} us (${samples[0]!.toFixed(1)} to ${samples[9]!.toFixed(1)}), messages included; ${after - held} descriptors more than before`,
)
console.log(`the table alone, with as many: ${tableAlone().toFixed(1)} us`)
await system.stop()
await sink.stop()
process.exitCode = maxSessions === idle && found === cycles && Math.abs(after - held) <= 2 ? 0 : 1

/** What this thread has used: others may have the machine meanwhile. */
function cpuMicroseconds(): number {
  const { user, system: kernel } = process.threadCpuUsage()
  return user + kernel
}

/** The same in the table that the actor has: median of ten rounds, microseconds. */
function tableAlone(): number {
  const table = new CacheTable<number>(0)
  const labels = Array.from({ length: idle }, (_, index) =>
    destinationLabel({ transport: 'smtp', nexthop: nexthopOf(index) }),
  )
  const save = (index: number, now: number) => {
    const [destination, endpoint, expiresAt] = [labels[index]!, `e ${index}`, now + forever]
    table.saveDestination({ destination, endpoint, properties: '', expiresAt })
    table.saveEndpoint({ handle: index, endpoint, properties: '', expiresAt })
  }
  for (let index = 0; index < idle; index++) save(index, 0)
  const rounds: number[] = []
  for (let round = 0; round < 10; round++) {
    const since = cpuMicroseconds()
    for (let n = 0; n < cycles / 10; n++) {
      const index = (n * 7_919 + round) % idle
      if (table.findDestination(labels[index]!, n) !== undefined) save(index, n)
    }
    rounds.push((cpuMicroseconds() - since) / (cycles / 10))
  }
  return rounds.sort((a, b) => a - b)[5]!
}
