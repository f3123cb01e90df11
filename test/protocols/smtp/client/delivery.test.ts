/** The delivery actor with its keeper and the cache, on a real system of one thread. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ActorRef, actor, type Contract } from '../../../../src/actors/index.ts'
import { cacheActor } from '../../../../src/cache/cache.ts'
import { cacheSettings } from '../../../../src/cache/config.ts'
import type { CacheContract, Lease } from '../../../../src/cache/contract.ts'
import { destinationLabel } from '../../../../src/cache/labels.ts'
import { defaults } from '../../../../src/config/schema.ts'
import { dnsSettings, netSettings } from '../../../../src/dns/config.ts'
import { inheritLmtp } from '../../../../src/protocols/smtp/client/config.ts'
import { contentSettings, rewriteSettings } from '../../../../src/protocols/smtp/client/content/config.ts'
import { delivery } from '../../../../src/protocols/smtp/client/delivery.ts'
import type { DeliveryReport, DeliveryRequest } from '../../../../src/queue/contract.ts'
import type { ActorInfo } from '../../../../src/runtime/inspect.ts'
import { ActorSystem } from '../../../../src/runtime/system.ts'
import { outcome, recipients, request, settingsOf } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

type Reports = Contract<{ delivered(report: DeliveryReport): void }>

/** Stands for the queue manager: keeps the reports, and can be too busy for the first ones. */
class Reported {
  readonly reports: DeliveryReport[] = []
  #wake: (() => void) | undefined

  add(report: DeliveryReport): void {
    this.reports.push(report)
    this.#wake?.()
  }

  async next(count: number): Promise<DeliveryReport> {
    const deadline = setTimeout(() => this.#wake?.(), 5_000)
    while (this.reports.length < count) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      if (this.reports.length < count && deadline.hasRef() === false) break
    }
    clearTimeout(deadline)
    return this.reports[count - 1]!
  }
}

let reported: Reported
let system: ActorSystem

const queue = actor<Reports>({
  name: 'queue',
  module: import.meta.url,
  maxQueue: 1,
  init: () => ({ delivered: (report) => reported.add(report) }),
})

function configOf(over: { cache?: object; smtp?: object } = {}): object {
  const smtp = { ...settingsOf('smtp'), ...over.smtp }
  return {
    hostname: 'client.test',
    data_dir: '/nonexistent',
    smtp,
    lmtp: inheritLmtp(smtp, {}),
    transports: {},
    dns: defaults(dnsSettings),
    net: defaults(netSettings),
    dsn: {},
    content: defaults(contentSettings),
    rewrite: defaults(rewriteSettings),
    auth: { recipient_delimiter: '+' },
    mail: { local_domains: [] },
    queue: { minimal_backoff_time: 300_000 },
    cache: { ...defaults(cacheSettings), ...over.cache },
  }
}

async function start(over: Parameters<typeof configOf>[0] = {}): Promise<void> {
  reported = new Reported()
  system = await ActorSystem.start({
    settings: { config: configOf(over) },
    children: [
      { id: 'cache', actor: cacheActor, args: undefined, registerAs: 'cache' },
      { id: 'queue', actor: queue, args: undefined, registerAs: 'queue' },
    ],
  })
}

const cache = (): ActorRef<CacheContract> => system.whereis<CacheContract>('cache')!

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 5_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('not in time')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Names of all actors there are. */
async function living(): Promise<string[]> {
  const names: string[] = []
  const walk = (rows: readonly ActorInfo[]) => {
    for (const row of rows) {
      names.push(row.name)
      walk(row.children)
    }
  }
  walk(await system.inspect())
  return names
}

function run(over: Partial<DeliveryRequest>): void {
  system.spawn(delivery, request(over))
}

/** Starts a delivery with what the cache lends, as the queue manager does. */
async function runLeased(over: Partial<DeliveryRequest>): Promise<Lease | null> {
  const wanted = request(over)
  const { transport, nexthop } = wanted
  const lease = await cache().ask('findDestination', destinationLabel({ transport, nexthop }))
  run({ ...over, ...(lease === null ? {} : { lease }) })
  return lease
}

