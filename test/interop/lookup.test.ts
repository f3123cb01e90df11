/**
 * Address lookup beside Postfix's own client: one scripted DNS, one set of scripted servers, the same mail. Status, DSN
 * code and the sessions at each server must agree. Needs root (port 53, port 25, a mount of its own for resolv.conf)
 * and Postfix; skipped elsewhere.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { defaults } from '../../src/config/schema.ts'
import { dnsSettings } from '../../src/dns/config.ts'
import { createResolver } from '../../src/dns/resolver.ts'
import { type Answer, NameServer } from '../dns/name-server.ts'
import { deliver } from '../protocols/smtp/client/harness.ts'
import { type Script, ScriptedServer } from '../protocols/smtp/client/scripted-server.ts'
import { tempDir } from '../support/fixtures.ts'
import { freePorts } from '../support/ports.ts'
import { projectRoot } from '../support/service.ts'

const nameServer = '127.9.0.53'
const canRun =
  process.getuid?.() === 0 &&
  spawnSync('postconf', ['-d', 'mail_version']).error === undefined &&
  spawnSync('unshare', ['-m', 'true']).status === 0

interface World {
  /** Records by `TYPE name`; `@` is the domain of the case, `mN` a server of the case. */
  readonly zone: Readonly<Record<string, Answer | readonly string[]>>
  /** By server, from 1; null: nothing listens. */
  readonly servers?: readonly (Script | null)[]
  /** Default: the domain. */
  readonly nexthop?: string
}

const mx = (...records: string[]) => ({ 'MX @': records.map((record) => `MX ${record}`) })
const hosts = (...numbers: number[]) => Object.fromEntries(numbers.map((n) => [`A m${n}.@`, [`A #${n}`]]))
const later: Script = { answers: { RCPT: '450 4.2.1 later' } }
const gone: Script = { answers: { RCPT: '550 5.1.1 gone' } }
const busy: Script = { greeting: '421 busy' }

