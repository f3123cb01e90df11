/**
 * Systems with threads are started and stopped, one after the other, every third with a thread killed in between: what
 * stays behind of them? Prints what the process has after each tenth of the way; the first and the last line should agree.
 *
 *     npm run bench -- cycles          1,000 of them, some minutes; CYCLES=100 for fewer
 */
import { readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { holder } from './actors/ours-holder.js'
import { ours } from './actors/ours-library.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void
const cycles = Number(process.env.CYCLES ?? 1_000)

async function cycle(i: number): Promise<void> {
  const system = await ours.ActorSystem.start({
    pools: { work: { minThreads: 2 } },
    children: [{ id: 'here', actor: holder }],
  })
  const ref = system.spawn(holder, undefined, { placement: { pool: 'work' } })
  const open = ref.ask('hold').catch(() => {})
  await ref.ask('ready')
  if (i % 3 === 0) system.killThread(ref.thread)
  await system.stop()
  await open
}

async function report(done: number): Promise<void> {
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    collect()
  }
  const count = (dir: string): number => readdirSync(dir).length
  const { heapUsed, arrayBuffers, rss } = process.memoryUsage()
  const active = process.getActiveResourcesInfo()
  const mib = (octets: number): number => Math.round(octets / 2 ** 17) / 8
  const facts = {
    cycles: done,
    threads: count('/proc/self/task'),
    files: count('/proc/self/fd'),
    ports: active.filter((one) => one === 'MessagePort').length,
    timers: active.filter((one) => one === 'Timeout').length,
    heapMib: mib(heapUsed),
    buffersMib: mib(arrayBuffers),
    rssMib: mib(rss),
  }
  console.log(JSON.stringify(facts))
}

for (let i = 0; i < 10; i++) await cycle(i)
await report(0)
for (let i = 1; i <= cycles; i++) {
  await cycle(i)
  if (i % Math.ceil(cycles / 10) === 0) await report(i)
}