describe('a delivery', () => {
  beforeEach(() => start())
  afterEach(() => system.stop())

  test('tells the queue one result per recipient and ends', async () => {
    await using server = await ScriptedServer.start({ answers: { 'RCPT TO:<b': '550 5.1.1 no' } })
    run({ nexthop: `[127.0.0.1]:${server.port}`, recipients: recipients('a@d.test', 'b@d.test') })
    const report = await reported.next(1)
    expect(outcome(report)).toEqual(['sent', 'bounced 5.1.1'])
    expect(report.connUse).toBe(1)
    expect(report.startedAt).toBeGreaterThan(0)
    expect(report.setupAt).toBeGreaterThanOrEqual(report.startedAt)
    await until(async () => !(await living()).includes('delivery'))
  })

  test('offers its report again until the queue takes it', async () => {
    await using server = await ScriptedServer.start({})
    // The message queue of the stand-in holds one report: many at once are refused at first.
    for (let i = 0; i < 20; i++) run({ queueId: `q${i}`, nexthop: `[127.0.0.1]:${server.port}` })
    await reported.next(20)
    expect(new Set(reported.reports.map(({ queueId }) => queueId)).size).toBe(20)
  })

  test('finishes what is under way when the system stops', async () => {
    await using server = await ScriptedServer.start({ trickle: true })
    run({ nexthop: `[127.0.0.1]:${server.port}` })
    await server.until(() => server.commands.some((command) => command.startsWith('MAIL')))
    await system.stop()
    expect(server.commands).toContain('CONTENT')
  })
})

