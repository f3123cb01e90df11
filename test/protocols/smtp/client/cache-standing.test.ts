/** What may change while a connection is idle: tables, the DNS. Who finds it then must not get more than it would by itself. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { destinationLabel } from '../../../../src/cache/labels.ts'
import { type Answer, NameServer } from '../../../dns/name-server.ts'
import { tempDir } from '../../../support/fixtures.ts'
import {
  cache,
  configure,
  reported,
  run,
  runLeased,
  start,
  startKeeper,
  system,
  until,
  untilIdle,
} from './cached-deliveries.ts'
import { outcome } from './harness.ts'
import { ScriptedServer } from './scripted-server.ts'
import { authority, trusting } from './tls-cases.ts'

async function secureServer(): Promise<ScriptedServer> {
  const { cert, key } = await authority.issue({ names: ['m1.test'] })
  const server = await ScriptedServer.start({
    keywords: ['STARTTLS', 'AUTH PLAIN', 'REQUIRETLS'],
    answers: { AUTH: '235 2.7.0 ok' },
    tls: { context: createSecureContext({ cert, key }) },
  })
  onTestFinished(() => server[Symbol.asyncDispose]())
  return server
}

async function world(zone: Record<string, Answer>, smtp: object): Promise<void> {
  const dns = await NameServer.start(zone)
  await start({ dns: { servers: [dns.address] }, smtp: { ...trusting, tls_connection_reuse: true, ...smtp } })
  onTestFinished(async () => {
    await system.stop()
    await dns[Symbol.asyncDispose]()
  })
  await startKeeper()
}

/** Changes of tables are noticed within a second. */
async function untilNoticed(): Promise<void> {
  const begun = performance.now()
  await until(async () => performance.now() - begun > 1_050)
}

const zone = (): Record<string, Answer> => ({
  'MX d.test': { records: ['MX 10 m1.test'], secure: true },
  'MX e.test': { records: ['MX 10 m1.test'], secure: true },
  'A m1.test': { records: ['A 127.0.0.1'], secure: true },
})

describe('an idle connection', () => {
  test('that was made under settings that no longer count is not used, even if it was lent before', async () => {
    await using server = await ScriptedServer.start({})
    const nexthop = `[127.0.0.1]:${server.port}`
    await start()
    onTestFinished(() => system.stop())
    await startKeeper()
    run({ nexthop, cacheConnection: true })
    await reported.next(2)
    await untilIdle(1)
    const lease = await cache().ask('findDestination', destinationLabel({ transport: 'smtp', nexthop }))
    await configure({ smtp: { helo_name: 'other.client.test' } })
    run({ nexthop, cacheConnection: true, lease: lease! })
    expect((await reported.next(3)).connUse).toBe(1)
    expect(server.sessions[1]!.commands[0]).toBe('EHLO other.client.test')
    await server.until(() => server.sessions[0]!.commands.includes('QUIT'))
  })

  test('whose server has TLSA records by now serves nobody', async () => {
    const server = await secureServer()
    const records = zone()
    await world(records, {
      tcp_port: String(server.port),
      tls_security_level: 'dane',
      dns_support_level: 'dnssec',
    })
    const mail = { nexthop: 'd.test', cacheConnection: true, reuseConnection: true }
    run(mail)
    expect(outcome(await reported.next(2))).toEqual(['sent'])
    await untilIdle(1)
    // As long as nothing changes it is used.
    expect(await runLeased(mail)).not.toBeNull()
    expect((await reported.next(3)).connUse).toBe(2)
    await untilIdle(1)
    records[`TLSA _${server.port}._tcp.m1.test`] = {
      records: [`TLSA 3 1 1 ${'ab'.repeat(32)}`],
      secure: true,
    }
    expect(await runLeased(mail)).not.toBeNull()
    expect(outcome(await reported.next(4))).toEqual(['deferred 4.7.5'])
    await server.until(() => server.sessions[0]!.commands.includes('QUIT'))
  })

  test('that was checked for another name is of no use to the next hop whose policy has changed', async () => {
    const server = await secureServer()
    const table = join(tempDir(), 'policy')
    writeFileSync(table, 'd.test secure match=m1.test\n')
    await world(zone(), { tcp_port: String(server.port), tls_policy_maps: [`texthash:${table}`] })
    const mail = { nexthop: 'd.test', cacheConnection: true, reuseConnection: true }
    run(mail)
    expect(outcome(await reported.next(2))).toEqual(['sent'])
    await untilIdle(1)
    writeFileSync(table, 'd.test secure match=m2.test\n')
    await untilNoticed()
    expect(await runLeased(mail)).not.toBeNull()
    expect(outcome(await reported.next(3))).toEqual(['deferred 4.7.5'])
  })

  test('that is logged in with what the table has no more is not used', async () => {
    const server = await secureServer()
    const accounts = join(tempDir(), 'accounts')
    writeFileSync(accounts, 'd.test user:first\n')
    await world(zone(), {
      tcp_port: String(server.port),
      tls_security_level: 'encrypt',
      sasl_auth_enable: true,
      sasl_security_options: [],
      sasl_password_maps: [`texthash:${accounts}`],
    })
    const mail = { nexthop: 'd.test', cacheConnection: true, reuseConnection: true }
    run(mail)
    await reported.next(2)
    await untilIdle(1)
    writeFileSync(accounts, 'd.test user:second\n')
    await untilNoticed()
    expect(await runLeased(mail)).not.toBeNull()
    expect((await reported.next(3)).connUse).toBe(1)
    const logins = server.commands.filter((command) => command.startsWith('AUTH'))
    expect(logins.map((line) => atob(line.split(' ')[2]!).split('\0')[2])).toEqual(['first', 'second'])
  })

  test('of a mail with REQUIRETLS serves no next hop that asks for more', async () => {
    const server = await secureServer()
    const demands = join(tempDir(), 'requiretls')
    writeFileSync(demands, 'd.test opportunistic\ne.test enforce\n')
    await world(zone(), {
      tcp_port: String(server.port),
      tls_security_level: 'may',
      requiretls_policy: [`texthash:${demands}`],
    })
    const mail = { requiretls: true, cacheConnection: true, reuseConnection: true }
    run({ ...mail, nexthop: 'd.test' })
    expect(outcome(await reported.next(2))).toEqual(['sent'])
    await untilIdle(1)
    // The same server, which nobody has seen a good certificate of.
    run({ ...mail, nexthop: 'e.test' })
    expect(outcome(await reported.next(3))).toEqual(['bounced 5.7.10'])
    expect(server.sessions).toHaveLength(1)
  })
})
