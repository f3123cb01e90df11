/**
 * Connection cache: acceptance cases L with deliveries, keeper, cache and scripted servers. Those of the data model are in
 * test/cache/script.test.ts, those of the scheduler's hints in test/queue/cache-use.test.ts. Left out:
 * - L29: the cache is an actor of the service; it lives as long, whoever uses it.
 * - L30: it is restarted by its supervisor, so a delivery that finds none goes on without and the next one asks again.
 * Deviates from CC-25 and L02: with PIPELINING the probe does not wait for its reply before the envelope goes out, which
 * spares a round trip. The content waits for all of it, so a probe that fails costs nothing either way.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { endpointLabelOf } from '../../../../src/protocols/smtp/client/connection-labels.ts'
import { type Answer, NameServer } from '../../../dns/name-server.ts'
import { Authority } from '../../../support/certificates.ts'
import { tempDir } from '../../../support/fixtures.ts'
import { SmtpSink } from '../../../support/smtp-sink.ts'
import {
  cache,
  idle,
  reported,
  run,
  runLeased,
  start,
  startKeeper,
  system,
  until,
  untilIdle,
} from './cached-deliveries.ts'
import { Farm } from './farm.ts'
import { outcome, recipients, request } from './harness.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

describe('kept connections', () => {
  beforeEach(() => start())
  afterEach(() => system.stop())

  /** One idle connection to the next hop. Two reports were made. */
  async function warm(nexthop: string): Promise<void> {
    await startKeeper()
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
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

  test('L05 a probe that is not answered in time', async () => {
    await system.stop()
    await start({ smtp: { rset_timeout: 50 } })
    await using server = await ScriptedServer.start({ answers: { RSET: null } }, {})
    const nexthop = `[127.0.0.1]:${server.port}`
    await warm(nexthop)
    expect(await runLeased({ nexthop, cacheConnection: true })).not.toBeNull()
    const report = await reported.next(3)
    expect([...outcome(report), report.connUse, report.hopStatus]).toEqual(['sent', 1, undefined])
  })

  test('no descriptor is left behind, whatever way the connections end', async () => {
    await using server = await ScriptedServer.start({})
    const nexthop = `[127.0.0.1]:${server.port}`
    await startKeeper()
    const descriptors = () => readdirSync('/proc/self/fd').length
    const before = descriptors()
    for (let cycle = 1; cycle <= 60; cycle++) {
      const lease = await runLeased({ nexthop, cacheConnection: cycle % 3 !== 0 })
      await reported.next(1 + cycle)
      if (cycle % 3 !== 0) await untilIdle(1)
      if (cycle % 5 === 0) await cache().ask('flush')
      if (cycle % 7 === 0) server.hangUp()
      expect(lease === null || lease.connection > 0).toBe(true)
    }
    await cache().ask('flush')
    server.hangUp()
    await until(async () => descriptors() <= before + 2)
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
      lease: { connection: 4711, endpoint: 'x', setupMs: 5 },
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
    await untilIdle(1)
    expect(await idle()).toEqual([`127.0.0.1[127.0.0.1]:${server.port} ${nexthop}`])
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

  test('L07 the connection gets too old while the reply to the content is awaited: the reply, then QUIT by itself', async () => {
    await system.stop()
    await start({ smtp: { connection_reuse_time_limit: 1_000 } })
    await using server = await ScriptedServer.start({ keywords: ['PIPELINING'], dot: null })
    await startKeeper()
    run({ nexthop: `[127.0.0.1]:${server.port}`, cacheConnection: true })
    await server.until(() => server.commands.includes('CONTENT'))
    const begun = performance.now()
    await until(async () => performance.now() - begun > 1_100)
    server.sayToAll('250 2.0.0 ok\r\n')
    expect(outcome(await reported.next(2))).toEqual(['sent'])
    await server.until(() => server.commands.includes('QUIT'))
    expect(server.sessions[0]!.flights.slice(-2)).toEqual(['CONTENT', 'QUIT'])
    expect(await idle()).toEqual([])
  })

  test('L40 kept again, it does not get older: its time counts from the connection', async () => {
    await system.stop()
    await start({ smtp: { connection_reuse_time_limit: 1_500 } })
    await using server = await ScriptedServer.start({})
    const nexthop = `[127.0.0.1]:${server.port}`
    const begun = performance.now()
    await warm(nexthop)
    await runLeased({ nexthop, cacheConnection: true })
    await reported.next(3)
    await untilIdle(1)
    await until(async () => performance.now() - begun > 1_600)
    await runLeased({ nexthop, cacheConnection: true })
    expect((await reported.next(4)).connUse).toBe(3)
    await server.until(() => server.sessions[0]!.commands.includes('QUIT'))
    expect(await idle()).toEqual([])
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

describe('several servers', () => {
  const zone: Record<string, Answer> = {
    'MX d.test': { records: ['MX 10 m1.test', 'MX 20 m2.test'] },
    'MX e.test': { records: ['MX 10 m1.test', 'MX 20 m2.test'] },
    'A m1.test': { records: ['A 127.0.0.1'] },
    'A m2.test': { records: ['A 127.0.0.2'] },
  }

  async function world(...scripts: readonly (Script | null)[]): Promise<{ farm: Farm; nexthop: string }> {
    const dns = await NameServer.start(zone)
    await start({ dns: { servers: [dns.address] } })
    const farm = await Farm.start(scripts)
    onTestFinished(async () => {
      await system.stop()
      await farm[Symbol.asyncDispose]()
      await dns[Symbol.asyncDispose]()
    })
    await startKeeper()
    return { farm, nexthop: `d.test:${farm.port}` }
  }

  const relay = (n: number, farm: Farm) => `m${n}.test[127.0.0.${n}]:${farm.port}`
  const later: Script = { answers: { RCPT: '450 4.2.1 later' } }

  test('L13 the first is not there: the second is found by the destination', async () => {
    const { farm, nexthop } = await world(null, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    expect(await idle()).toEqual([`${relay(2, farm)} ${nexthop}`])
  })

  test('L14 two sessions: the first by destination, the second by its address only', async () => {
    const { farm, nexthop } = await world({ answers: { 'RCPT TO:<b': '450 4.2.1 later' } }, {})
    run({ nexthop, cacheConnection: true, recipients: recipients('a@d.test', 'b@d.test') })
    expect(outcome(await reported.next(2))).toEqual(['sent', 'sent'])
    await untilIdle(2)
    expect(await idle()).toEqual([`${relay(1, farm)} ${nexthop}`, relay(2, farm)])
  })

  test('L15 a server that turns us away does not use up the name of the destination', async () => {
    const { farm, nexthop } = await world({ greeting: '421 no' }, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    expect(await idle()).toEqual([`${relay(2, farm)} ${nexthop}`])
  })

  test('L17 a reused session that puts off: the next server, two sessions, no address twice', async () => {
    const { farm, nexthop } = await world(
      { answers: { RCPT: ['250 ok', '450 4.2.1 later', '450 4.2.1 later'] } },
      {},
    )
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    expect(await runLeased({ nexthop, cacheConnection: true })).not.toBeNull()
    expect(outcome(await reported.next(3))).toEqual(['sent'])
    expect(farm.visits).toEqual([1, 1])
  })

  test('a server that only puts off is not found by the destination any more', async () => {
    const { farm, nexthop } = await world({ answers: { RCPT: ['250 ok', '450 4.2.1 later'] } }, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    await runLeased({ nexthop, cacheConnection: true })
    await reported.next(3)
    await untilIdle(2)
    // The one that took the mail has the name now.
    expect(await idle()).toEqual([relay(1, farm), `${relay(2, farm)} ${nexthop}`])
  })

  test('another destination with the same server finds the connection by its address', async () => {
    const { farm, nexthop } = await world({}, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    run({ nexthop: `e.test:${farm.port}`, cacheConnection: true, reuseConnection: true })
    expect((await reported.next(3)).connUse).toBe(2)
    expect(farm.visits).toEqual([1, 0])
    const { savings } = await cache().ask('stats')
    expect(savings).toMatchObject({ hits: 1, handshakesSpared: 1 })
    expect(savings.msSpared).toBeGreaterThanOrEqual(0)
  })

  test('without leave to look, it makes its own', async () => {
    const { farm, nexthop } = await world({}, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    run({ nexthop: `e.test:${farm.port}` })
    expect((await reported.next(3)).connUse).toBe(1)
    expect(farm.visits).toEqual([2, 0])
  })

  test('a less preferred server is looked for before it is connected to', async () => {
    const { farm, nexthop } = await world(null, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    run({ nexthop: `e.test:${farm.port}`, reuseConnection: true })
    expect((await reported.next(3)).connUse).toBe(2)
    expect(farm.visits).toEqual([0, 1])
  })

  test('an idle connection that turns out dead is a miss, and nothing spared', async () => {
    const { farm, nexthop } = await world({ answers: { RSET: { close: '421 bye' } } }, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    run({ nexthop: `e.test:${farm.port}`, reuseConnection: true })
    const report = await reported.next(3)
    expect([...outcome(report), report.connUse]).toEqual(['sent', 1])
    await until(async () => (await cache().ask('stats')).savings.handshakesSpared === 0)
  })

  test('L34 mail that needs SMTPUTF8 does not use what ordinary mail left', async () => {
    const { farm, nexthop } = await world({ keywords: ['SMTPUTF8'] }, {})
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    run({ nexthop, smtputf8: true, reuseConnection: true, recipients: recipients('ä@d.test') })
    expect((await reported.next(3)).connUse).toBe(1)
    expect(farm.visits).toEqual([2, 0])
  })

  test('L18 what is put off everywhere comes back with the last reason', async () => {
    const { farm, nexthop } = await world(later, later)
    run({ nexthop, cacheConnection: true })
    expect(outcome(await reported.next(2))).toEqual(['deferred 4.2.1'])
    await untilIdle(2)
    expect(await idle()).toEqual([relay(1, farm), relay(2, farm)])
  })
})

describe('TLS', () => {
  test('a connection made under another policy of the next hop is not used, whatever became of the table', async () => {
    const folder = tempDir()
    const table = join(folder, 'policy')
    await using server = await ScriptedServer.start({})
    const nexthop = `[127.0.0.1]:${server.port}`
    writeFileSync(table, `${nexthop} none\n`)
    await start({ smtp: { tls_policy_maps: [`texthash:${table}`] } })
    onTestFinished(() => system.stop())
    await startKeeper()
    run({ nexthop, cacheConnection: true })
    expect(outcome(await reported.next(2))).toEqual(['sent'])
    await untilIdle(1)
    writeFileSync(table, `${nexthop} encrypt ciphers=high\n`)
    const begun = performance.now()
    // Changes of tables are noticed within a second.
    await until(async () => performance.now() - begun > 1_050)
    expect(await runLeased({ nexthop, cacheConnection: true })).not.toBeNull()
    expect(outcome(await reported.next(3))).toEqual(['deferred 4.7.4'])
  })

  test('L37 where a certificate has to match, next hops do not share', () => {
    const label = (nexthop: string, level: 'may' | 'encrypt' | 'secure' | 'dane') =>
      endpointLabelOf(
        request(),
        {
          host: 'm1.test',
          address: '192.0.2.1',
          port: 25,
          nexthop,
          policy: { level, key: level, servername: '' },
        },
        { sasl_auth_enable: false, sender_dependent_authentication: false },
      )
    expect(label('d.test', 'secure')).not.toBe(label('e.test', 'secure'))
    expect(label('d.test', 'dane')).not.toBe(label('e.test', 'dane'))
    expect(label('d.test', 'encrypt')).toBe(label('e.test', 'encrypt'))
    expect(label('d.test', 'may')).not.toBe(label('d.test', 'encrypt'))
  })

  test.each([
    [true, 1],
    [false, 2],
  ])(
    'L35 L42 level may, tls_connection_reuse = %s: found by the next hop',
    async (tls_connection_reuse, handshakes) => {
      const { cert, key } = await (await Authority.make()).issue({ names: ['mx.test'] })
      const sink = await SmtpSink.start({ tls: { cert, key } })
      await start({ smtp: { tls_security_level: 'may', tls_connection_reuse } })
      onTestFinished(async () => {
        await system.stop()
        await sink.stop()
      })
      await startKeeper()
      run({ nexthop: sink.nexthop, cacheConnection: true })
      expect(outcome(await reported.next(2))).toEqual(['sent'])
      if (tls_connection_reuse) await untilIdle(1)
      const lease = await runLeased({ nexthop: sink.nexthop, cacheConnection: true })
      expect(lease === null).toBe(!tls_connection_reuse)
      expect((await reported.next(3)).connUse).toBe(tls_connection_reuse ? 2 : 1)
      expect([sink.handshakes, sink.securedMails]).toEqual([handshakes, 2])
    },
  )
})
