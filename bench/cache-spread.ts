/**
 * Many destinations, few of them busy: how often does the cache help, and what does it hold for that?
 * `node bench/cache-spread.ts [MAILS] [OUT.svg]`, 20,000 by default, about a minute.
 *
 * 1,000 domains, each with a server of its own (an address of 127.10.0.0/16), get mail by Zipf's law: the n-th gets 1/n
 * of what the first gets. Settings are the defaults: on demand, two seconds. Each half second: hits and misses since
 * the last one, connections held. The plot has both over time.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { CacheReport, IdleRow } from '../src/cache/contract.ts'
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

function svg(samples: readonly Sample[]): string {
  const [width, height, left, top] = [760, 260, 50, 30]
  const last = samples.at(-1)?.seconds ?? 1
  const most = Math.max(1, ...samples.map(({ held }) => held))
  const line = (value: (sample: Sample) => number, highest: number, colour: string) =>
    `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${samples
      .map((one) => {
        const x = left + (one.seconds / last) * width
        const y = top + height - (value(one) / highest) * height
        return `${x.toFixed(1)},${y.toFixed(1)}`
      })
      .join(' ')}"/>`
  const text = (x: number, y: number, words: string, colour = '#333') =>
    `<text x="${x}" y="${y}" font-family="sans-serif" font-size="12" fill="${colour}">${words}</text>`
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 60}" height="${top + height + 40}">`,
    '<rect width="100%" height="100%" fill="white"/>',
    `<path d="M${left} ${top}V${top + height}H${left + width}" fill="none" stroke="#999"/>`,
    line(({ hitPercent }) => hitPercent, 100, '#1b6ca8'),
    line(({ held }) => held, most, '#c0504d'),
    text(left, 18, `hit rate, 0 to 100 %`, '#1b6ca8'),
    text(left + 180, 18, `connections held, 0 to ${most}`, '#c0504d'),
    text(left, top + height + 20, '0 s'),
    text(left + width - 20, top + height + 20, `${last.toFixed(0)} s`),
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
const ask = async <T>(what: string): Promise<T> =>
  JSON.parse((await service.command(['cache', what, '--json'])).stdout) as T

const samples: Sample[] = []
let isDone = false
const begun = performance.now()
const sampling = (async () => {
  let before = { hits: 0, misses: 0 }
  while (!isDone) {
    const { savings } = await ask<CacheReport>('stats')
    const { length: held } = await ask<IdleRow[]>('list')
    const asked = savings.hits + savings.misses - before.hits - before.misses
    const hitPercent = asked === 0 ? 0 : (100 * (savings.hits - before.hits)) / asked
    before = { hits: savings.hits, misses: savings.misses }
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
  const { savings, maxSessions, maxDestinations } = await ask<CacheReport>('stats')
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
  writeFileSync(out, svg(samples))
} finally {
  isDone = true
  await service.stop()
  await sink.stop()
  await dns[Symbol.asyncDispose]()
  rmSync(dir, { recursive: true, force: true })
}
