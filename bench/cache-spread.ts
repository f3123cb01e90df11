/**
 * Many destinations, few of them busy: how often does the cache help, and what does it hold for that?
 * `node bench/cache-spread.ts [MAILS] [OUT.svg]`, 20,000 by default, about a minute.
 *
 * 1,000 domains, each with a server of its own (an address of 127.10.0.0/16), get mail by Zipf's law: the n-th gets 1/n
 * of what the first gets. Settings are the defaults: on demand, two seconds. Each half second: hits and misses of the last
 * two seconds, connections held. The plot has both over time.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { CacheReport } from '../src/cache/contract.ts'
import { ControlClient } from '../src/cli/control-client.ts'
import { type Answer, NameServer } from '../test/dns/name-server.ts'
import { Service } from '../test/support/service.ts'
import { sendTraffic } from '../test/support/traffic.ts'
import { TlsSink } from './harness/tls-sink.ts'

const mails = Number(process.argv[2] ?? 20_000)
const out = process.argv[3] ?? fileURLToPath(new URL('results/cache-spread.svg', import.meta.url))
const domains = 1_000

interface Sample {
  readonly seconds: number
  readonly held: number
  readonly hitPercent: number
}

/** Domains by Zipf's law, the same in each run. */
function zipf(): () => number {
  const sums: number[] = []
  let sum = 0
  for (let rank = 1; rank <= domains; rank++) {
    sum += 1 / rank
    sums.push(sum)
  }
  let state = 1
  return () => {
    state = (state * 48_271) % 2_147_483_647
    const point = (state / 2_147_483_647) * sum
    return sums.findIndex((one) => one >= point)
  }
}

interface Panel {
  readonly title: string
  readonly unit: string
  readonly colour: string
  /** Upper end of the axis. */
  readonly most: number
  value(sample: Sample): number
}

/** A round number that is not below `value`, of which a quarter is round as well. */
function roundUp(value: number): number {
  const step = Math.max(4, 2 * 10 ** Math.floor(Math.log10(Math.max(1, value))))
  return Math.max(step, Math.ceil(value / step) * step)
}

/** One panel below the other, with the same time from left to right. */
function svg(samples: readonly Sample[], heading: string): string {
  const [left, width, height, gap, top] = [70, 720, 180, 60, 70]
  const last = samples.at(-1)?.seconds ?? 1
  const panels: readonly Panel[] = [
    {
      title: 'Lookups that found a connection, of the last two seconds',
      unit: ' %',
      colour: '#1b6ca8',
      most: 100,
      value: ({ hitPercent }) => hitPercent,
    },
    {
      title: 'Idle connections held',
      unit: '',
      colour: '#b5482a',
      most: roundUp(Math.max(...samples.map(({ held }) => held))),
      value: ({ held }) => held,
    },
  ]
  const text = (x: number, y: number, words: string, more = '') =>
    `<text x="${Number(x.toFixed(1))}" y="${Number(y.toFixed(1))}" ${more}>${words}</text>`
  const every = [1, 2, 5, 10, 20, 30, 60, 120].find((step) => last / step <= 10) ?? 300
  const drawn = panels.flatMap(({ title, unit, colour, most, value }, index) => {
    const above = top + index * (height + gap)
    const below = above + height
    const x = (seconds: number) => left + (seconds / last) * width
    const y = (amount: number) => below - (amount / most) * height
    const points = samples.map((one) => `${x(one.seconds).toFixed(1)},${y(value(one)).toFixed(1)}`)
    const levels = [0, 1, 2, 3, 4].map((quarter) => (most * quarter) / 4)
    const times = Array.from({ length: Math.floor(last / every) + 1 }, (_, n) => n * every)
    return [
      text(left, above - 12, title, `fill="${colour}" font-weight="bold"`),
      ...levels.map((level) => `<path d="M${left} ${y(level)}h${width}" stroke="#ddd"/>`),
      ...levels.map((level) => text(left - 8, y(level) + 4, `${level}${unit}`, 'text-anchor="end"')),
      ...times.map((time) => text(x(time), below + 18, `${time} s`, 'text-anchor="middle"')),
      `<polyline fill="none" stroke="${colour}" stroke-width="2" stroke-linejoin="round" points="${points.join(' ')}"/>`,
    ]
  })
  const size = [left + width + 40, top + panels.length * (height + gap)]
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.join(' ')}" font-family="sans-serif" font-size="13" fill="#333">`,
    `<title>${heading}: hit rate and connections held over time</title>`,
    '<rect width="100%" height="100%" fill="white"/>',
    text(left, 28, heading, 'font-size="16"'),
    ...drawn,
    '</svg>',
    '',
  ].join('\n')
}