describe('kept connections', () => {
  beforeEach(() => start())
  afterEach(() => system.stop())

  /** The first delivery of a thread has a keeper started; the next one's connection is kept. */
  async function warm(nexthop: string): Promise<void> {
    run({ nexthop: '[127.0.0.1]:1', cacheConnection: true })
    await reported.next(1)
    await until(async () => (await living()).includes('keeper'))
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await until(async () => (await cache().ask('list')).length === 1)
  }

  test('L02 the next delivery takes the connection over: RSET, no EHLO', async () => {
    await using server = await ScriptedServer.start({})
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    expect(await runLeased({ nexthop, cacheConnection: true })).not.toBeNull()
    const report = await reported.next(3)
    expect(outcome(report)).toEqual(['sent'])
    expect(report.connUse).toBe(2)
    expect(server.sessions).toHaveLength(1)
    const verbs = server.sessions[0]!.commands.map((command) => command.split(/[ :]/)[0])
    expect(verbs).toEqual('EHLO MAIL RCPT DATA CONTENT RSET MAIL RCPT DATA CONTENT'.split(' '))
  })

  test('with pipelining the probe travels with the envelope', async () => {
    await using server = await ScriptedServer.start({ keywords: ['PIPELINING'] })
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    await runLeased({ nexthop, cacheConnection: true })
    await reported.next(3)
    expect(server.sessions[0]!.flights.slice(3)).toEqual(['RSET MAIL RCPT DATA', 'CONTENT'])
  })

  test.each<[string, Script]>([
    ['421', { answers: { RSET: { close: '421 bye' } } }],
    ['500', { answers: { RSET: '500 what' } }],
    ['a hang-up', { answers: { RSET: { close: '' } } }],
  ])('L05 a probe answered with %s is a miss that nobody hears of', async (_, script) => {
    await using server = await ScriptedServer.start(script, {})
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    expect(await runLeased({ nexthop, cacheConnection: true })).not.toBeNull()
    const report = await reported.next(3)
    expect(outcome(report)).toEqual(['sent'])
    expect(report.hopStatus).toBeUndefined()
    expect(report.connUse).toBe(1)
    expect(server.sessions).toHaveLength(2)
  })

  test('a server that hangs up while idle retires the connection', async () => {
    await using server = await ScriptedServer.start({})
    await warm(`[127.0.0.1]:${server.port}`)
    server.hangUp()
    await until(async () => (await cache().ask('list')).length === 0)
  })

  test('a server that says anything while idle retires the connection', async () => {
    await using server = await ScriptedServer.start({})
    await warm(`[127.0.0.1]:${server.port}`)
    server.sayToAll('421 4.4.2 idle too long\r\n')
    await until(async () => (await cache().ask('list')).length === 0)
    await server.until(() => server.sessions[0]!.closed)
  })

  test('half a line while idle is enough to distrust the connection', async () => {
    await using server = await ScriptedServer.start({})
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    server.sayToAll('25')
    // It has arrived when a later write of another connection has.
    run({ nexthop })
    await reported.next(3)
    await runLeased({ nexthop })
    expect(outcome(await reported.next(4))).toEqual(['sent'])
    expect(server.sessions).toHaveLength(3)
  })

  test('expiry ends with QUIT', async () => {
    await using server = await ScriptedServer.start({})
    await system.stop()
    await start({ cache: { ttl_limit: 50 } })
    await warm(`[127.0.0.1]:${server.port}`)
    await server.until(() => server.commands.includes('QUIT'))
    expect(await cache().ask('list')).toEqual([])
  })

  test('flush ends all with QUIT and says how many', async () => {
    await using server = await ScriptedServer.start({})
    await warm(`[127.0.0.1]:${server.port}`)
    expect(await cache().ask('flush')).toBe(1)
    await server.until(() => server.commands.includes('QUIT'))
  })

  test('a lease whose connection is gone is a miss', async () => {
    await using server = await ScriptedServer.start({})
    run({
      nexthop: `[127.0.0.1]:${server.port}`,
      lease: { connection: 4711, endpoint: 'x' },
      cacheConnection: true,
    })
    expect(outcome(await reported.next(1))).toEqual(['sent'])
  })

  test('L38 a protocol error: QUIT instead of keeping', async () => {
    await using server = await ScriptedServer.start({}, { answers: { RCPT: '500 eh' } })
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    await cache().ask('flush')
    run({ nexthop, cacheConnection: true })
    await reported.next(3)
    await server.until(() => server.sessions[1]!.commands.includes('QUIT'))
    expect(await cache().ask('list')).toEqual([])
  })

  test('L39 a refused recipient: RSET, no QUIT, kept', async () => {
    await using server = await ScriptedServer.start({}, { answers: { RCPT: '550 5.1.1 no' } })
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    await cache().ask('flush')
    run({ nexthop, cacheConnection: true })
    expect(outcome(await reported.next(3))).toEqual(['bounced 5.1.1'])
    await until(async () => (await cache().ask('list')).length === 1)
    const verbs = server.sessions[1]!.commands.map((command) => command.split(/[ :]/)[0])
    expect(verbs).toEqual('EHLO MAIL RCPT RSET'.split(' '))
  })

  test('L08 connection_reuse_count_limit', async () => {
    await system.stop()
    await start({ smtp: { connection_reuse_count_limit: 2 } })
    await using server = await ScriptedServer.start({ keywords: ['PIPELINING'] })
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    await runLeased({ nexthop, cacheConnection: true })
    await reported.next(3)
    await until(async () => (await cache().ask('list')).length === 1)
    await runLeased({ nexthop, cacheConnection: true })
    const third = await reported.next(4)
    expect(third.connUse).toBe(3)
    await server.until(() => server.sessions[0]!.commands.includes('QUIT'))
    expect(await cache().ask('list')).toEqual([])
  })

  test('L18 with one session allowed, a reused one is the last', async () => {
    await system.stop()
    await start({ smtp: { mx_session_limit: 1 } })
    const later = { answers: { RCPT: ['250 ok', '450 4.2.1 later'] } }
    await using server = await ScriptedServer.start(later)
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    await runLeased({ nexthop, cacheConnection: true })
    expect(outcome(await reported.next(3))).toEqual(['deferred 4.2.1'])
    expect(server.sessions).toHaveLength(1)
  })

  test('a reused connection of the only server is not tried twice', async () => {
    const later = { answers: { RCPT: ['250 ok', '450 4.2.1 later'] } }
    await using server = await ScriptedServer.start(later)
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    await runLeased({ nexthop, cacheConnection: true })
    expect(outcome(await reported.next(3))).toEqual(['deferred 4.2.1'])
    expect(server.sessions).toHaveLength(1)
  })

  test('connections are closed with QUIT when the system stops', async () => {
    await using server = await ScriptedServer.start({})
    await warm(`[127.0.0.1]:${server.port}`)
    await system.stop()
    await server.until(() => server.commands.includes('QUIT'))
    await start()
  })
})
