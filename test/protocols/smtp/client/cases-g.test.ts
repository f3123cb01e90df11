/**
 * Acceptance cases of group G: timeouts and failures of I/O, with a virtual clock: timers are moved by the test, sockets
 * are real. No published id is left out; the "same" of G18 is read as: deferred 4.3.0, as for any table (RES-12).
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { sendContent } from '../../../../src/protocols/smtp/client/content/sender.ts'
import { type CaseRow, runCase } from './cases.ts'
import { bodyOf, deliver, type LogLine, outcome, recipients, type Setup } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

const two: Setup = { request: { recipients: recipients('a@d.test', 'b@d.test') } }
const off = { skip_5xx_greeting: false }

const rows: readonly CaseRow[] = [
  {
    id: 'G03',
    title: 'closed before the greeting: the next server',
    servers: [{ greeting: { close: '' } }, {}],
    outcome: ['sent'],
    events: ['delivery.skipped'],
  },
  {
    id: 'G11',
    title: 'the server says why and hangs up during the content',
    servers: [{ interrupt: { after: 2_000, reply: '552 5.3.4 big' } }],
    setup: { request: { content: { bytes: bodyOf(5_000_000) }, size: 5_000_000 } },
    outcome: ['bounced 5.3.4'],
    absent: ['QUIT'],
  },
  {
    id: 'G13',
    title: 'a normal session, then no server: nobody is slowed down',
    servers: [{ answers: { RCPT: '450 4.2.1 later' } }, null],
    outcome: ['deferred 4.4.1'],
  },
  {
    id: 'G14',
    title: 'no server, then 421',
    servers: [null, { greeting: '421 4.3.2 busy' }],
    outcome: ['deferred 4.3.2'],
    hop: '4.3.2',
  },
  {
    id: 'G15',
    title: 'one sent, one kept, the next server breaks',
    servers: [{ answers: { 'RCPT TO:<b': '450 4.2.1 later' } }, { answers: { MAIL: { close: '' } } }],
    setup: two,
    outcome: ['sent', 'deferred 4.4.2'],
  },
  {
    id: 'G16',
    title: 'a hard failure of the site slows nobody down',
    servers: [{ greeting: '554 5.7.1 no' }],
    setup: { settings: off },
    outcome: ['bounced 5.7.1'],
  },
  {
    id: 'G18',
    title: 'a table of EHLO keywords that cannot be asked',
    setup: { settings: { discard_ehlo_keyword_address_maps: ['fail:x'] } },
    outcome: ['deferred 4.3.0'],
    hop: '4.3.0',
  },
  {
    id: 'G18',
    title: 'a reply filter that cannot be asked',
    setup: { settings: { reply_filter: ['fail:x'] } },
    outcome: ['deferred 4.3.0'],
    hop: '4.3.0',
  },
]

describe('failures', () => {
  it.each(rows.map((row) => [`${row.id} ${row.title}`, row] as const))('%s', async (_, row) => {
    await runCase(row)
  })
})

describe('timeouts', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] })
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  interface Timed {
    readonly outcome: readonly string[]
    readonly seconds: number
    readonly reply: string
    readonly hop: boolean
    readonly log: readonly LogLine[]
  }

  /** Lets the clock run whenever nothing else happens, and says how far it ran. */
  async function timed(script: Script, setup: Setup = {}): Promise<Timed> {
    await using server = new ScriptedServer([script])
    await server.listen({ port: 0, host: '127.0.0.1' })
    const log: LogLine[] = []
    const begun = Date.now()
    const request = { nexthop: `[127.0.0.1]:${server.port}`, ...setup.request }
    let over = false
    const delivery = deliver({ ...setup, log, request }).finally(() => {
      over = true
    })
    while (!over) {
      for (let turn = 0; turn < 20 && !over; turn++) await new Promise((resolve) => setImmediate(resolve))
      if (!over) await vi.advanceTimersByTimeAsync(1_000)
    }
    const report = await delivery
    const { reply } = report.results[0]!
    return {
      outcome: outcome(report),
      seconds: Math.round((Date.now() - begun) / 1000),
      reply,
      hop: report.hopStatus !== undefined,
      log,
    }
  }

  it.each<[string, Script, number]>([
    ['the greeting', { greeting: null }, 300],
    ['EHLO', { answers: { EHLO: null } }, 300],
    ['MAIL', { answers: { MAIL: null } }, 300],
    ['RCPT', { answers: { RCPT: null } }, 300],
    ['DATA', { answers: { DATA: null } }, 120],
    ['the dot', { dot: null }, 600],
  ])('G04 silence after %s', async (_, script, seconds) => {
    const result = await timed(script)
    expect(result).toMatchObject({ outcome: ['deferred 4.4.2'], hop: true })
    expect(result.seconds).toBeGreaterThanOrEqual(seconds)
    expect(result.seconds).toBeLessThanOrEqual(seconds + 5)
    expect(result.reply).toMatch(/timed out/)
  })

  it('G05 the log says that the mail may arrive twice', async () => {
    const { log } = await timed({ dot: null })
    expect(log.map(({ event }) => event)).toContain('delivery.in-doubt')
  })

  it('silence after RSET changes nothing', async () => {
    const result = await timed({ answers: { RCPT: '550 5.1.1 no', RSET: null } })
    expect(result).toMatchObject({ outcome: ['bounced 5.1.1'], hop: false })
  })

  // One octet each second: of a reply of 400 octets the last one comes after 400 s.
  const trickle: Script = { drip: { verb: 'MAIL', reply: `250 ${'x'.repeat(394)}`, everyMs: 1_000 } }

  it('G10 a reply that trickles is in time as long as it trickles', async () => {
    const result = await timed(trickle)
    expect(result.outcome).toEqual(['sent'])
    expect(result.seconds).toBeGreaterThanOrEqual(390)
  })

  it('G10 with deadlines it is not', async () => {
    const result = await timed(trickle, { settings: { per_request_deadline: true } })
    expect(result.outcome).toEqual(['deferred 4.4.2'])
    expect(result.seconds).toBeLessThanOrEqual(310)
  })
})