const cases: Readonly<Record<string, World>> = {
  A01: { zone: { ...mx('10 m1.@'), ...hosts(1) }, servers: [{}] },
  A04: { zone: { ...mx('10 m2.@'), 'A @': ['A #1'], ...hosts(2) }, servers: [{}, {}], nexthop: '[@]' },
  A10: {
    zone: { ...mx('10 m1.@'), 'MX x.@': ['MX 10 m2.@'], ...hosts(1, 2) },
    servers: [{}, null],
    nexthop: 'x.@, @',
  },
  A11: { zone: { ...mx('10 m1.@'), ...hosts(1) }, servers: [{}], nexthop: 'nowhere.@ @' },
  B02: { zone: {} },
  'no MX': { zone: { 'A @': ['A #1'] }, servers: [{}] },
  B03: { zone: { 'MX @': { rcode: 2 }, 'A @': ['A #1'] }, servers: [{}] },
  'MX refused': { zone: { 'MX @': { rcode: 5 } } },
  'MX not implemented': { zone: { 'MX @': { rcode: 4 } } },
  'MX not understood': { zone: { 'MX @': { rcode: 1 } } },
  'A refused': { zone: { ...mx('10 m1.@'), 'A m1.@': { rcode: 5 } } },
  'MX silent': { zone: { 'MX @': { silent: true } } },
  B05: { zone: { 'MX @': ['MX 0 .'], 'A @': ['A #1'] }, servers: [{}] },
  'null MX among others': { zone: { ...mx('0 .', '10 m1.@'), ...hosts(1) }, servers: [{}] },
  'null MX of preference 10': { zone: { 'MX @': ['MX 10 .'] } },
  B08: { zone: mx('10 x1.@', '20 x2.@') },
  B10: { zone: { ...mx('10 x1.@', '20 x2.@'), 'A x1.@': { rcode: 2 } } },
  'B10 reversed': { zone: { ...mx('10 x1.@', '20 x2.@'), 'A x2.@': { rcode: 2 } } },
  'soft, then refused': {
    zone: { ...mx('10 x1.@', '20 x2.@'), 'A x1.@': { rcode: 2 }, 'A x2.@': { rcode: 1 } },
  },
  B12: { zone: { 'MX @': ['CNAME e.@'], 'MX e.@': ['MX 10 m1.@'], ...hosts(1) }, servers: [{}] },
  'B12 in one answer': { zone: { 'MX @': ['CNAME e.@', 'e.@ 60 MX 10 m1.@'], ...hosts(1) }, servers: [{}] },
  B13: {
    zone: Object.fromEntries(
      Array.from({ length: 12 }, (_, i) =>
        ['MX', 'A'].map((type) => [`${type} ${i === 0 ? '' : `c${i}.`}@`, [`CNAME c${i + 1}.@`]]),
      ).flat(),
    ),
  },
  B14: { zone: { 'MX @': ['MX 10 #1'] }, servers: [{}] },
  B15: { zone: { ...mx('20 m2.@', '10 m1.@'), ...hosts(1, 2) }, servers: [{}, {}] },
  'bad exchangers only': { zone: { 'MX @': ['MX 10 -bad-.@'] } },
  'a bad exchanger among others': { zone: { ...mx('10 -bad-.@', '20 m1.@'), ...hosts(1) }, servers: [{}] },
  B22: {
    zone: {
      ...mx('5 m1.@', '10 self.@', '10 m2.@', '20 m3.@'),
      'A self.@': ['A 127.0.0.1'],
      ...hosts(1, 2, 3),
    },
    servers: [null, {}, {}],
  },
  B23: {
    zone: { ...mx('10 self.@', '10 m2.@'), 'A self.@': ['A 127.0.0.1'], ...hosts(2) },
    servers: [null, {}],
  },
  B24: { zone: { ...mx('10 x1.@', '20 self.@'), 'A self.@': ['A 127.0.0.1'] } },
  B27: { zone: { 'A @': ['A 127.0.0.1'] }, nexthop: '[@]' },
  'an alias as exchanger': { zone: { ...mx('10 a.@'), 'A a.@': ['CNAME m1.@'], ...hosts(1) }, servers: [{}] },
  C01: {
    zone: { ...mx(...[1, 2, 3, 4, 5, 6, 7].map((n) => `10 m${n}.@`)), ...hosts(1, 2, 3, 4, 5, 6, 7) },
    servers: [busy, busy, busy, busy, busy, busy, busy],
  },
  C03: {
    zone: { ...mx('10 m1.@', '20 m2.@', '30 m3.@'), ...hosts(1, 2, 3) },
    servers: [later, later, {}],
  },
  C04: {
    zone: { ...mx('1 m1.@', '2 m2.@', '3 m3.@', '4 m4.@'), ...hosts(1, 2, 3, 4) },
    servers: [busy, busy, busy, {}],
  },
  C06: {
    zone: {
      'MX x.@': ['MX 1 m1.@', 'MX 2 m2.@', 'MX 3 m3.@'],
      'MX @': ['MX 1 m4.@'],
      ...hosts(1, 2, 3, 4),
    },
    servers: [later, later, {}, {}],
    nexthop: 'x.@ @',
  },
  C09: { zone: { ...mx('10 m1.@'), ...hosts(1) }, servers: [later] },
  'hard at the first': { zone: { ...mx('10 m1.@', '20 m2.@'), ...hosts(1, 2) }, servers: [gone, {}] },
  'refused, then later': { zone: { ...mx('10 m1.@', '20 m2.@'), ...hosts(1, 2) }, servers: [null, later] },
  'an MX that points to nothing and one that works': {
    zone: { ...mx('10 x.@', '20 m1.@'), ...hosts(1) },
    servers: [{}],
  },
  'two addresses, the first refused': { zone: { 'A @': ['A #1', 'A #2'] }, servers: [null, {}] },
  'six addresses of one exchanger, all busy': {
    zone: { ...mx('10 m.@'), 'A m.@': [1, 2, 3, 4, 5, 6].map((n) => `A #${n}`) },
    servers: [busy, busy, busy, busy, busy, busy],
  },
  'the same server in two records': {
    zone: { ...mx('10 m1.@', '20 m1.@', '30 m2.@'), ...hosts(1, 2) },
    servers: [later, {}],
  },
  'an alias in brackets': { zone: { 'A a.@': ['CNAME m1.@'], ...hosts(1) }, servers: [{}], nexthop: '[a.@]' },
  'an alias that leads nowhere': { zone: { 'MX @': ['CNAME gone.@'], 'A @': ['CNAME gone.@'] } },
  'an alias with an address of its own answer': {
    zone: { 'MX @': ['CNAME e.@'], 'A @': ['CNAME e.@', 'e.@ 60 A #1'], 'A e.@': ['A #1'] },
    servers: [{}],
  },
  'upper case': { zone: { ...mx('10 M1.@'), ...hosts(1) }, servers: [{}], nexthop: 'D.@, @' },
  'an empty service': { zone: { ...mx('10 m1.@'), ...hosts(1) }, servers: [{}], nexthop: '@:' },
  'a name without dots as exchanger': { zone: { ...mx('10 localname-nobody-has') } },
  'SERVFAIL for the second exchanger': {
    zone: { ...mx('10 m1.@', '20 x.@'), ...hosts(1), 'A x.@': { rcode: 2 } },
    servers: [later],
  },
  'all refused, then a list element that does not exist': {
    zone: { ...mx('10 m1.@'), ...hosts(1) },
    servers: [null],
    nexthop: '@ nowhere.@',
  },
  'does not exist, then put off': {
    zone: { ...mx('10 m1.@'), ...hosts(1) },
    servers: [later],
    nexthop: 'nowhere.@ @',
  },
  'no data for MX and A': { zone: { 'TXT @': ['TXT here'] } },
}

