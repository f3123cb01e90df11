/**
 * Which mails may share a connection? The model is a delivery without a cache: a mail may only go over a connection that is
 * what it would have got by itself, as the server sees it (TLS, version, server name, login, EHLO name), and where a
 * certificate was checked, checked for the same next hop. And where all is the same, it has to.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { destinationLabelOf } from '../../../../src/protocols/smtp/client/connection-labels.ts'
import type { DeliveryRequest } from '../../../../src/queue/contract.ts'
import { Random } from '../../../../src/testing/random.ts'
import { type Answer, NameServer } from '../../../dns/name-server.ts'
import { tempDir } from '../../../support/fixtures.ts'
import { chosenSeed } from '../../../support/seed.ts'
import { cache, reported, run, start, startKeeper, system } from './cached-deliveries.ts'
import { recipients, request } from './harness.ts'
import { type Recorded, ScriptedServer } from './scripted-server.ts'
import { authority, trusting } from './tls-cases.ts'

const seed = chosenSeed()

/** Entries of the policy table, which mean different things; `%` is the fingerprint of the server. */
const policies = [
  'none',
  'may',
  'may connection_reuse=no',
  'may protocols=TLSv1.2',
  'encrypt',
  'encrypt protocols=TLSv1.2',
  'encrypt protocols=TLSv1.2 servername=a.test',
  'encrypt servername=a.test',
  'encrypt servername=nexthop',
  'encrypt ciphers=high exclude=aNULL',
  'fingerprint match=%',
  'secure match=mx.test',
  'secure match=mx.test:other.test',
  'verify match=hostname',
] as const

const domains = Array.from({ length: 8 }, (_, index) => `d${index}.test`)
const senders = ['a@x.test', 'b@x.test', 'c@x.test', '']

type Mail = Pick<DeliveryRequest, 'transport' | 'nexthop' | 'sender' | 'smtputf8' | 'requiretls'>

/** What the server knows of a connection, whatever mail comes over it. */
function factsOf({ commands, servername, protocol }: Recorded): string {
  const greetings = commands.filter((command) => /^(EHLO|AUTH)/.test(command))
  return JSON.stringify([commands.includes('handshake'), protocol, servername, greetings])
}

const saslOff = { sasl_auth_enable: false, sender_dependent_authentication: false }

/** How the connections belong to mails, as the settings of a run have it. */
const worlds = [
  { name: 'no accounts', smtp: {} },
  { name: 'accounts by server and next hop', smtp: { sasl_auth_enable: true } },
  {
    name: 'accounts by sender',
    smtp: { sasl_auth_enable: true, sender_dependent_authentication: true },
  },
  { name: 'the next hop as server name', smtp: { tls_servername: 'nexthop' } },
] as const