describe('slow readers', () => {
  it('G06 a server that stops reading the content', async () => {
    await using server = await ScriptedServer.start({ stallAfter: 1_000 })
    const bytes = bodyOf(30_000_000)
    const report = await deliver({
      settings: { data_xfer_timeout: 300 },
      request: { nexthop: `[127.0.0.1]:${server.port}`, content: { bytes }, size: bytes.length },
    })
    expect(outcome(report)).toEqual(['deferred 4.4.2'])
    expect(report.results[0]!.reply).toMatch(/timed out while sending the content/)
  })
})

describe('G01 a server that does not answer', () => {
  it('G01 the connection attempt ends at its limit, and the next address is tried', async () => {
    await using server = await ScriptedServer.start({})
    // TEST-NET-1 is routed nowhere: refused at once or silent, the limit holds.
    const zone = {
      'd.test': { mx: [[10, 'm1'] as const, [20, 'm2'] as const] },
      m1: { a: ['192.0.2.77'] },
      m2: { a: ['127.0.0.1'] },
    }
    const report = await deliver({
      zone,
      settings: { connect_timeout: 200 },
      request: { nexthop: `d.test:${server.port}` },
    })
    expect(outcome(report)).toEqual(['sent'])
  })
})

describe('the minimum data rate', () => {
  /** A server that takes so many octets each second, on a clock of its own; says whether all of it was in time. */
  function readAt(octetsPerSecond: number, size: number): { sent: boolean; seconds: number } {
    let clock = 0
    let limit = Number.POSITIVE_INFINITY
    let late = false
    let sent = false
    const waiting: (() => void)[] = []
    const session = {
      expect: (ms: number) => {
        limit = ms
      },
      sendContent: (bytes: Buffer, tail: string, flushed: (ok: boolean) => void) => {
        waiting.push(() => {
          const took = ((bytes.length + tail.length) / octetsPerSecond) * 1000
          if (took > limit) late = true
          clock += Math.min(took, limit)
          flushed(!late)
        })
      },
    }
    sendContent(session as never, {
      content: { bytes: bodyOf(size) },
      contentDir: '',
      prepend: '',
      lineLimit: 998,
      writeTimeoutMs: 180_000,
      minDataRate: 500,
      dotDelayMs: 0,
      tail: '',
      bind: (callback) => callback,
      monotonic: () => clock,
      dotSent() {},
      done: () => {
        sent = true
      },
    })
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) next()
    return { sent: sent && !late, seconds: Math.round(clock / 1000) }
  }

  it('G08 at 100 octets each second the budget is used up', () => {
    const { sent, seconds } = readAt(100, 1_048_576)
    expect(sent).toBe(false)
    // 180 s, and 20 % of the time back.
    expect(seconds).toBeGreaterThanOrEqual(180)
    expect(seconds).toBeLessThanOrEqual(230)
  })

  it('G09 at 600 octets each second a MiB takes half an hour, and is sent', () => {
    expect(readAt(600, 1_048_576)).toEqual({ sent: true, seconds: 1_748 })
  })
})
