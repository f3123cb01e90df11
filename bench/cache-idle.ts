/**
 * What does a lookup and a save cost while many connections are idle, real ones? `node bench/cache-idle.ts [IDLE] [CYCLES]`,
 * 10,000 and 100,000 by default, a minute. Each is one descriptor here and one of the server, a process of its own.
 *
 * Deliveries to as many addresses of 127/8 leave the connections behind. Then the cache actor is asked as the queue asks
 * it, `findDestination` and `save`, in this thread: what is timed is the message there, its handler and the answer.
 */
import { readdirSync } from 'node:fs'
import { destinationLabel } from '../src/cache/labels.ts'
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
const sink = await TlsSink.start({ tls: false, host: '0.0.0.0' })
await start({
  cache: { ttl_limit: forever },
  smtp: { connection_cache_time_limit: forever, tls_security_level: 'none' },
})
await startKeeper()
await reported.last()
const before = descriptors()
const nexthopOf = (index: number): string =>
  `[127.${20 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}]:${sink.port}`
const begun = performance.now()
for (let index = 0; index < idle; index++) {
  run({ nexthop: nexthopOf(index), cacheConnection: true })
  await reported.last()
}
const { maxSessions } = await cache().ask('stats')
const held = descriptors()
console.log(
  `${maxSessions} idle connections, ${held - before} descriptors, ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB, made in ${((performance.now() - begun) / 1_000).toFixed(0)} s`,
)

let found = 0
const samples: number[] = []
for (let round = 0; round < 10; round++) {
  const since = process.hrtime.bigint()
  for (let n = 0; n < cycles / 10; n++) {
    // Some stride, so that neighbours in time are none in memory.
    const nexthop = nexthopOf((n * 7_919 + round) % idle)
    const destination = destinationLabel({ transport: 'smtp', nexthop })
    const lease = await cache().ask('findDestination', destination)
    if (lease === null) continue
    found++
    const { keeper, connection, endpoint, setupMs } = lease
    const facts = { unbind: '', ttlMs: forever, setupMs, relay: nexthop, tls: false, uses: 1 }
    cache().tell('save', { keeper, connection, destination, endpoint, ...facts })
  }
  samples.push(Number(process.hrtime.bigint() - since) / 1_000 / (cycles / 10))
}
await cache().ask('stats')
samples.sort((a, b) => a - b)
const after = descriptors()
console.log(
  `${cycles} cycles, ${found} found: find and save ${samples[5]!.toFixed(1)} us (${samples[0]!.toFixed(1)} to ${samples[9]!.toFixed(1)}), messages included; ${after - held} descriptors more than before`,
)
await system.stop()
await sink.stop()
process.exitCode = maxSessions === idle && found === cycles && Math.abs(after - held) <= 2 ? 0 : 1
