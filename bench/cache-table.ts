/**
 * What does a lookup and a save in the connection cache cost? `node bench/cache-table.ts`, some seconds.
 *
 * The table alone, with so many idle connections in it: a delivery begins (find by destination), ends (save), as often
 * as it takes to be sure; and the same with finds by address and misses. The clock runs, so that expiry has its part.
 */
import { CacheTable } from '../src/cache/table.ts'

const ttlMs = 2_000
const rounds = 200_000

function filled(count: number): CacheTable<number> {
  const table = new CacheTable<number>(0)
  for (let i = 0; i < count; i++) save(table, i, i % ttlMs)
  return table
}

function save(table: CacheTable<number>, destination: number, now: number): void {
  const endpoint = `smtp - - - 192.0.2.${destination} 25 may 0`
  const expiresAt = now + ttlMs
  table.saveDestination({ destination: `smtp - d${destination}.test 0`, endpoint, properties: '', expiresAt })
  table.saveEndpoint({ handle: destination, endpoint, properties: '', expiresAt })
}

/** Microseconds for each call. */
function timed(what: (round: number) => void): number {
  const begun = process.hrtime.bigint()
  for (let round = 0; round < rounds; round++) what(round)
  return Number(process.hrtime.bigint() - begun) / 1_000 / rounds
}

for (const count of [100, 1_000, 10_000, 100_000]) {
  // Everything expires in its time and is put in again, as many as there are: the number stays.
  const table = filled(count)
  let now = ttlMs - 1
  const reuse = timed((round) => {
    const destination = round % count
    if (round % Math.max(1, Math.floor(rounds / 400)) === 0) {
      now += 5
      for (const { handle } of table.expire(now)) save(table, handle, now)
    }
    const found = table.findDestination(`smtp - d${destination}.test 0`, now)
    if (found !== undefined) save(table, found.entry.handle, now)
  })
  const byAddress = timed((round) => {
    const found = table.findEndpoint(`smtp - - - 192.0.2.${round % count} 25 may 0`, now)
    if (found !== undefined) save(table, found.handle, now)
  })
  const miss = timed((round) => {
    table.findDestination(`smtp - nowhere${round % 1_000}.test 0`, now)
  })
  console.log(
    `${String(count).padStart(7)} idle: find and save ${reuse.toFixed(2)} us, by address ${byAddress.toFixed(2)} us, miss ${miss.toFixed(2)} us`,
  )
}