describe.each(worlds)('$name', ({ name, smtp }) => {
  test('a mail goes over a connection that is what its own would be', { timeout: 60_000 }, async () => {
    const random = new Random(seed + name.length)
    const folder = tempDir()
    const { cert, key, x509 } = await authority.issue({
      names: ['mx.test', 'other.test', 'm1.test', 'm2.test'],
    })
    await using server = await ScriptedServer.start({
      keywords: ['PIPELINING', 'STARTTLS', 'AUTH PLAIN', 'SMTPUTF8', 'REQUIRETLS', '8BITMIME'],
      answers: { AUTH: '235 2.7.0 ok' },
      tls: { context: createSecureContext({ cert, key }) },
    })
    const zone: Record<string, Answer> = {
      'A m1.test': { records: ['A 127.0.0.1'] },
      // Another name of the same address.
      'A m2.test': { records: ['A 127.0.0.1'] },
    }
    const table: string[] = []
    const accounts: string[] = ['m1.test host:secret']
    for (const domain of domains) {
      zone[`MX ${domain}`] = { records: [`MX 10 ${random.pick(['m1.test', 'm2.test'])}`] }
      const policy = random.pick(policies)
      if (policy !== 'none') table.push(`${domain} ${policy.replace('%', x509.fingerprint256)}`)
      if (random.chance(0.5)) accounts.push(`${domain} ${domain}:secret`)
    }
    for (const sender of senders.slice(0, 2)) accounts.push(`${sender} ${sender}:secret`)
    writeFileSync(join(folder, 'policy'), `${table.join('\n')}\n`)
    writeFileSync(join(folder, 'accounts'), `${accounts.join('\n')}\n`)
    const dns = await NameServer.start(zone)
    onTestFinished(() => dns[Symbol.asyncDispose]())
    const common = {
      ...trusting,
      tcp_port: String(server.port),
      tls_connection_reuse: true,
      tls_session_cache_database: '',
      tls_policy_maps: [`texthash:${join(folder, 'policy')}`],
      sasl_password_maps: [`texthash:${join(folder, 'accounts')}`],
      sasl_security_options: [],
      connection_cache_time_limit: 3_600_000,
      ...smtp,
    }
    await start({
      dns: { servers: [dns.address] },
      cache: { ttl_limit: 3_600_000 },
      smtp: common,
      transports: {
        other: { protocol: 'smtp', smtp: { helo_name: 'other.client.test' } },
      },
    })
    onTestFinished(() => system.stop())
    await startKeeper()

    const mails: Mail[] = Array.from({ length: 80 }, () => ({
      transport: random.pick(['smtp', 'other']),
      nexthop: random.pick(domains),
      sender: random.pick(senders),
      ...(random.chance(0.2) ? { smtputf8: true } : {}),
      ...(random.chance(0.15) ? { requiretls: true } : {}),
    }))
    let done = 1
    /** Where the mail went; undefined: nowhere. */
    const sessionOf = async (mail: Mail, index: number, isCached: boolean) => {
      const over = { ...mail, recipients: recipients(`n${index}@rcpt.test`), cacheConnection: isCached }
      const before = server.sessions.length
      if (isCached) {
        const label = destinationLabelOf(request(over), { ...saslOff, ...smtp })
        const lease = await cache().ask('findDestination', label)
        run({ ...over, reuseConnection: true, ...(lease === null ? {} : { lease }) })
      } else run(over)
      if ((await reported.next(++done)).results[0]!.status !== 'sent') return undefined
      return server.sessions
        .slice(isCached ? 0 : before)
        .find(({ commands }) => commands.some((command) => command.includes(`<n${index}@rcpt.test>`)))
    }

    let shared = 0
    const seen = new Map<Recorded, Mail[]>()
    for (const [index, mail] of mails.entries()) {
      const own = await sessionOf(mail, 2 * index, false)
      const used = await sessionOf(mail, 2 * index + 1, true)
      const what = `mail ${index}: ${JSON.stringify(mail)}`
      expect(used === undefined, what).toBe(own === undefined)
      if (own === undefined || used === undefined) continue
      expect(factsOf(used), what).toBe(factsOf(own))
      const before = seen.get(used) ?? []
      shared += Math.min(1, before.length)
      const level = table.find((line) => line.startsWith(`${mail.nexthop} `))?.split(' ')[1] ?? 'none'
      for (const earlier of before) {
        expect([earlier.transport, earlier.smtputf8, earlier.requiretls], what).toEqual([
          mail.transport,
          mail.smtputf8,
          mail.requiretls,
        ])
        if (['fingerprint', 'secure', 'verify'].includes(level))
          expect(earlier.nexthop, what).toBe(mail.nexthop)
      }
      // All the same as one before, and that connection is idle: it has to be this one.
      const same = [...seen].filter(([, all]) =>
        all.some((one) => JSON.stringify(one) === JSON.stringify(mail)),
      )
      const keeps = !table.some((line) => line.startsWith(`${mail.nexthop} `) && line.includes('reuse=no'))
      if (same.length > 0 && keeps) expect(before.length, what).toBeGreaterThan(0)
      seen.set(used, [...before, mail])
    }
    expect(shared).toBeGreaterThan(mails.length / 10)
  })
})