const zone: Record<string, Answer> = {}
for (let i = 0; i < domains; i++) {
  zone[`MX d${i}.test`] = { records: [`MX 10 m${i}.test`] }
  zone[`A m${i}.test`] = { records: [`A 127.10.${i >> 8}.${i & 255}`] }
}
const dir = mkdtempSync(join(tmpdir(), 'spread-'))
const dns = await NameServer.start(zone)
const sink = await TlsSink.start({ tls: false, host: '0.0.0.0' })
const service = await Service.prepare({
  dir,
  listeners: ['smtp'],
  tables: `
[dns]
servers = ["${dns.address}"]
[net]
inet_protocols = ["ipv4"]
[smtp]
tcp_port = "${sink.port}"
`,
})
await service.run()
const control = new ControlClient(service.dataDir)
const stats = async () => (await control.request('cache.stats')) as CacheReport
async function heldNow(): Promise<number> {
  let count = 0
  const onItem = () => count++
  await control.request('cache.list', {}, { onItem })
  return count
}

const samples: Sample[] = []
let isDone = false
const begun = performance.now()
const sampling = (async () => {
  // A rate of what half a second brings jumps up and down: each point is about the last two.
  const seen = [{ hits: 0, misses: 0 }]
  while (!isDone) {
    const { savings } = await stats()
    const held = await heldNow()
    const before = seen[0]!
    const asked = savings.hits + savings.misses - before.hits - before.misses
    const hitPercent = asked === 0 ? 0 : (100 * (savings.hits - before.hits)) / asked
    seen.push({ hits: savings.hits, misses: savings.misses })
    if (seen.length > 4) seen.shift()
    samples.push({ seconds: (performance.now() - begun) / 1_000, held, hitPercent })
    await sleep(500)
  }
})()
try {
  const next = zipf()
  const recipients = Array.from({ length: mails }, (_, index) => `m${index}@d${next()}.test`)
  await sendTraffic({
    port: () => service.ports.smtp,
    count: mails,
    sessions: 4,
    perConnection: 500,
    recipient: (index) => recipients[index]!,
    deadlineMs: 300_000,
  })
  await sink.waitFor(mails, 300_000)
  isDone = true
  await sampling
  const { savings, maxSessions, maxDestinations } = await stats()
  const { connections } = await sink.counts()
  const asked = savings.hits + savings.misses
  console.log(
    [
      `${mails} mails to ${new Set(recipients.map((one) => one.split('@')[1])).size} of ${domains} destinations in ${((performance.now() - begun) / 1_000).toFixed(0)} s`,
      `${connections} connections: ${((1 - connections / mails) * 100).toFixed(1)} % of the mails needed none of their own`,
      `the cache was asked for ${asked} and had one for ${((100 * savings.hits) / asked).toFixed(1)} %`,
      `at most ${maxSessions} connections held, for ${maxDestinations} destinations`,
      `written: ${out}`,
    ].join('\n'),
  )
  mkdirSync(dirname(out), { recursive: true })
  const heading = `${mails} mails for ${domains} destinations by Zipf's law, defaults of the cache`
  writeFileSync(out, svg(samples, heading))
} finally {
  isDone = true
  await service.stop()
  await sink.stop()
  await dns[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
}