describe.skipIf(!canRun)('lookup as Postfix does it', () => {
  test('status, code and sessions of each case', { timeout: 120_000 }, async () => {
    const zone: Record<string, Answer> = {}
    const nexthops: Record<string, string> = {}
    const farm: (ScriptedServer | undefined)[][] = []
    for (const [index, [, world]] of Object.entries(cases).entries()) {
      const fill = (text: string) =>
        text.replaceAll('@', `d${index}.test`).replaceAll('#', `127.9.${index + 1}.`)
      for (const [question, answer] of Object.entries(world.zone)) {
        const filled = Array.isArray(answer) ? { records: answer.map(fill) } : (answer as Answer)
        zone[fill(question)] = filled
      }
      if (world.nexthop !== undefined) nexthops[`d${index}.test`] = fill(world.nexthop)
      farm.push(
        await Promise.all(
          (world.servers ?? []).map(async (script, n) => {
            if (script === null) return undefined
            const server = new ScriptedServer([script])
            await server.listen({ host: `127.9.${index + 1}.${n + 1}`, port: 25 })
            onTestFinished(() => server[Symbol.asyncDispose]())
            return server
          }),
        ),
      )
    }
    const dns = await NameServer.start(zone, { address: nameServer, port: 53 })
    onTestFinished(() => dns[Symbol.asyncDispose]())
    const visits = () => farm.map((servers) => servers.map((server) => server?.sessions.length ?? 0))

    const theirs = await throughPostfix(nexthops)
    const theirVisits = visits()
    const ours: Record<string, string> = {}
    const resolver = createResolver({
      ...defaults(dnsSettings),
      servers: [`${nameServer}:53`],
      timeout: 1_000,
      tries: 1,
    })
    for (const index of Object.keys(cases).keys()) {
      const report = await deliver({
        request: {
          nexthop: nexthops[`d${index}.test`] ?? `d${index}.test`,
          recipients: [{ id: 1, address: `a@d${index}.test` }],
        },
        environment: { resolver, families: [4], isOwnAddress: (address) => address === '127.0.0.1' },
      })
      const [result] = report.results
      ours[`d${index}.test`] = `${result!.status} ${result!.dsn}`
    }
    const ourVisits = visits().map((servers, index) =>
      servers.map((count, n) => count - theirVisits[index]![n]!),
    )

    const table = (outcomes: Readonly<Record<string, string>>, seen: readonly (readonly number[])[]) =>
      Object.fromEntries(
        Object.keys(cases).map((name, index) => [name, `${outcomes[`d${index}.test`]} [${seen[index]}]`]),
      )
    expect(table(ours, ourVisits)).toEqual(table(theirs, theirVisits))
  })
})

/** Delivers one mail to each domain of the cases; returns `status code` by domain. */
async function throughPostfix(nexthops: Readonly<Record<string, string>>): Promise<Record<string, string>> {
  const [port = 0] = await freePorts(1)
  const parent = tempDir()
  chmodSync(parent, 0o755)
  const dir = join(parent, 'p')
  mkdirSync(dir)
  const resolvConf = join(parent, 'resolv.conf')
  writeFileSync(resolvConf, `nameserver ${nameServer}\noptions timeout:1 attempts:1\n`)
  const transports = join(parent, 'transport')
  writeFileSync(
    transports,
    Object.entries(nexthops)
      .map(([domain, nexthop]) => `${domain} smtp:${nexthop}\n`)
      .join(''),
  )
  const script = join(projectRoot, 'bench', 'peers', 'postfix-relay.sh')
  const settings = [
    'relayhost=',
    'smtp_host_lookup=dns',
    'inet_interfaces=127.0.0.1',
    'inet_protocols=ipv4',
    'smtp_randomize_addresses=no',
    'smtp_tls_security_level=none',
    `transport_maps=texthash:${transports}`,
    'smtp_connect_timeout=5',
  ].join('; ')
  onTestFinished(() => {
    spawnSync(script, ['stop', dir])
  })
  const started = spawnSync(
    'unshare',
    [
      '-m',
      'sh',
      '-c',
      `mount --bind ${resolvConf} /etc/resolv.conf && exec ${script} start ${dir} ${port} 127.0.0.1:9`,
    ],
    { env: { ...process.env, SETTINGS: settings }, stdio: 'ignore' },
  )
  expect(started.status).toBe(0)
  const domains = Object.keys(cases).map((_, index) => `d${index}.test`)
  for (const domain of domains) {
    const report = await deliver({
      request: { nexthop: `[127.0.0.1]:${port}`, recipients: [{ id: 1, address: `a@${domain}` }] },
    })
    expect(report.results[0]!.status).toBe('sent')
  }
  const log = () => readFileSync(join(dir, 'maillog'), 'utf8')
  const outcomes = () =>
    Object.fromEntries(
      [...log().matchAll(/to=<a@(d\d+\.test)>.* dsn=([\d.]+), status=(\w+)/g)].map(
        ([, domain, dsn, status]) => [domain!, `${status} ${status === 'sent' ? '2.0.0' : dsn}`],
      ),
    )
  await expect
    .poll(() => Object.keys(outcomes()).length, { timeout: 60_000, interval: 200 })
    .toBe(domains.length)
  return outcomes()
}
