/**
 * Do kept connections leave anything behind? `node bench/cache-cycles.ts [CYCLES]`, 100,000 by default, some minutes.
 *
 * Deliveries one after the other to a server that hangs up now and then, with flushes in between: connections are made,
 * kept, lent, used again, found dead, expired and closed. Open descriptors and memory are counted on the way.
 */
import { readdirSync } from 'node:fs'
import {
  cache,
  reported,
  run,
  runLeased,
  start,
  startKeeper,
  system,
} from '../test/protocols/smtp/client/cached-deliveries.ts'
import { SmtpSink } from '../test/support/smtp-sink.ts'

const cycles = Number(process.argv[2] ?? 100_000)
const sink = await SmtpSink.start({ keep: false })
await start({ cache: { ttl_limit: 20 } })
await startKeeper()
await reported.last()
const descriptors = (): number => readdirSync('/proc/self/fd').length
const heapMiB = (): string => (process.memoryUsage().rss / 2 ** 20).toFixed(0)
const before = descriptors()
console.log(`${before} descriptors, ${heapMiB()} MiB before`)

const begun = performance.now()
let leases = 0
for (let cycle = 1; cycle <= cycles; cycle++) {
  const request = { nexthop: sink.nexthop, cacheConnection: cycle % 11 !== 0, queueId: `q${cycle}` }
  if (cycle % 13 === 0) run(request)
  else if ((await runLeased(request)) !== null) leases++
  await reported.last()
  if (cycle % 50 === 0) await cache().ask('flush')
  if (cycle % 70 === 0) sink.hangUp()
  // Expiry needs time to pass.
  if (cycle % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 30))
  if (cycle % (cycles / 10) === 0)
    console.log(`${cycle} cycles: ${descriptors()} descriptors, ${heapMiB()} MiB`)
}
const seconds = (performance.now() - begun) / 1_000
await cache().ask('flush')
sink.hangUp()
await new Promise((resolve) => setTimeout(resolve, 200))
const after = descriptors()
const { savings } = await cache().ask('stats')
console.log(
  `${cycles} deliveries over ${sink.connections} connections in ${seconds.toFixed(0)} s, ${leases} leases, ${savings.handshakesSpared} handshakes spared; ${after} descriptors after`,
)
await system.stop()
await sink.stop()
process.exitCode = after > before + 2 || sink.count !== cycles ? 1 : 0
